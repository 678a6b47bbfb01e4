"""Deleting whole trees, and finding in them what cannot be deleted. However deep they are, two directories are open at a time."""

from __future__ import annotations

import errno
import os
import stat

from pam_pyhome.kernel import attributes, trees
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Visitor = Callable[[str, int], None]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def delete(path: str) -> None:
    """The same as `remove_tree`, for a path whose parent nobody but root can change; nothing if that is not there either.

    Nothing that is mounted in the tree is entered: what it is mounted on cannot be deleted, which is an OSError.
    """
    try:
        parent = trees.open_below(os.path.dirname(path))
    except FileNotFoundError:
        return
    try:
        remove_tree(parent, os.path.basename(path))
    finally:
        os.close(parent)


class _Level(Record):
    """A directory on the way down: its name in the one above, its identity, and the directories in it that are yet to be seen."""

    name: str
    identity: tuple[int, int]
    inner: list[str]


def remove_tree(within: int, name: str) -> None:
    """Delete `name` with all that is in it, however deep it is; links are not followed. Nothing if it is not there.

    Root calls this for a tree that nobody else gets to. OSError, with the name of what cannot be deleted.
    """
    visit(within, name, _unlink, _rmdir)


def _unlink(name: str, directory: int) -> None:
    os.unlink(name, dir_fd=directory)


def _rmdir(name: str, directory: int) -> None:
    os.rmdir(name, dir_fd=directory)


def find_frozen(within: int, name: str) -> str | None:
    """The name of something in the tree that cannot be deleted: it is immutable or can only be appended to; or None. OSError."""
    found: list[str] = []
    reader = attributes.Reader()

    def look(each: str, directory: int) -> None:
        if not found and reader.read(os.fsencode(each), directory) & (attributes.IMMUTABLE | attributes.APPEND):
            found.append(each)

    visit(within, name, look, look)
    return found[0] if found else None


def visit(within: int, name: str, leave_file: Visitor, leave_directory: Visitor) -> None:
    """Call the visitors with each name and the directory that it is in, of a directory after all that is in it.

    Recursion and paths would set a limit to how deep the tree may be.
    """
    try:
        is_directory = stat.S_ISDIR(os.stat(name, dir_fd=within, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return
    if not is_directory:
        leave_file(name, within)
        return
    here = os.open(name, _DIRECTORY, dir_fd=within)
    try:
        levels = [_enter(here, name, leave_file)]
        while levels:
            if levels[-1].inner:
                inner = levels[-1].inner.pop()
                here = _instead(here, os.open(inner, _DIRECTORY, dir_fd=here))
                levels.append(_enter(here, inner, leave_file))
                continue
            done = levels.pop()
            here = _instead(here, _above(here, levels[-1]) if levels else os.dup(within))
            leave_directory(done.name, here)
    finally:
        os.close(here)


def _enter(directory: int, name: str, leave_file: Visitor) -> _Level:
    """See to all files in a directory; the directories in it are left for later."""
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for each, is_directory in found:
        if not is_directory:
            leave_file(each, directory)
    return _Level(name, _identity(directory), [each for each, is_directory in found if is_directory])


def _above(directory: int, expected: _Level) -> int:
    """The directory above. OSError if that is not the one that we came from."""
    above = os.open("..", _DIRECTORY, dir_fd=directory)
    if _identity(above) != expected.identity:
        os.close(above)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), expected.name)
    return above


def _instead(old: int, new: int) -> int:
    os.close(old)
    return new


def _identity(directory: int) -> tuple[int, int]:
    status = os.fstat(directory)
    return status.st_dev, status.st_ino
