"""Giving whole trees to somebody else: what belongs to one uid, and nothing that belongs to another."""

from __future__ import annotations

import os
import stat

from pam_pyhome.kernel import deleting, trees
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.kernel.deleting import Visitor

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Owner(Record):
    """A uid, and the gid of a file of theirs."""

    uid: int
    gid: int


class Counts(Record):
    """How many files of a tree belong to the one who was asked about, and how many to others."""

    theirs: int
    others: int


def count(path: str, old: Owner, new: Owner) -> Counts:
    """What `give` would change, and what belongs to neither. No link is followed, no mount is entered. OSError."""
    found = [0, 0]

    def look(name: str, directory: int) -> None:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        found[0] += status.st_uid == old.uid
        found[1] += status.st_uid not in (old.uid, new.uid) and not stat.S_ISLNK(status.st_mode)  # whose a link is says nothing

    _each(path, look)
    return Counts(*found)


def give(path: str, old: Owner, new: Owner) -> None:
    """Give all that belongs to `old` in a tree to `new`, and its group with it if that is theirs as well. OSError.

    Each file is opened before it is looked at, so that what has been looked at is what is given away. Names of a locked fscrypt
    directory serve as well as others.
    """

    def change(name: str, directory: int) -> None:
        file = os.open(name, _LOOK, dir_fd=directory)
        try:
            status = os.fstat(file)
            if status.st_uid == old.uid:
                # A descriptor of this kind is no more than a place; the link to it leads there, and no further.
                os.chown(f"/proc/self/fd/{file}", new.uid, new.gid if status.st_gid == old.gid else -1)
        finally:
            os.close(file)

    _each(path, change)


def _each(path: str, visitor: Visitor) -> None:
    parent = trees.open_below(os.path.dirname(path))
    try:
        deleting.visit(parent, os.path.basename(path), visitor, visitor)
    finally:
        os.close(parent)
