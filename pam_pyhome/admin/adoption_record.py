"""Which home is being adopted, on disk before anything changes, so that whatever is killed in the middle can be finished.

One JSON file for each user in `/var/lib/pyhome/adopting`. What files were that are rewritten is in a journal of plans beside it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin import user_records
from pam_pyhome.admin.places import parse
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import FormatError

if TYPE_CHECKING:
    from pam_pyhome.admin.places import Place

DIRECTORY = "/var/lib/pyhome/adopting"


class Move(NamedTuple):
    """A directory that gets another name: the one with this inode."""

    source: str
    target: str
    inode: int


class Frozen(NamedTuple):
    """A directory that is root's alone meanwhile, and what it is otherwise. The path is the one after all moves."""

    path: str
    uid: int
    gid: int
    mode: int


class Record(NamedTuple):
    """An adoption: the account, its kind of home, and who it was.

    `name` and `uid` are those from before, `gid` the group of that uid; the same as now if they have not changed. `certain`: root
    has said the name, or root's own files do; else only the home does. `trees`: what may have files of the old uid, by the paths
    after all moves. `places`: the directories that all this is in, and on which file systems. `rewritten`: all but the owners of
    files is done, and there is no way back any more.
    """

    account: Account
    backend: str
    name: str
    uid: int
    gid: int
    certain: bool
    moves: tuple[Move, ...]
    trees: tuple[str, ...]
    frozen: tuple[Frozen, ...]
    places: tuple[Place, ...]
    rewritten: bool = False


def here(record: Record, path: str) -> str:
    """Where what will be at `path` after all moves is now."""
    for move in record.moves:
        if f"{path}/".startswith(f"{move.target}/") and not os.path.lexists(move.target):
            return move.source + path[len(move.target) :]
    return path


def changes_of(user: str) -> str:
    """The directory of the journal of what is rewritten. Its name begins with a dot, as no user's does."""
    return f"{DIRECTORY}/.changes.{user}"


class Journal(user_records.Journal):
    """The record of one user, whose home nobody else is adopting meanwhile."""

    def __init__(self, user: str) -> None:
        """Nothing happens yet."""
        super().__init__(DIRECTORY, user, "adopting")

    def write(self, record: Record) -> None:
        """Put the record on disk."""
        self.put(record.account, record._asdict())


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
        moves = tuple(Move(*each) for each in value.pop("moves"))
        frozen = tuple(Frozen(*each) for each in value.pop("frozen"))
        trees, known = tuple(value.pop("trees")), tuple(map(parse, value.pop("places")))
        return Record(Account(*account), moves=moves, frozen=frozen, trees=trees, places=known, **value)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(DIRECTORY, f"a record is none: {error}") from None
