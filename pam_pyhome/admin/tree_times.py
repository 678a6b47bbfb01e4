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
    for path, status in walk(top, leave_out):
        try:
            found[os.lstat(other + path[len(top) :]).st_ino] = status.st_mtime_ns
        except FileNotFoundError:
            continue  # it came after it was copied, and comparing will tell
    return found


def put(wanted: dict[int, int], lower: str) -> None:
    """Set them on the ciphertext in `lower`, which is not mounted, and have all of it on disk. OSError."""
    top = os.fsencode(lower)
    for path, status in [(top, os.lstat(top)), *walk(top)]:
        changed = wanted.get(status.st_ino)
        if changed is not None and changed != status.st_mtime_ns:
            os.utime(path, ns=(status.st_atime_ns, changed), follow_symlinks=False)
    sync_below(lower)
