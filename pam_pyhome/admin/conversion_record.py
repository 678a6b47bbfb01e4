"""What is being converted, on disk before it is done, so that whatever is killed in the middle can be gone on with or taken back.

One JSON file for each user in `/var/lib/pyhome/converting`, replaced as a whole before each step that it announces. The directories
that it is about are in the record, with what tells them from all others: where they cannot be seen, nothing is done.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin import conversion_facts as facts
from pam_pyhome.admin import places, user_records
from pam_pyhome.admin.creation_choice import ECRYPTFS
from pam_pyhome.backends import kept
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import ConversionError, FormatError
from pam_pyhome.formats.mountinfo import parse_mountinfo
from pam_pyhome.kernel import mounts

if TYPE_CHECKING:
    from pam_pyhome.admin.places import Place
    from pam_pyhome.backends.fscrypt_create import Step

DIRECTORY = kept.CONVERTING
_PREFIX = ".pyhome-converting."


class Record(NamedTuple):
    """A conversion: whose home, in which direction, of which kind, how far it is.

    `inode`: that of the new home directory, 0 until there is one. `steps`: what takes the encrypted home's metadata back. `policy`:
    mount and identifier of an fscrypt home that is decrypted. `plain` and `cipher`: fingerprints of both copies just before they
    changed places, see `tree.fingerprint`. `places`: where all that lies, on which file systems. `old` and `new`: both home
    directories, the new one None until there is one. Records of version 0.1.0 have none of these three.
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
    places: tuple[Place, ...] = ()
    old: Place | None = None
    new: Place | None = None


def place_of(account: Account) -> str:
    """The directory that the other copy is in: beside the home, so that a rename puts it there, and root's."""
    parent = os.path.dirname(account.home)
    return f"{parent.rstrip('/')}/{_PREFIX}{account.name}"


def record_path(user: str) -> str:
    """Where the record of a user is."""
    return f"{DIRECTORY}/{user}"


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
        known = tuple(places.parse(each) for each in value.pop("places", ()))
        old, new = (places.parse(each) if each else None for each in (value.pop("old", None), value.pop("new", None)))
        policy = tuple(value.pop("policy"))
        return Record(Account(*account), steps=steps, policy=policy, places=known, old=old, new=new, **value)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(DIRECTORY, f"a record is none: {error}") from None


def users() -> list[str]:
    """Those of whom there is a record."""
    return user_records.users(DIRECTORY)


def is_swapped(record: Record) -> bool:
    """Whether the new home is in its place. ConversionError if what is there now is not what the record is about.

    A home that is not seen is not a home that is as it was: its disk may not be mounted.
    """
    user, home = record.account.name, record.account.home
    trouble = places.missing(*record.places) or _hidden(home)
    if trouble is not None:
        raise ConversionError(user, facts.NOT_THERE, trouble)
    trouble = places.trouble_above(home) if os.path.isdir(os.path.dirname(home)) else None
    if trouble is not None:
        raise ConversionError(user, facts.UNSAFE, trouble)
    found = places.look_below(home)
    if found is None:
        raise ConversionError(user, facts.MOVED if record.old else facts.NOT_THERE, f"{home} is no directory")
    if record.old is None:
        return _is_swapped_by_inode(record, found)
    if record.new is not None and found.is_same(record.new):
        return True
    if found.is_same(record.old):
        return False
    raise ConversionError(user, facts.OTHER_HOME, home)


def _hidden(home: str) -> str | None:
    """What is mounted on the home besides itself as eCryptfs opens it, in words."""
    # Not of the home itself: who serves what is mounted there may never answer.
    parent, name = os.path.split(home)
    where = os.fsencode(os.path.join(os.path.realpath(parent), name))
    for mount in parse_mountinfo(mounts.read_mountinfo()):
        if mount.mountpoint == where and mount.fstype != ECRYPTFS:
            return f"{os.fsdecode(mount.source)} ({mount.fstype}) is mounted on {home}"
    return None


def _is_swapped_by_inode(record: Record, found: Place) -> bool:
    """The same as far as a record of version 0.1.0 tells: it has the inode of the new home alone. ConversionError."""
    if not record.inode and not record.steps:
        return False  # killed before anything was made
    if found.inode == record.inode:
        return True
    other = places.look_below(other_home(record.account))
    if other is not None and record.inode in (0, other.inode):
        return False
    raise ConversionError(record.account.name, facts.UNKNOWN_HOME, other_home(record.account))
