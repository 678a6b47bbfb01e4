"""Who uses a file system: the processes with a directory, file, program or mapping on it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST = 20


def holders(major: int, minor: int) -> tuple[str, ...]:
    """One line for each process (at most 20) that holds the device: `pid 42 (vim, uid 1000): cwd /home/ada`."""
    device = os.makedev(major, minor)
    found: list[str] = []
    for name in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        use = next(_uses(f"/proc/{name}", device, f"{major:02x}:{minor:02x}"), None)
        if use is not None:
            found.append(f"pid {name} ({_describe(name)}): {use}")
        if len(found) == _MOST:
            break
    return tuple(found)


def _describe(pid: str) -> str:
    """The command name and the uid of a process."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            comm = "".join(letter if letter.isprintable() else "?" for letter in file.read().strip())
        return f"{comm}, uid {os.stat(f'/proc/{pid}').st_uid}"
    except OSError:
        return "gone"


def _uses(process: str, device: int, mapped_device: str) -> Iterator[str]:
    """How a process uses the device: `cwd`, `root`, `exe`, `fd N` or `mapping`, with the path."""
    links = ["cwd", "root", "exe"]
    try:
        links += [f"fd/{number}" for number in os.listdir(f"{process}/fd")]
    except OSError:
        return
    for link in links:
        try:
            if os.stat(f"{process}/{link}").st_dev == device:
                yield f"{link.replace('/', ' ')} {_printable(os.readlink(f'{process}/{link}'))}"
        except OSError:
            continue
    yield from _mappings(process, mapped_device)


def _mappings(process: str, device: str) -> Iterator[str]:
    """Files of the device that the process has mapped into memory."""
    try:
        with open(f"{process}/maps", encoding="utf-8", errors="replace") as file:
            for line in file:
                fields = line.split(None, 5)
                if len(fields) == 6 and fields[3] == device:
                    yield f"mapping {_printable(fields[5].strip())}"
    except OSError:
        return


def _printable(path: str) -> str:
    """A path that is safe in a log line."""
    return "".join(letter if letter.isprintable() else "?" for letter in path)
