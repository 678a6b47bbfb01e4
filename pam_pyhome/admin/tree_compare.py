"""Whether a copy of a tree is the same: every name, all content as it is on disk, and everything there is to know of each file."""

from __future__ import annotations

import os
import stat
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    Tell = Callable[[int, int], None]

_CHUNK = 1 << 20
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
SHOWN_MAX = 5
#: How many files are asked of the disk before they are compared, so that it need not wait for us, nor we for it.
_AHEAD = 64


class Differences(NamedTuple):
    """The first few differences, a line each, and how many there are."""

    lines: tuple[str, ...]
    total: int


class _Comparison:
    """Two trees, directory by directory."""

    def __init__(self, original: bytes, copy: bytes, leave_out: Collection[bytes], tell: Tell) -> None:
        self.lines: list[str] = []
        self.count = 0
        self._top = original
        self._copy = copy
        self._leave_out = leave_out
        self._tell = tell
        self._links: dict[int, int] = {}
        self._files = self._bytes = 0

    def run(self) -> None:
        waiting = [b""]
        while waiting:
            below = waiting.pop()
            self._compare_status(below)
            names = [self._names(top + below, below) for top in (self._top, self._copy)]
            for name in sorted(names[0] ^ names[1]):
                self._differs(below + b"/" + name, "is missing" if name in names[0] else "is not in the original")
            paths = [below + b"/" + name for name in sorted(names[0] & names[1])]
            for path in paths[:_AHEAD]:
                self._announce(path)
            for path, later in zip_longest(paths, paths[_AHEAD:]):
                if later is not None:
                    self._announce(later)
                if self._compare(path):
                    waiting.append(path)

    def _announce(self, below: bytes) -> None:
        """Have the beginning of a file of the copy read from the disk, whatever memory still has of it: that is what counts."""
        path = self._copy + below
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return
        fd = os.open(path, _FLAGS)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(fd, 0, _CHUNK, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(fd)

    def _names(self, path: bytes, below: bytes) -> set[bytes]:
        names = set(os.listdir(path))
        return names if below else names - set(self._leave_out)

    def _differs(self, below: bytes, how: str) -> None:
        self.count += 1
        if len(self.lines) < SHOWN_MAX:
            self.lines.append(f"{os.fsdecode(self._copy + below)} {how}")

    def _compare(self, below: bytes) -> bool:
        """One entry; whether it is a directory on both sides."""
        self._files += 1
        status = os.lstat(self._top + below)
        if stat.S_ISDIR(status.st_mode):
            same = stat.S_ISDIR(os.lstat(self._copy + below).st_mode)
            if not same:
                self._differs(below, "is no directory")
            return same
        if self._compare_status(below) and not self._is_known(status, below):
            self._compare_content(below, status)
        self._tell(self._bytes, self._files)
        return False

    def _compare_status(self, below: bytes) -> bool:
        """Everything but the content."""
        first, second = (_describe(top + below) for top in (self._top, self._copy))
        for what in first:
            if first[what] != second[what]:
                self._differs(below, f"has another {what}")
        return first["kind"] == second["kind"] and first["size"] == second["size"]

    def _is_known(self, status: os.stat_result, below: bytes) -> bool:
        """Whether it is one more name of a file that was compared already; in the copy it has to be one of the same file."""
        if status.st_nlink < 2:
            return False
        number = os.lstat(self._copy + below).st_ino
        known = self._links.setdefault(status.st_ino, number)
        if known != number:
            self._differs(below, "is another file than the names that it shares")
        return known != number

    def _compare_content(self, below: bytes, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            return
        original = os.open(self._top + below, _FLAGS)
        try:
            copy = os.open(self._copy + below, _FLAGS)
            try:
                if not self._same_content(original, copy, status.st_size):
                    self._differs(below, "has another content")
            finally:
                os.close(copy)
        finally:
            os.close(original)

    def _same_content(self, original: int, copy: int, size: int) -> bool:
        before = self._bytes
        self._bytes += size
        for start, end in _data(original, copy, size):
            for offset in range(start, end, _CHUNK):
                self._tell(before + offset, self._files)
                length = min(_CHUNK, end - offset)
                if os.pread(original, length, offset) != os.pread(copy, length, offset):
                    return False
        return True


def _describe(path: bytes) -> dict[str, object]:
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    return {
        "kind": kind,
        "mode": stat.S_IMODE(status.st_mode),
        "owner": status.st_uid,
        "group": status.st_gid,
        "time of change": status.st_mtime_ns,
        "size": status.st_size if kind == stat.S_IFREG else 0,
        "number of names": status.st_nlink if kind != stat.S_IFDIR else 0,
        "target": os.readlink(path) if kind == stat.S_IFLNK else b"",
        "attribute or access list": _xattrs(path),
    }


def _xattrs(path: bytes) -> dict[str, bytes]:
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}


def _data(original: int, copy: int, size: int) -> Iterator[tuple[int, int]]:
    """Where either file has something else than a hole."""
    yield from _segments(original, size)
    yield from _segments(copy, size)


def _segments(fd: int, size: int) -> Iterator[tuple[int, int]]:
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:
            return  # there is nothing behind
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def compare(original: str, copy: str, leave_out: Collection[bytes], tell: Tell) -> Differences:
    """What is different in a copy of a tree. `leave_out`: names at the top that do not count. OSError, also for what vanishes.

    `tell` is told how many bytes and how many files have been compared.
    """
    comparison = _Comparison(os.fsencode(original), os.fsencode(copy), leave_out, tell)
    comparison.run()
    return Differences(tuple(comparison.lines), comparison.count)
