"""What paths were before pyhome first touched them, on disk before anything changes, so that it can all be taken back."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, Self

from pam_pyhome.admin.plan import Change, Node, observe, sync_directory
from pam_pyhome.errors import StorageError
from pam_pyhome.kernel import files

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOCK_SECONDS = 60.0


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
        for path in (os.path.dirname(self.directory), self.directory):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
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
        sync_directory(self.directory)

    def _lines(self) -> list[bytes]:
        """The complete lines."""
        try:
            with open(self._path, "rb") as file:
                return [line for line in file if line.endswith(b"\n")]
        except FileNotFoundError:
            return []

    def paths(self) -> list[str]:
        """What is noted, earliest first."""
        return [_journal_entry(line)[0] for line in self._lines()]

    def undo(self) -> list[Change]:
        """The plan that makes every path again what it was, latest first."""
        wanted = [_journal_entry(line) for line in reversed(self._lines())]
        changes = [Change(path, observe(path, links=True), was) for path, was in wanted]
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


def read_kept(directory: str, name: str) -> dict[str, Node | None]:
    """What paths were, as `Journal.close` has kept it in the file `name`; nothing if there is no such file."""
    try:
        with open(os.path.join(directory, name), "rb") as file:
            return dict(_journal_entry(line) for line in file if line.endswith(b"\n"))
    except FileNotFoundError:
        return {}


def _journal_line(change: Change) -> bytes:
    node = change.before
    was: dict[str, Any] | None = None
    if node is not None:
        content = None if node.content is None else base64.b64encode(node.content).decode("ascii")
        was = {"uid": node.uid, "gid": node.gid, "mode": node.mode, "content": content}
        if node.link:
            was["link"] = True
    return json.dumps({"path": change.path, "was": was}).encode("ascii") + b"\n"


def _journal_entry(line: bytes) -> tuple[str, Node | None]:
    entry = json.loads(line)
    was = entry["was"]
    if was is None:
        return entry["path"], None
    content = None if was["content"] is None else base64.b64decode(was["content"])
    return entry["path"], Node(was["uid"], was["gid"], was["mode"], content, link="link" in was)
