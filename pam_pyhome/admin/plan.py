"""Changes to files outside the homes: planned, shown as a unified diff, applied durably, journalled, taken back.

A plan is a sequence of `Change`; making one changes nothing. `apply` first notes in a journal what each path was before
pyhome first touched it, then makes the new files complete on disk, then puts them in place with one rename each. Killed at any
instant, it leaves every path as it was or as it should be; the same plan made anew finishes the work. What undoes all of it
is again a plan.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple, Self

from pam_pyhome.errors import StorageError, UnsafeFileError
from pam_pyhome.kernel.durable import sync_file_system

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pam_pyhome.admin.journal import Journal

STAGING = ".pyhome-staged"
_FILE_MAX = 64 * 1024 * 1024
_ONE_BY_ONE = 32
_NOT_TEXT = frozenset(range(32)) - frozenset(b"\t\n\f\r\x1b")


class Node(NamedTuple):
    """What a path is: a regular file with its content, a directory (`content` is None), or a `link` to `content`."""

    uid: int
    gid: int
    mode: int
    content: bytes | None
    link: bool = False


class Change(NamedTuple):
    """One path, as it was when the plan was made and as it should be; None is absence."""

    path: str
    before: Node | None
    after: Node | None


def observe(path: str, *, links: bool = False) -> Node | None:
    """What is at `path` now. UnsafeFileError for a device and the like and, without `links`, for a link; OSError if that fails."""
    if links and os.path.islink(path):
        status = os.lstat(path)
        return Node(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), os.fsencode(os.readlink(path)), link=True)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise UnsafeFileError(path, "is a link or no regular file") from None
        raise
    try:
        return _observe_open(fd, path)
    finally:
        os.close(fd)


def _observe_open(fd: int, path: str) -> Node:
    status = os.fstat(fd)
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return Node(status.st_uid, status.st_gid, mode, None)
    if not stat.S_ISREG(status.st_mode) or status.st_size > _FILE_MAX:
        raise UnsafeFileError(path, f"is no regular file of at most {_FILE_MAX} bytes")
    with open(fd, "rb", buffering=0, closefd=False) as file:
        return Node(status.st_uid, status.st_gid, mode, file.readall())


# Showing


def diff(changes: Iterable[Change]) -> Iterator[str]:
    """The lines of a unified diff, without their ends. Bytes that are not UTF-8 come out as surrogates."""
    for change in changes:
        yield from _headline(change)
        if _is_binary(change.before) or _is_binary(change.after):
            contents = [None if node is None else node.content for node in (change.before, change.after)]
            if None not in contents and contents[0] != contents[1]:
                yield f"{change.path}: content that is not text changes"
            continue
        old, new = (_text_lines(node) for node in (change.before, change.after))
        if old != new:
            yield f"--- {change.path if change.before else os.devnull}"
            yield f"+++ {change.path if change.after else os.devnull}"
            yield from _hunks(old, new)


def _headline(change: Change) -> Iterator[str]:
    """What a unified diff cannot show: directories, owners and modes."""
    before, after = (None if node is None else (*node[:3], node.link) for node in (change.before, change.after))
    if before != after:
        yield f"{change.path}: {_described(change.before)} -> {_described(change.after)}"


def _described(node: Node | None) -> str:
    if node is None:
        return "absent"
    kind = "link" if node.link else "directory" if node.content is None else "file"
    return f"{kind} {node.uid}:{node.gid} {node.mode:04o}"


def _is_binary(node: Node | None) -> bool:
    """Whether there are bytes in it that no text file has."""
    return node is not None and node.content is not None and any(byte in _NOT_TEXT for byte in node.content)


def _text_lines(node: Node | None) -> list[str]:
    content = b"" if node is None or node.content is None else node.content
    return content.decode("utf-8", "surrogateescape").split("\n") if content else []


def _hunks(old: list[str], new: list[str]) -> Iterator[str]:
    """As `difflib`, which is slow at what is most frequent: a new file. The last element is what follows the last LF."""
    unfinished = [lines[-1] if lines else "" for lines in (old, new)]
    old, new = (lines if not lines or lines[-1] else lines[:-1] for lines in (old, new))
    if not old:
        yield f"@@ -0,0 +1,{len(new)} @@"
        yield from (f"+{line}" for line in new)
    else:
        yield from list(difflib.unified_diff(old, new, lineterm=""))[2:]
    if any(unfinished):
        yield "\\ No newline at end of file"


# Applying


def apply(changes: Sequence[Change], journal: Journal) -> None:
    """Carry out a plan, whose files lie in few directories.

    StorageError if something is no longer as it was when the plan was made; OSError if a step fails. Nothing has changed then.
    """
    _check_unchanged(changes)
    journal.record(changes)
    try:
        carry_out(changes)
    except (OSError, KeyboardInterrupt):
        take_back(changes)
        raise


def _check_unchanged(changes: Iterable[Change]) -> None:
    """StorageError if a path is no longer as it was when the plan was made."""
    present: dict[str, set[str]] = {}
    for change in changes:
        directory, name = os.path.split(change.path)
        if directory not in present:
            present[directory] = set()
            with contextlib.suppress(FileNotFoundError):
                present[directory].update(os.listdir(directory))
        there = name in present[directory]
        if there != (change.before is not None) or (there and observe(change.path, links=True) != change.before):
            raise StorageError(change.path, "was changed by somebody else meanwhile")


def take_back(changes: Sequence[Change]) -> None:
    """Undo one application, as far as it got. OSError if a step fails."""
    undone = [Change(each.path, observe(each.path, links=True), each.before) for each in reversed(changes)]
    carry_out([change for change in undone if change.before != change.after])


def carry_out(changes: Sequence[Change]) -> None:
    """Do what a plan says: directories come first and go last, files take their places in order. OSError if a step fails."""
    mask = os.umask(0)
    try:
        for change in changes:
            if change.after is not None and change.after.content is None:
                _make_directory(change.path, change.after)
        _place_files([change for change in changes if _is_file(change)])
        for change in reversed(changes):
            if change.after is None and change.before is not None and change.before.content is None:
                _remove_directory(change.path)
    finally:
        os.umask(mask)


def _is_file(change: Change) -> bool:
    node = change.after or change.before
    return node is not None and node.content is not None


def _make_directory(path: str, node: Node) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, node.mode)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(fd, node.uid, node.gid)
        os.fchmod(fd, node.mode)
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(os.path.dirname(path))


def _remove_directory(path: str) -> None:
    """A directory in which somebody else has put something stays."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}:
            raise
    else:
        sync_directory(os.path.dirname(path))


