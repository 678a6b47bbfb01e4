"""Changes to files outside the homes: planned, shown as a unified diff, applied durably, journalled, taken back.

A plan is a sequence of `Change`; making one changes nothing. `apply` first notes in a `Journal` what each path was before
pyhome first touched it, then makes the new files complete on disk, then puts them in place with one rename each. Killed at any
instant, it leaves every path as it was or as it should be; the same plan made anew finishes the work. `undo` of a journal is
again a plan.
"""

from __future__ import annotations

import base64
import contextlib
import difflib
import errno
import json
import os
import stat
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pam_pyhome.errors import StorageError, UnsafeFileError
from pam_pyhome.kernel import files
from pam_pyhome.kernel.durable import sync_file_system

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

STAGING = ".pyhome-staged"
_FILE_MAX = 64 * 1024 * 1024
_ONE_BY_ONE = 32
_LOCK_SECONDS = 60.0


class Node(NamedTuple):
    """What a path is: a regular file with its content, or a directory (`content` is None)."""

    uid: int
    gid: int
    mode: int
    content: bytes | None


class Change(NamedTuple):
    """One path, as it was when the plan was made and as it should be; None is absence."""

    path: str
    before: Node | None
    after: Node | None


def observe(path: str) -> Node | None:
    """What is at `path` now. UnsafeFileError for a link, a device and the like; OSError if it cannot be read."""
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
        old, new = (_text_lines(node) for node in (change.before, change.after))
        if old != new:
            yield f"--- {change.path if change.before else os.devnull}"
            yield f"+++ {change.path if change.after else os.devnull}"
            yield from _hunks(old, new)


def _headline(change: Change) -> Iterator[str]:
    """What a unified diff cannot show: directories, owners and modes."""
    before, after = (None if node is None else node[:3] for node in (change.before, change.after))
    if before != after:
        yield f"{change.path}: {_described(change.before)} -> {_described(change.after)}"


def _described(node: Node | None) -> str:
    if node is None:
        return "absent"
    return f"{'directory' if node.content is None else 'file'} {node.uid}:{node.gid} {node.mode:04o}"


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
            with contextlib.suppress(FileNotFoundError):
                present[directory] = set(os.listdir(directory))
        there = name in present.get(directory, ())
        if there != (change.before is not None) or (there and observe(change.path) != change.before):
            raise StorageError(change.path, "was changed by somebody else meanwhile")


def take_back(changes: Sequence[Change]) -> None:
    """Undo one application, as far as it got. OSError if a step fails."""
    undone = [Change(each.path, observe(each.path), each.before) for each in reversed(changes)]
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
    _sync_directory(os.path.dirname(path))


def _remove_directory(path: str) -> None:
    """A directory in which somebody else has put something stays."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}:
            raise
    else:
        _sync_directory(os.path.dirname(path))


def _sync_directory(path: str) -> None:
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
            self._discard()
            os.mkdir(STAGING, 0o700, dir_fd=self._fd)
            self._staging = os.open(STAGING, flags, dir_fd=self._fd)
        except OSError:
            os.close(self._fd)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.close(self._staging)
            self._discard()
            os.fsync(self._fd)
        finally:
            os.close(self._fd)

    def _discard(self) -> None:
        """Remove the staging directory, also that of a run that was killed."""
        try:
            fd = os.open(STAGING, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
        except FileNotFoundError:
            return
        try:
            for name in os.listdir(fd):
                os.unlink(name, dir_fd=fd)
        finally:
            os.close(fd)
        os.rmdir(STAGING, dir_fd=self._fd)

    def stage(self, name: str, node: Node) -> str:
        """Write a file in the staging directory; its name."""
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


# Remembering


class Journal:
    """What paths were before pyhome first touched them: one JSON object per line. Use as a context manager, which locks it.

    `directory` is made if need be, for root alone. StorageError if another process holds the lock for a minute.
    """

    def __init__(self, directory: str) -> None:
        """Take the place; nothing happens yet."""
        self.directory = directory
        self._path = os.path.join(directory, "journal")
        self._lock = -1

    def __enter__(self) -> Self:
        """Lock out others who apply or undo."""
        os.makedirs(self.directory, 0o700, exist_ok=True)
        os.close(files.open_directory(self.directory, owners=(0,)))
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._lock = os.open(os.path.join(self.directory, "lock"), flags, 0o600)
        if not files.try_lock(self._lock, exclusive=True, seconds=_LOCK_SECONDS):
            os.close(self._lock)
            raise StorageError(self.directory, "is in use by another pyhome")
        return self

    def __exit__(self, *_: object) -> None:
        """Let others in."""
        os.close(self._lock)

    def record(self, changes: Sequence[Change]) -> None:
        """Note what the paths of `changes` were, on disk; a path that is noted already keeps its first entry."""
        lines = self._lines()
        known = {line.partition(b', "was": ')[0] for line in lines}
        new = [line for line in map(_journal_line, changes) if line.partition(b', "was": ')[0] not in known]
        if not new:
            return
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            # The beginning of a line that a killed run has left goes.
            file.truncate(sum(map(len, lines)))
            file.seek(0, os.SEEK_END)
            file.writelines(new)
            file.flush()
            os.fsync(file.fileno())
        _sync_directory(self.directory)

    def _lines(self) -> list[bytes]:
        """The complete lines."""
        try:
            with open(self._path, "rb") as file:
                return [line for line in file if line.endswith(b"\n")]
        except FileNotFoundError:
            return []

    def undo(self) -> list[Change]:
        """The plan that makes every path again what it was, latest first."""
        wanted = [_journal_entry(line) for line in reversed(self._lines())]
        changes = [Change(path, observe(path), was) for path, was in wanted]
        return [change for change in changes if change.before != change.after]

    def close(self, *, keep_as: str, undone: Sequence[Change]) -> None:
        """Forget everything, now that `undone` has been carried out; what was there until then goes to the file `keep_as`."""
        kept = b"".join(_journal_line(change) for change in undone)
        fd = files.open_directory(self.directory, owners=(0,))
        try:
            files.replace_file(fd, keep_as, kept)
            with contextlib.suppress(FileNotFoundError):
                os.unlink("journal", dir_fd=fd)
            os.fsync(fd)
        finally:
            os.close(fd)


def _journal_line(change: Change) -> bytes:
    node = change.before
    was: dict[str, Any] | None = None
    if node is not None:
        content = None if node.content is None else base64.b64encode(node.content).decode("ascii")
        was = {"uid": node.uid, "gid": node.gid, "mode": node.mode, "content": content}
    return json.dumps({"path": change.path, "was": was}).encode("ascii") + b"\n"


def _journal_entry(line: bytes) -> tuple[str, Node | None]:
    entry = json.loads(line)
    was = entry["was"]
    if was is None:
        return entry["path"], None
    content = None if was["content"] is None else base64.b64decode(was["content"])
    return entry["path"], Node(was["uid"], was["gid"], was["mode"], content)
