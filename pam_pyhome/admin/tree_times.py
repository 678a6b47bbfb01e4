"""Times of change to the nanosecond on an eCryptfs home, which itself sets them to the second: they are set on the ciphertext."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pam_pyhome.admin.tree import walk
from pam_pyhome.kernel.durable import sync_below

if TYPE_CHECKING:
    from collections.abc import Collection


def times(original: str, copy: str, leave_out: Collection[bytes]) -> dict[int, int]:
    """The times of change of a tree, in nanoseconds, by the inode numbers that an open eCryptfs `copy` of it has. OSError.

    eCryptfs files have the numbers of their ciphertext. `leave_out`: names at the top that do not count.
    """
    top, other = os.fsencode(original), os.fsencode(copy)
    found = {os.lstat(other).st_ino: os.lstat(top).st_mtime_ns}
    numbers: dict[bytes, int] = {}
    inside = b""
    for path, status in walk(top, leave_out):
        directory, _, name = path.rpartition(b"/")
        if directory != inside:
            inside = directory
            numbers = _numbers(other + directory[len(top) :])
        if name in numbers:  # else it came after all was copied, and comparing will tell
            found[numbers[name]] = status.st_mtime_ns
    return found


def _numbers(directory: bytes) -> dict[bytes, int]:
    """The inode number of each name in a directory, which eCryptfs tells without looking at the files; none if there is no such."""
    try:
        with os.scandir(directory) as entries:
            return {entry.name: entry.inode() for entry in entries}
    except FileNotFoundError:
        return {}


def put(wanted: dict[int, int], lower: str) -> None:
    """Set them on the ciphertext in `lower`, which is not mounted, and have all of it on disk. OSError."""
    top = os.fsencode(lower)
    waiting = [top]
    _set(top, wanted.get(os.lstat(top).st_ino))
    while waiting:
        directory = waiting.pop()
        with os.scandir(directory) as entries:
            for entry in entries:
                _set(entry.path, wanted.get(entry.inode()))
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    sync_below(lower)


def _set(path: bytes, changed: int | None) -> None:
    """Of when it was last read, nobody has to know."""
    if changed is not None:
        os.utime(path, ns=(changed, changed), follow_symlinks=False)