def sync_directory(path: str) -> None:
    """Have what has happened in a directory on disk. OSError if that fails."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _place_files(changes: Sequence[Change]) -> None:
    with contextlib.ExitStack() as stack:
        directories: dict[str, _Directory] = {}
        todo: list[tuple[_Directory, str | None, str]] = []
        for number, change in enumerate(changes):
            where, name = os.path.split(change.path)
            if where not in directories:
                directories[where] = stack.enter_context(_Directory(where))
            staged = None if change.after is None else directories[where].stage(str(number), change.after)
            todo.append((directories[where], staged, name))
        for directory in directories.values():
            directory.sync_staged()
        for directory, staged, name in todo:
            directory.put(staged, name)


def sweep(directories: Iterable[str]) -> None:
    """Remove what runs that were killed have left in these directories. OSError if that fails."""
    for path in directories:
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _sweep(fd)
            finally:
                os.close(fd)


def _sweep(directory: int) -> None:
    """Remove the staging directory in `directory`, if there is one."""
    try:
        fd = os.open(STAGING, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return
    try:
        for name in os.listdir(fd):
            os.unlink(name, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(STAGING, dir_fd=directory)


class _Directory:
    """A directory in which files take their places. They are prepared in one inside it that only root can enter.

    Not beside the others: whatever lies among authorized keys is the key file of some user name.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._count = 0

    def __enter__(self) -> Self:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _sweep(self._fd)
            os.mkdir(STAGING, 0o700, dir_fd=self._fd)
            self._staging = os.open(STAGING, flags, dir_fd=self._fd)
        except OSError:
            os.close(self._fd)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.close(self._staging)
            _sweep(self._fd)
            os.fsync(self._fd)
        finally:
            os.close(self._fd)

    def stage(self, name: str, node: Node) -> str:
        """Write a file in the staging directory; its name."""
        if node.link:
            os.symlink(node.content or b"", name, dir_fd=self._staging)
            os.chown(name, node.uid, node.gid, dir_fd=self._staging, follow_symlinks=False)
            return name
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, node.mode, dir_fd=self._staging)
        try:
            rest = memoryview(node.content or b"")
            while rest:
                rest = rest[os.write(fd, rest) :]
            if (node.uid, node.gid) != (0, 0):
                os.fchown(fd, node.uid, node.gid)
                os.fchmod(fd, node.mode)
            self._count += 1
            if self._count <= _ONE_BY_ONE:
                os.fsync(fd)
        finally:
            os.close(fd)
        return name

    def sync_staged(self) -> None:
        """Have everything that was staged on disk."""
        if self._count > _ONE_BY_ONE:
            sync_file_system(self._staging)

    def put(self, staged: str | None, name: str) -> None:
        """Put a staged file in the place of `name`; without one, remove `name`."""
        if staged is not None:
            os.rename(staged, name, src_dir_fd=self._staging, dst_dir_fd=self._fd)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)
