"""Which home is being removed, on disk before each step, so that whatever is killed in the middle can be finished.

One JSON file for each user in `/var/lib/pyhome/removing`, replaced as a whole. From the first one on there is no way back: what is
left is found by what the record says, because neither the account nor the home directory need be there any more.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, NamedTuple, Self

from pam_pyhome.admin.plan import sync_directory
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import FormatError, StorageError
from pam_pyhome.kernel import files

if TYPE_CHECKING:
    from typing import Any

DIRECTORY = "/var/lib/pyhome/removing"
_VERSION = 1
_MAX = 1 << 20
_LOCK_SECONDS = 5.0
_PREFIX = ".pyhome-removing."


class Record(NamedTuple):
    """A removal: whose home, of which kind, how far it is.

    `parent`: the directory that the home is in, without links. `home` and `storage`: the inodes of the home directory and of an
    eCryptfs home's directory for the rest, 0 for none. `policies`: mount and identifier of each fscrypt policy; `protectors` open
    them; `stayed` are those of them that open something else as well.
    """

    account: Account
    backend: str
    keep_account: bool
    parent: str
    home: int
    storage: int
    policies: tuple[tuple[str, str], ...]
    protectors: tuple[str, ...]
    phase: str
    stayed: tuple[str, ...] = ()


def place_of(user: str) -> str:
    """The name of the directory, beside what is removed, that it waits in: root's alone."""
    return _PREFIX + user


class Journal:
    """The record of one user. Use as a context manager, which lets nobody else remove this home meanwhile.

    `lock` is a descriptor for programs that work for us to inherit. StorageError if it is not had in a few seconds.
    """

    def __init__(self, user: str) -> None:
        """Nothing happens yet."""
        self.user = user
        self.lock = -1

    def __enter__(self) -> Self:
        """Lock."""
        for path in (os.path.dirname(DIRECTORY), DIRECTORY):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
        os.close(files.open_directory(DIRECTORY, owners=(0,)))
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self.lock = os.open(f"{DIRECTORY}/.lock.{self.user}", flags, 0o600)
        if not files.try_lock(self.lock, exclusive=True, seconds=_LOCK_SECONDS):
            os.close(self.lock)
            raise StorageError(f"the home of {self.user}", "another pyhome is removing it")
        return self

    def __exit__(self, *_: object) -> None:
        """Unlock, and remove a record that was never put in place."""
        with contextlib.suppress(OSError):
            os.unlink(f"{DIRECTORY}/{self.user}{files.STAGED_SUFFIX}")
        os.close(self.lock)

    def write(self, record: Record) -> Record:
        """Put the record on disk; the record."""
        account = record.account
        value = record._asdict() | {"account": [account.name, account.uid, account.gid, account.home], "version": _VERSION}
        directory = files.open_directory(DIRECTORY, owners=(0,))
        try:
            files.replace_file(directory, self.user, json.dumps(value).encode("ascii") + b"\n")
        finally:
            os.close(directory)
        return record

    def forget(self) -> None:
        """There is nothing left to do."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{DIRECTORY}/{self.user}")
        sync_directory(DIRECTORY)


def find(user: str) -> Record | None:
    """The record of a user, or None. FormatError for one that cannot be made sense of."""
    if not user or "/" in user or user.startswith("."):
        return None  # not a name that a record could have
    try:
        directory = files.open_directory(DIRECTORY, owners=(0,))
    except FileNotFoundError:
        return None
    try:
        return _parse(files.read_file(directory, user, owners=(0,), limit=_MAX))
    except FileNotFoundError:
        return None
    finally:
        os.close(directory)


def users() -> list[str]:
    """Those of whom there is a record."""
    try:
        names = os.listdir(DIRECTORY)
    except FileNotFoundError:
        return []
    return sorted(name for name in names if not name.startswith(".") and not name.endswith(files.STAGED_SUFFIX))


def _parse(data: bytes) -> Record:
    try:
        value: dict[str, Any] = json.loads(data)
        if value.pop("version") != _VERSION:
            raise FormatError(DIRECTORY, "a record is of another version")
        name, uid, gid, home = value.pop("account")
        policies = tuple((str(mount), str(identifier)) for mount, identifier in value.pop("policies"))
        protectors, stayed = (tuple(map(str, value.pop(field))) for field in ("protectors", "stayed"))
        return Record(Account(name, uid, gid, home), policies=policies, protectors=protectors, stayed=stayed, **value)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(DIRECTORY, f"a record is none: {error}") from None
