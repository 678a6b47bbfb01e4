"""Where root works on homes: whether the way there is root's alone, and whether a directory is the one that a record is about.

A path says neither. Another directory is found by it while a disk is not mounted, or another disk is, or when somebody who may
write a directory on the way has put another one there.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

from pam_pyhome.backends import fscrypt_store
from pam_pyhome.kernel import trees
from pam_pyhome.kernel.identity import identity_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC
_LINKS_MAX = 40


class Place(NamedTuple):
    """A directory, as a record has it: its path, and what tells it from others, see `kernel.identity.Identity`."""

    path: str
    uuid: str
    fsid: str
    inode: int
    generation: str
    born: str

    def is_same(self, other: Place) -> bool:
        """Whether both are the same directory. What is not known of one of them does not count."""
        facts = zip(self[1:], other[1:], strict=True)
        return self.inode == other.inode and all(mine == theirs or "" in (mine, theirs) for mine, theirs in facts)


def look(path: str) -> Place:
    """The directory at `path`, with what is mounted there. OSError."""
    return _of_descriptor(path, os.open(path, _DIRECTORY))


def look_below(path: str) -> Place | None:
    """The directory at `path` itself, whatever is mounted on it; None if there is none. OSError."""
    try:
        parent = trees.open_below(os.path.dirname(path))
    except FileNotFoundError:
        return None
    try:
        return _of_descriptor(path, os.open(os.path.basename(path), _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    finally:
        os.close(parent)


def _of_descriptor(path: str, fd: int) -> Place:
    try:
        found = identity_of(fd)
        # Old kernels do not tell the UUID; udev does, for as long as the disk is there.
        uuid = found.uuid or (fscrypt_store.uuid_of(fd) if not found.fsid else None) or ""
        return Place(path, uuid, found.fsid, found.inode, found.generation, found.born)
    finally:
        os.close(fd)


def parse(value: Sequence[Any]) -> Place:
    """A directory as JSON has it. TypeError, ValueError."""
    path, uuid, fsid, inode, generation, born = value
    return Place(str(path), str(uuid), str(fsid), int(inode), str(generation), str(born))


def note(*paths: str) -> tuple[Place, ...]:
    """Each of these directories once, as they are now. OSError."""
    return tuple(map(look, dict.fromkeys(paths)))


def missing(*known: Place) -> str | None:
    """Which of the directories is not what it was, in words; None if all are there."""
    for place in known:
        try:
            now = look(place.path)
        except OSError as error:
            return f"{place.path}: {error.strerror}"
        if not place.is_same(now):
            disk = f"the file system with the UUID {place.uuid}" if place.uuid and place.uuid != now.uuid else "what was there"
            return f"{place.path} is another directory now, and not {disk}"
    return None


def trouble_above(home: str) -> str | None:
    """Why the directory `home` is not safe for root to work beside, in words; None if all directories above it are root's alone.

    Whoever can write one of them, or one on the way along the links in the path, can put another one in the place of the next.
    """
    parent, name = os.path.split(home)
    if not os.path.isabs(parent) or name in {"", ".", ".."}:
        return f"{home or 'no path'} is its path"
    here, waiting, links = "/", _parts(parent), 0
    while True:
        trouble = _trouble_of(here)
        if trouble is not None or not waiting:
            return trouble
        part = waiting.pop()
        if part == "..":
            here = os.path.dirname(here)
            continue
        path = os.path.join(here, part)
        try:
            target = os.readlink(path)
        except OSError:
            here = path  # no link; if there is nothing at all, that is what is told next
            continue
        links += 1
        if links > _LINKS_MAX:
            return f"{path}: {os.strerror(errno.ELOOP)}"
        waiting.extend(_parts(target))
        here = "/" if target.startswith("/") else here


def _parts(path: str) -> list[str]:
    """The names in a path, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]


def _trouble_of(path: str) -> str | None:
    try:
        status = os.lstat(path)
    except OSError as error:
        return f"{path}: {error.strerror}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{path} is no directory"
    # An access list that lets others write shows in the bits of the group.
    if status.st_uid != 0 or status.st_mode & 0o022:
        return f"{path} is not a directory that root alone can write"
    return None
