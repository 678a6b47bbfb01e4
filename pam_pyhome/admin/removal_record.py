"""Which home is being removed, on disk before each step, so that whatever is killed in the middle can be finished.

One JSON file for each user in `/var/lib/pyhome/removing`, replaced as a whole. From the first one on there is no way back: what is
left is found by what the record says, because neither the account nor the home directory need be there any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin import user_records
from pam_pyhome.admin.places import parse
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import FormatError

if TYPE_CHECKING:
    from pam_pyhome.admin.places import Place

DIRECTORY = "/var/lib/pyhome/removing"
_PREFIX = ".pyhome-removing."


class Record(NamedTuple):
    """A removal: whose home, of which kind, how far it is.

    `parent`: the directory that the home is in, without links. `home` and `storage`: the inodes of the home directory and of an
    eCryptfs home's directory for the rest, 0 for none. `policies`: mount and identifier of each fscrypt policy; `protectors` open
    them; `stayed` are those of them that open something else as well. `places`: where all that lies, on which file systems; records
    of version 0.1.0 do not say.
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
    places: tuple[Place, ...] = ()


def place_of(user: str) -> str:
    """The name of the directory, beside what is removed, that it waits in: root's alone."""
    return _PREFIX + user


class Journal(user_records.Journal):
    """The record of one user, whose home nobody else is removing meanwhile."""

    def __init__(self, user: str) -> None:
        """Nothing happens yet."""
        super().__init__(DIRECTORY, user, "removing")

    def write(self, record: Record) -> Record:
        """Put the record on disk; the record."""
        self.put(record.account, record._asdict())
        return record


def find(user: str) -> Record | None:
    """The record of a user, or None. FormatError for one that cannot be made sense of."""
    data = user_records.read(DIRECTORY, user)
    return None if data is None else _parse(data)


def users() -> list[str]:
    """Those of whom there is a record."""
    return user_records.users(DIRECTORY)


def _parse(data: bytes) -> Record:
    try:
        account, value = user_records.parse(DIRECTORY, data)
        policies = tuple((str(mount), str(identifier)) for mount, identifier in value.pop("policies"))
        protectors, stayed = (tuple(map(str, value.pop(field))) for field in ("protectors", "stayed"))
        known = tuple(map(parse, value.pop("places", ())))
        return Record(Account(*account), places=known, policies=policies, protectors=protectors, stayed=stayed, **value)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(DIRECTORY, f"a record is none: {error}") from None
