"""Directories with a record for each user of what is going on with their home: `/var/lib/pyhome/creating` and its like.

Records are files of root's with the name of the user, replaced as a whole and on disk when that returns. Locks lie beside them;
their names begin with a dot, as no user's does.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, Self

from pam_pyhome.admin.plan import sync_directory
from pam_pyhome.errors import FormatError, HomeElsewhereError
from pam_pyhome.kernel import files

if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account
    from pam_pyhome.errors import PyhomeError

_MAX = 1 << 20
_VERSION = 1
_LOCK_SECONDS = 5.0
LOCK = ".lock"


def lock(directory: str, name: str, seconds: float, busy: PyhomeError) -> int:
    """Make the directory, if need be, and get the lock `name` in it; its descriptor, for programs to inherit that work for us.

    `busy` is raised if it is not had in so many seconds.
    """
    for path in (os.path.dirname(directory), directory):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
    os.close(files.open_directory(directory, owners=(0,)))
    fd = os.open(f"{directory}/{name}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if not files.try_lock(fd, exclusive=True, seconds=seconds):
        os.close(fd)
        raise busy
    return fd


def users(directory: str) -> list[str]:
    """Those of whom there is a record."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(name for name in names if not name.startswith(".") and not name.endswith(files.STAGED_SUFFIX))


def read(directory: str, user: str) -> bytes | None:
    """The record of a user, or None. UnsafeFileError, OSError."""
    if not user or "/" in user or user.startswith("."):
        return None  # not a name that a record could have
    try:
        fd = files.open_directory(directory, owners=(0,))
    except FileNotFoundError:
        return None
    try:
        return files.read_file(fd, user, owners=(0,), limit=_MAX)
    except FileNotFoundError:
        return None
    finally:
        os.close(fd)


def replace(directory: str, user: str, content: bytes) -> None:
    """Put the record of a user on disk. OSError."""
    fd = files.open_directory(directory, owners=(0,))
    try:
        files.replace_file(fd, user, content)
    finally:
        os.close(fd)


def sweep(directory: str, *names: str) -> None:
    """Remove records of these users that were never put in place. The next run can do that as well."""
    for user in names:
        with contextlib.suppress(OSError):
            os.unlink(f"{directory}/{user}{files.STAGED_SUFFIX}")


def forget(directory: str, user: str) -> None:
    """End the record of a user. OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{directory}/{user}")
    sync_directory(directory)


class Journal:
    """The record of one user in a directory. Use as a context manager, which lets nobody else do the same to the home meanwhile.

    `lock` is a descriptor for programs that work for us to inherit: until they have ended, too, nobody else goes on.
    HomeElsewhereError if it is not had in a few seconds.
    """

    def __init__(self, directory: str, user: str, doing: str) -> None:
        """Nothing happens yet."""
        self.user = user
        self.lock = -1
        self._directory = directory
        self._doing = doing

    def __enter__(self) -> Self:
        """Lock."""
        self.lock = lock(self._directory, f"{LOCK}.{self.user}", _LOCK_SECONDS, HomeElsewhereError(self.user, self._doing))
        self._sweep()
        return self

    def __exit__(self, *_: object) -> None:
        """Unlock."""
        self._sweep()
        os.close(self.lock)

    def _sweep(self) -> None:
        sweep(self._directory, self.user)

    def put(self, account: Account, fields: dict[str, Any]) -> None:
        """Put a record of one JSON object on disk. OSError."""
        replace(self._directory, self.user, emit(account, fields))

    def forget(self) -> None:
        """End the record: there is nothing to go on with, or to take back. OSError."""
        forget(self._directory, self.user)


# Records that are one JSON object


def emit(account: Account, fields: dict[str, Any]) -> bytes:
    """A record about an account."""
    value = fields | {"account": [account.name, account.uid, account.gid, account.home], "version": _VERSION}
    return json.dumps(value).encode("ascii") + b"\n"


def parse(directory: str, data: bytes) -> tuple[tuple[str, int, int, str], dict[str, Any]]:
    """Name, uid, gid and home of the account, and the other fields. FormatError, ValueError."""
    value: dict[str, Any] = json.loads(data)
    if value.pop("version") != _VERSION:
        raise FormatError(directory, "a record is of another version")
    name, uid, gid, home = value.pop("account")
    return (name, uid, gid, home), value
