"""What is being converted, on disk before it is done, so that whatever is killed in the middle can be gone on with or taken back.

One JSON file for each user in `/var/lib/pyhome/converting`, replaced as a whole before each step that it announces. The home's two
copies are told apart by their inodes: that of the new one is in the record.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, NamedTuple, Self

from pam_pyhome.admin.plan import sync_directory
from pam_pyhome.backends import kept
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import FormatError, StorageError
from pam_pyhome.kernel import files

if TYPE_CHECKING:
    from pam_pyhome.backends.fscrypt_create import Step

DIRECTORY = kept.CONVERTING
_VERSION = 1
_MAX = 1 << 20
_LOCK_SECONDS = 5.0
_PREFIX = ".pyhome-converting."


class Record(NamedTuple):
    """A conversion: whose home, in which direction, of which kind, how far it is.

    `inode`: that of the new home directory, 0 until there is one. `steps`: what takes the encrypted home's metadata back. `policy`:
    mount and identifier of an fscrypt home that is decrypted. `plain` and `cipher`: fingerprints of both copies just before they
    changed places, see `tree.fingerprint`.
    """

    account: Account
    direction: str
    backend: str
    phase: str
    inode: int = 0
    steps: tuple[Step, ...] = ()
    policy: tuple[str, ...] = ()
    plain: str = ""
    cipher: str = ""


def place_of(account: Account) -> str:
    """The directory that the other copy is in: beside the home, so that a rename puts it there, and root's."""
    parent = os.path.dirname(account.home)
    return f"{parent.rstrip('/')}/{_PREFIX}{account.name}"


def other_home(account: Account) -> str:
    """The other copy of the home: the new one until it takes its place, the old one from then on."""
    return f"{place_of(account)}/home"


class Journal:
    """The record of one user. Use as a context manager, which lets nobody else convert this home meanwhile.

    `lock` is a descriptor for programs that work for us to inherit: until they have ended, too, nobody else goes on. StorageError
    if it is not had in a few seconds.
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
            raise StorageError(f"the home of {self.user}", "another pyhome is converting it")
        self._sweep()
        return self

    def __exit__(self, *_: object) -> None:
        """Unlock."""
        self._sweep()
        os.close(self.lock)

    def _sweep(self) -> None:
        """Remove a record that was never put in place. The next run can do that as well."""
        with contextlib.suppress(OSError):
            os.unlink(f"{DIRECTORY}/{self.user}{files.STAGED_SUFFIX}")

    def read(self) -> Record | None:
        """The record, or None."""
        return find(self.user)

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
        """There is nothing to go on with, or to take back."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{DIRECTORY}/{self.user}")
        sync_directory(DIRECTORY)


def find(user: str) -> Record | None:
    """The record of a user, or None. FormatError for one that cannot be made sense of."""
    if "/" in user or user.startswith("."):
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


def _parse(data: bytes) -> Record:
    try:
        value = json.loads(data)
        if value.pop("version") != _VERSION:
            raise FormatError(DIRECTORY, "a record is of another version")
        name, uid, gid, home = value.pop("account")
        steps = tuple(tuple(map(str, step)) for step in value.pop("steps"))
        return Record(Account(name, uid, gid, home), steps=steps, policy=tuple(value.pop("policy")), **value)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(DIRECTORY, f"a record is none: {error}") from None


def users() -> list[str]:
    """Those of whom there is a record."""
    try:
        names = os.listdir(DIRECTORY)
    except FileNotFoundError:
        return []
    return sorted(name for name in names if not name.startswith(".") and not name.endswith(files.STAGED_SUFFIX))


def is_swapped(record: Record) -> bool:
    """Whether the new home is in its place."""
    try:
        return record.inode != 0 and os.lstat(record.account.home).st_ino == record.inode
    except FileNotFoundError:
        return False
