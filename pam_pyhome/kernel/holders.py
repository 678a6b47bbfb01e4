"""Who uses a file system: the processes with a directory, file, program or mapping on it, as far as they can be seen.

Not seen are descriptors on their way through a socket, those of an io_uring, and what is open in other mount name spaces by another
path; nor are processes under a subordinate uid known to be the user's. So nothing may rely on nobody being found.
"""

from __future__ import annotations

import ctypes
import os
import struct

from pam_pyhome.kernel.libc import check, proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

AT_FDCWD = -100
AT_NO_AUTOMOUNT = 0x800
AT_STATX_DONT_SYNC = 0x4000

_MOST = 20
_STATX_SIZE = 256
_STATX_DEVICE = struct.Struct("II")
_STATX_DEVICE_OFFSET = 136


def holders(major: int, minor: int) -> tuple[str, ...]:
    """One line for each process (at most 20) that holds the device: `pid 42 (vim, uid 1000): cwd /home/ada`."""
    return holders_below(major, minor, "")


def holders_below(major: int, minor: int, directory: str) -> tuple[str, ...]:
    """The same for what of the device has a path, as the kernel shows it, in `directory`; "" is everywhere."""
    device = os.makedev(major, minor)
    prefix = directory.rstrip("/") + "/" if directory else ""
    found: list[str] = []
    for name in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        uses = _uses(f"/proc/{name}", device, f"{major:02x}:{minor:02x}")
        use = next((f"{how} {path}" for how, path in uses if f"{path}/".startswith(prefix)), None)
        if use is not None:
            found.append(f"pid {name} ({_describe(name)}): {_printable(use)}")
        if len(found) == _MOST:
            break
    return tuple(found)


def processes_of(uid: int) -> tuple[str, ...]:
    """One line for each process (at most 20) that has the uid as one of its own: `pid 42 (vim, uid 1000): runs`."""
    found = (name for name in sorted(filter(str.isdigit, os.listdir("/proc")), key=int) if _runs_as(name, uid))
    return tuple(f"pid {name} ({_describe(name)}): runs" for name, _ in zip(found, range(_MOST)))


def _runs_as(pid: str, uid: int) -> bool:
    """Whether the process is alive and any of its uids is this one."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            fields = dict(line.partition(":")[::2] for line in file)
    except OSError:
        return False
    return not fields.get("State", "").lstrip().startswith("Z") and str(uid) in fields.get("Uid", "").split()


def _describe(pid: str) -> str:
    """The command name and the uid of a process."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            comm = "".join(letter if letter.isprintable() else "?" for letter in file.read().strip())
        return f"{comm}, uid {os.stat(f'/proc/{pid}').st_uid}"
    except OSError:
        return "gone"


def _uses(process: str, device: int, mapped_device: str) -> Iterator[tuple[str, str]]:
    """How a process uses the device: `cwd`, `root`, `exe`, `fd N` or `mapping`, with the path."""
    try:
        files = [f"fd/{number}" for number in os.listdir(f"{process}/fd")]
    except OSError:
        return
    # Open files first: the path of one says more than a working directory.
    links = [*files, "cwd", "root", "exe"]
    for link in links:
        try:
            if _device(f"{process}/{link}") == device:
                yield link.replace("/", " "), os.readlink(f"{process}/{link}")
        except OSError:
            continue
    yield from _mappings(process, mapped_device)


def _device(path: str) -> int:
    """The device of the file at `path`, without asking a server for it: somebody's may be made never to answer."""
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    integer, unsigned, text = ctypes.c_int, ctypes.c_uint, ctypes.c_char_p
    statx = proto(None, "statx", integer, integer, text, integer, unsigned, text)
    check(statx(AT_FDCWD, os.fsencode(path), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, buffer), path)
    return os.makedev(*_STATX_DEVICE.unpack_from(buffer, _STATX_DEVICE_OFFSET))


def _mappings(process: str, device: str) -> Iterator[tuple[str, str]]:
    """Files of the device that the process has mapped into memory."""
    try:
        with open(f"{process}/maps", encoding="utf-8", errors="replace") as file:
            for line in file:
                fields = line.split(None, 5)
                if len(fields) == 6 and fields[3] == device:
                    yield "mapping", fields[5].strip()
    except OSError:
        return


def _printable(path: str) -> str:
    """A path that is safe in a log line."""
    return "".join(letter if letter.isprintable() else "?" for letter in path)
