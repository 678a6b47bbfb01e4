"""What is being converted, on disk before it is done, so that whatever is killed in the middle can be gone on with or taken back.

One JSON file for each user in `/var/lib/pyhome/converting`, replaced as a whole before each step that it announces. The home's two
copies are told apart by their inodes: that of the new one is in the record.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin import user_records
from pam_pyhome.backends import kept
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import FormatError

if TYPE_CHECKING:
    from pam_pyhome.backends.fscrypt_create import Step

DIRECTORY = kept.CONVERTING
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


class Journal(user_records.Journal):
    """The record of one user, whose home nobody else is converting meanwhile."""

    def __init__(self, user: str) -> None:
        """Nothing happens yet."""
        super().__init__(DIRECTORY, user, "converting")

    def read(self) -> Record | None:
        """The record, or None."""
        return find(self.user)

    def write(self, record: Record) -> Record:
        """Put the record on disk; the record."""
        self.put(record.account, record._asdict())
        return record


def find(user: str) -> Record | None:
    """The record of a user, or None. FormatError for one that cannot be made sense of."""
    data = user_records.read(DIRECTORY, user)
    return None if data is None else _parse(data)


def _parse(data: bytes) -> Record:
    try:
        account, value = user_records.parse(DIRECTORY, data)
        steps = tuple(tuple(map(str, step)) for step in value.pop("steps"))
        return Record(Account(*account), steps=steps, policy=tuple(value.pop("policy")), **value)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(DIRECTORY, f"a record is none: {error}") from None


def users() -> list[str]:
    """Those of whom there is a record."""
    return user_records.users(DIRECTORY)


def is_swapped(record: Record) -> bool:
    """Whether the new home is in its place."""
    try:
        return record.inode != 0 and os.lstat(record.account.home).st_ino == record.inode
    except FileNotFoundError:
        return False
