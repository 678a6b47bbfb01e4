"""Who uses a file system: the processes with a directory, file, program or mapping on it, as far as they can be seen.

Not seen are descriptors on their way through a socket, those of an io_uring, and what is open in other mount name spaces by another
path; nor are processes under a subordinate uid known to be the user's. So nothing may rely on nobody being found.

The processes may be anybody's, and some are made to keep whoever looks at them waiting: reading ``/proc/PID/maps`` waits for the
lock of a memory map. So all that is done here has a deadline (`kernel.forked`), files are named by links, which no server is asked
for, and mappings are looked at last, when nothing else was found.
"""

from __future__ import annotations

import os

from pam_pyhome.kernel import forked, statx
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LOOK_SECONDS = 3.0
# What else keeps a file system, and what cannot be seen.
NOT_FOUND = "no process was found; a file of it may be on its way through a socket, or used by a loop device, swap or an NFS export"

_MOST = 20


class _Sought(Record):
    """What counts: files of the device, with a path in `directory` ("" is everywhere), or encrypted ones of the user `owner`.

    In the processes of the users `whose`, if any are named.
    """

    device: str
    directory: str
    owner: int
    whose: tuple[int, ...]


def holders(major: int, minor: int) -> tuple[str, ...]:
    """One line for each process (at most 20) that holds the device: `pid 42 (vim, uid 1000): cwd /home/ada`."""
    return holders_below(major, minor, "")


def holders_below(
    major: int, minor: int, directory: str, *, owner: int = -1, whose: tuple[int, ...] = ()
) -> tuple[str, ...]:
    """The same for what of the device has a path, as the kernel shows it, in `directory`; "" is everywhere.

    `owner`: encrypted files of this user count wherever they are seen, as in a sandbox or after a rename. `whose`: only processes
    of these users count.
    """
    prefix = directory.rstrip("/") + "/" if directory else ""
    sought = _Sought(f"{major}:{minor}", prefix, owner, whose)
    lines, _ = forked.lines_of(lambda: _search(sought), seconds=LOOK_SECONDS)
    return tuple(os.fsdecode(line) for line in lines)


def _search(sought: _Sought) -> Iterator[bytes]:
    """The lines, with all that is quick before what may not be."""
    pids = sorted(filter(str.isdigit, os.listdir("/proc")), key=int)
    if sought.whose:
        pids = [pid for pid in pids if _real_uid(pid) in sought.whose]
    found = 0
    for ways in (_open_files, _mappings):
        # Those of the owner first: at them somebody else's process cannot keep us.
        for pid in sorted(pids, key=lambda pid: _real_uid(pid) != sought.owner) if ways is _mappings else pids:
            line = _line(pid, ways, sought)
            if line is not None:
                yield line
                found += 1
            if found == _MOST:
                return
        if found:
            return


def _line(pid: str, ways: Callable[[str], Iterable[str]], sought: _Sought) -> bytes | None:
    """What there is to say of a process, if it uses what is sought."""
    for link in ways(pid):
        path = f"/proc/{pid}/{link}"
        try:
            known = statx.look(path)
            if known.device != sought.device:
                continue
            target = os.readlink(path)
        except OSError:
            continue
        if (known.is_encrypted and known.uid == sought.owner) or f"{target}/".startswith(sought.directory):
            how = "mapping" if ways is _mappings else link.replace("/", " ")
            return os.fsencode(f"pid {pid} ({_describe(pid)}): {how} {_printable(target)}")
    return None


def _open_files(pid: str) -> list[str]:
    """Open files first: the path of one says more than a working directory."""
    return [*_list(pid, "fd"), "cwd", "root", "exe"]


def _mappings(pid: str) -> list[str]:
    """Files that the process has mapped into memory."""
    return _list(pid, "map_files")


def _list(pid: str, directory: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in os.listdir(f"/proc/{pid}/{directory}")]
    except OSError:
        return []


def processes_of(uid: int) -> tuple[str, ...]:
    """One line for each process (at most 20) that has the uid as one of its own: `pid 42 (vim, uid 1000): runs`."""
    found = (name for name in sorted(filter(str.isdigit, os.listdir("/proc")), key=int) if _runs_as(name, uid))
    return tuple(f"pid {name} ({_describe(name)}): runs" for name, _ in zip(found, range(_MOST)))


def _runs_as(pid: str, uid: int) -> bool:
    """Whether the process is alive and any of its uids is this one."""
    fields = _status(pid)
    return not fields.get("State", "Z").lstrip().startswith("Z") and str(uid) in fields.get("Uid", "").split()


def _real_uid(pid: str) -> int:
    """Who started the process: what is set-user-ID, or hides itself, belongs to root otherwise. -1 if it is gone."""
    uids = _status(pid).get("Uid", "").split()
    return int(uids[0]) if uids else -1


def _status(pid: str) -> dict[str, str]:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return dict(line.partition(":")[::2] for line in file)
    except OSError:
        return {}


def _describe(pid: str) -> str:
    """The command name and the uid of a process."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            comm = "".join(letter if letter.isprintable() else "?" for letter in file.read().strip())
        return f"{comm}, uid {os.stat(f'/proc/{pid}').st_uid}"
    except OSError:
        return "gone"


def describe_process(pid: int) -> str:
    """How a line about a process begins: `pid 42 (vim, uid 1000)`."""
    return f"pid {pid} ({_describe(str(pid))})"


def _printable(path: str) -> str:
    """A path that is safe in a log line."""
    return "".join(letter if letter.isprintable() else "?" for letter in path)
