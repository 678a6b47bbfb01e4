"""What is being made at the moment, on disk before it is made, so that whatever is killed in the middle can be taken back.

One file for each user in `/var/lib/pyhome/creating`: JSON, one value a line, each on disk before what it announces is done. The
first says whose home it is; then come steps, as what takes them back; last `decided`, from where on somebody may be using it.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from typing import TYPE_CHECKING, NamedTuple, Self

from pam_pyhome.admin import user_records
from pam_pyhome.admin.plan import sync_directory
from pam_pyhome.backends.base import Account
from pam_pyhome.backends.fscrypt_create import take_back
from pam_pyhome.errors import FormatError, PyhomeError
from pam_pyhome.kernel import deleting, files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pam_pyhome.backends.fscrypt_create import Step

DIRECTORY = "/var/lib/pyhome/creating"
TREE, PLACE = "tree", "place"
_DECIDED = "decided"
_LOCK_SECONDS = 60.0


class Begun(NamedTuple):
    """A home that was begun: whose, of which kind, whether the account is new, how far it got."""

    account: Account
    backend: str
    new: bool
    steps: tuple[Step, ...]
    decided: bool


class Records:
    """The records. Use as a context manager, which lets nobody else make homes meanwhile.

    StorageError if that is not had in a minute. `lock` is a descriptor for programs that work for us to inherit:
    until they have ended, too, nobody else begins.
    """

    def __init__(self) -> None:
        """Nothing happens yet."""
        self.lock = -1

    def __enter__(self) -> Self:
        """Lock."""
        self.lock = user_records.lock(DIRECTORY, user_records.LOCK, _LOCK_SECONDS, (DIRECTORY, "another pyhome is making a home"))
        _sweep()
        return self

    def __exit__(self, *_: object) -> None:
        """Unlock."""
        _sweep()
        os.close(self.lock)

    def begin(self, account: Account, backend: str, *, new: bool) -> None:
        """Start the record of an account's home."""
        head = {"user": account.name, "uid": account.uid, "gid": account.gid, "home": account.home, "backend": backend, "new": new}
        user_records.replace(DIRECTORY, account.name, _line(head))

    def note(self, user: str, step: Step) -> None:
        """Put on disk what takes the next step back."""
        self._append(user, list(step))

    def decide(self, user: str) -> None:
        """From now on somebody may be using the home."""
        self._append(user, _DECIDED)

    def _append(self, user: str, value: object) -> None:
        fd = os.open(f"{DIRECTORY}/{user}", os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.write(fd, _line(value))
            os.fsync(fd)
        finally:
            os.close(fd)

    def take_back(self, user: str) -> None:
        """Undo all steps, last first, and end the record. If one cannot be undone, the record stays. OSError."""
        begun = find(user)
        if begun is None:
            return
        failed: Exception | None = None
        for step in reversed(begun.steps):
            try:
                _undo(step)
            except (OSError, PyhomeError) as error:
                failed = failed or error
        if failed is not None:
            raise failed
        self.forget(user)

    def forget(self, user: str) -> None:
        """End the record."""
        user_records.forget(DIRECTORY, user)


def find(user: str) -> Begun | None:
    """The record of a user, or None. FormatError for one that cannot be made sense of."""
    data = user_records.read(DIRECTORY, user)
    return None if data is None else _parse(data)


def _parse(data: bytes) -> Begun:
    """FormatError. What follows the last line end announces nothing that was done: its writer was killed."""
    try:
        head, *rest = (json.loads(line) for line in data.split(b"\n")[:-1])
        account = Account(head["user"], head["uid"], head["gid"], head["home"])
        steps = tuple(tuple(map(str, value)) for value in rest if value != _DECIDED)
        return Begun(account, head["backend"], head["new"], steps, _DECIDED in rest)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(DIRECTORY, f"a record is none: {error}") from None


def _sweep() -> None:
    """Remove records that were never begun."""
    staged = (name for name in os.listdir(DIRECTORY) if name.endswith(files.STAGED_SUFFIX))
    user_records.sweep(DIRECTORY, *(name.removesuffix(files.STAGED_SUFFIX) for name in staged))


def users() -> Iterable[str]:
    """Those of whom there is a record."""
    return user_records.users(DIRECTORY)


def _line(value: object) -> bytes:
    return json.dumps(value).encode("ascii") + b"\n"


def placing(staged: str, final: str) -> Step:
    """The step that takes back that `staged` was renamed to `final`, where nothing is or an empty directory. OSError."""
    was = ""
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(final)
        was = f"{status.st_uid}:{status.st_gid}:{stat.S_IMODE(status.st_mode)}"
    return (PLACE, staged, final, _identity(staged), was)


def _identity(path: str) -> str:
    status = os.lstat(path)
    return f"{status.st_dev}:{status.st_ino}"


def _undo(step: Step) -> None:
    kind, *rest = step
    if kind == PLACE:
        _undo_placing(*rest)
    elif kind == TREE:
        deleting.delete(rest[0])
    else:
        take_back(step)


def _undo_placing(staged: str, final: str, identity: str, was: str) -> None:
    """Move it back, if it is what was moved; anything else is somebody else's."""
    if not os.path.lexists(final) or _identity(final) != identity:
        return
    os.rename(final, staged)
    if was:
        uid, gid, mode = map(int, was.split(":"))
        os.mkdir(final)
        os.chown(final, uid, gid)
        os.chmod(final, mode)
    sync_directory(os.path.dirname(final))
