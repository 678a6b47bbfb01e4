"""A tree of files as it is: how much there is to copy, what of it cannot be copied, and a fingerprint that any change alters."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.kernel import attributes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

LISTED_MAX = 10
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SECTOR = 512

SOCKET, DEVICE = "is a socket", "is a device node"
LONG_NAME = "has a name that is too long when it is encrypted"
IMMUTABLE, APPEND_ONLY = "is immutable", "can only be appended to"
ENCRYPTED = "is encrypted already"
LEAVES = "has another name outside of the home"
MOUNTED = "is a mount point, or on another file system"
RESERVED = "has a name that the encrypted home needs"


class Obstacle(NamedTuple):
    """A file that keeps the tree from being copied, and the constant above that says why; `total` such files there are."""

    path: str
    why: str
    total: int


class Survey(NamedTuple):
    """A tree: entries without its top, bytes of content and on disk, each file with several names once; and what is in the way."""

    entries: int
    size: int
    on_disk: int
    obstacles: tuple[Obstacle, ...]


def walk(top: bytes, leave_out: Collection[bytes] = ()) -> Iterator[tuple[bytes, os.stat_result]]:
    """Every path below `top` with its status, directories before what is in them, without crossing into other file systems.

    `leave_out`: names directly below `top`. OSError; what vanishes meanwhile is passed over.
    """
    device = os.lstat(top).st_dev
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        try:
            fd = os.open(directory, _DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            for name, status in _entries(fd):
                raw = os.fsencode(name)
                if directory == top and raw in leave_out:
                    continue
                path = directory + b"/" + raw
                yield path, status
                if stat.S_ISDIR(status.st_mode) and status.st_dev == device:
                    waiting.append(path)
        finally:
            os.close(fd)


def _entries(directory: int) -> Iterator[tuple[str, os.stat_result]]:
    """The names in an open directory, with the status of each that has not vanished meanwhile."""
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                yield entry.name, entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue


class _Surveyor:
    """Collects what a walk finds."""

    def __init__(self, device: int, longest: int, reserved: Collection[bytes], top: bytes) -> None:
        self.found: dict[str, list[str]] = {}
        self.counts: dict[str, int] = {}
        self.entries = self.size = self.on_disk = 0
        self._device = device
        self._longest = longest
        self._reserved = {top + b"/" + name for name in reserved}
        self._links: dict[int, tuple[int, bytes]] = {}
        self._reader = attributes.Reader()

    def add(self, path: bytes, status: os.stat_result) -> None:
        self.entries += 1
        for why in self._reasons(path, status):
            self.complain(path, why)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            left, first = self._links.get(status.st_ino, (status.st_nlink, path))
            self._links[status.st_ino] = (left - 1, first)
            if left != status.st_nlink:
                return
        self.on_disk += status.st_blocks * _SECTOR
        self.size += status.st_size if stat.S_ISREG(status.st_mode) else 0

    def complain(self, path: bytes, why: str) -> None:
        self.counts[why] = self.counts.get(why, 0) + 1
        listed = self.found.setdefault(why, [])
        if len(listed) < LISTED_MAX:
            listed.append(os.fsdecode(path))

    def _reasons(self, path: bytes, status: os.stat_result) -> Iterator[str]:
        if status.st_dev != self._device:
            yield MOUNTED
            return
        if stat.S_ISSOCK(status.st_mode):
            yield SOCKET
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            yield DEVICE
        if len(os.path.basename(path)) > self._longest:
            yield LONG_NAME
        if path in self._reserved:
            yield RESERVED
        yield from self.flags(path)

    def flags(self, path: bytes, *, but_encryption: bool = False) -> Iterator[str]:
        try:
            flags = self._reader.read(path)
        except FileNotFoundError:
            return
        if flags & attributes.IMMUTABLE:
            yield IMMUTABLE
        if flags & attributes.APPEND:
            yield APPEND_ONLY
        if flags & attributes.ENCRYPTED and not but_encryption:
            yield ENCRYPTED

    def leaving(self) -> None:
        for left, path in self._links.values():
            if left > 0:
                self.complain(path, LEAVES)


def survey(
    top: str, *, longest: int = 255, reserved: Collection[bytes] = (), leave_out: Collection[bytes] = (), encrypted: bool = False
) -> Survey:
    """Look at the whole tree. `longest`: how many bytes a name may have. `encrypted`: it may be so already. OSError."""
    raw = os.fsencode(top)
    surveyor = _Surveyor(os.lstat(raw).st_dev, longest, reserved, raw)
    for why in surveyor.flags(raw):
        surveyor.complain(raw, why)
    for path, status in walk(raw, leave_out):
        surveyor.add(path, status)
    surveyor.leaving()
    obstacles = tuple(
        Obstacle(path, why, surveyor.counts[why])
        for why, paths in sorted(surveyor.found.items())
        for path in paths
        if not (encrypted and why == ENCRYPTED)
    )
    return Survey(surveyor.entries, surveyor.size, surveyor.on_disk, obstacles)


def on_disk(top: str) -> int:
    """How many bytes of a disk a tree takes; 0 if there is none. OSError."""
    try:
        found = {status.st_ino: status.st_blocks for _, status in walk(os.fsencode(top))}
    except FileNotFoundError:
        return 0
    return sum(found.values()) * _SECTOR


def fingerprint(top: str) -> str:
    """Changes when anything below `top` is changed, by whoever: nobody can set the time of the last change. OSError.

    Names do not count, so that it is the same while an encrypted directory is locked. A change of place does not count either.
    """
    status = os.lstat(top)
    found = sorted((each.st_ino, each.st_ctime_ns) for _, each in walk(os.fsencode(top)))
    digest = hashlib.sha256(repr((status.st_mode, status.st_uid, status.st_gid)).encode("ascii"))
    for number, changed in found:
        digest.update(b"%d %d\n" % (number, changed))
    return digest.hexdigest()
