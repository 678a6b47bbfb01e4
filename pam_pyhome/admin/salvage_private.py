"""Whether anybody but root gets to a disk: what an fscrypt home's key opens, it opens wherever the disk is mounted.

There, local users whose uids its files happen to have may read and write them. So no key is given to it unless every mount of it,
in every mount name space, is below a directory that only root may enter, and no process of others is in it already.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from pam_pyhome.admin import salvage_facts as facts
from pam_pyhome.errors import FormatError, PlaceError
from pam_pyhome.formats.mountinfo import parse_mountinfo
from pam_pyhome.kernel.holders import holders_below

if TYPE_CHECKING:
    from collections.abc import Iterator


def check(path: str, device: str) -> None:
    """PlaceError unless only root gets to the file system of the home at `path`."""
    for pids in _name_spaces().values():
        place = next((place for place in (_open_to_others(pid, device) for pid in pids) if place is not None), "")
        if place:
            raise PlaceError(path, facts.NOT_ALONE, place)
    major, minor = (int(part) for part in device.split(":"))
    others = [line for line in holders_below(major, minor, "") if ", uid 0)" not in line]
    if others:
        raise PlaceError(path, facts.OTHERS_INSIDE, others[0])


def _name_spaces() -> dict[str, list[str]]:
    """The processes in each mount name space, this one's first."""
    found: dict[str, list[str]] = {}
    for pid in ("self", *filter(str.isdigit, os.listdir("/proc"))):
        try:
            found.setdefault(os.readlink(f"/proc/{pid}/ns/mnt"), []).append(pid)
        except OSError:
            continue  # it has ended
    return found


def _open_to_others(pid: str, device: str) -> str | None:
    """Where others than root get to the file system in a process's mount name space, or nothing; None if the process has ended."""
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            mounts = parse_mountinfo(file.read())
        places = [os.fsdecode(mount.mountpoint) for mount in mounts if mount.device == device]
        return next((place for place in places if not any(_is_roots_alone(pid, each) for each in _above(place))), "")
    except (OSError, FormatError):
        return None


def _above(path: str) -> Iterator[str]:
    """A directory and all that lead to it."""
    parts = path.strip("/").split("/")
    return ("/" + "/".join(parts[:length]) for length in range(len(parts) + 1))


def _is_roots_alone(pid: str, directory: str) -> bool:
    """Whether nobody but root may enter a directory."""
    status = os.stat(f"/proc/{pid}/root{directory}")
    return status.st_uid == 0 and not status.st_mode & (stat.S_IXGRP | stat.S_IXOTH)
