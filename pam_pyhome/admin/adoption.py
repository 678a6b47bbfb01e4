"""A home becomes that of its owner again, who has another name or uid, or whose disk is from another machine.

What is going to be done is on record before anything changes. First the directories are root's alone, then they get their names,
then the small files are rewritten by a plan with a journal: what fails until then is taken back. Then everything gets its owner.
A run that comes after a kill goes on, and if that fails, takes back.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin import account_tools, accounts, adoption_changes, adoption_find, places, plan
from pam_pyhome.admin import adoption_facts as facts
from pam_pyhome.admin.adoption_record import Journal, changes_of, find, here
from pam_pyhome.admin.homes import be_root
from pam_pyhome.admin.journal import Journal as Plans
from pam_pyhome.errors import AdoptError, HomeElsewhereError, PyhomeError
from pam_pyhome.kernel import deleting, durable, owners
from pam_pyhome.policy.leases import GATE_SECONDS, UserState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pam_pyhome.admin.adoption_find import Said
    from pam_pyhome.admin.adoption_record import Frozen, Record
    from pam_pyhome.admin.plan import Change

    #: What other parts of pyhome rewrite, where root is certain of the old name.
    Others = Callable[[Record], list[Change]]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Outlook(NamedTuple):
    """What is to be done: `record` and `changes`; `counts` of each of its trees. `goes_on`: an earlier run has begun it."""

    record: Record
    changes: list[Change]
    counts: tuple[owners.Counts, ...]
    goes_on: bool

    @property
    def is_empty(self) -> bool:
        """Whether all is as it should be."""
        given = self.record.uid != self.record.account.uid and any(each.theirs for each in self.counts)
        return not (self.goes_on or self.record.moves or self.changes or given)


def look(user: str, said: Said, others: Others) -> Outlook:
    """All that would be done. Changes nothing. Errors as of `adoption_find.look`."""
    be_root()
    begun = find(user)
    if begun is not None:
        if accounts.look_up(user) != begun.account:
            raise facts.UnfinishedError(user, "adopt", user, begun.account.uid, begun.account.home)
        trouble = places.missing(*begun.places)
        if trouble is not None:
            raise AdoptError(user, facts.NOT_THERE, trouble)
    record = begun or adoption_find.look(user, said)
    old, new = _owners(record)
    counts = tuple(owners.count(here(record, tree), old, new) for tree in record.trees)
    return Outlook(record, [*adoption_changes.changes(record), *others(record)], counts, begun is not None)


def adopt(user: str, said: Said, others: Others) -> Outlook:
    """Do it; what was done. PyhomeError, OSError: all is as it was, or the next run goes on."""
    with Journal(user) as journal, account_tools.uninterrupted():
        outlook = look(user, said, others)
        record = outlook.record
        if outlook.is_empty:
            return outlook
        with UserState(record.account.uid) as state:
            if not state.close_gate(GATE_SECONDS):
                raise HomeElsewhereError(user)
            if not outlook.goes_on:
                journal.write(record)
            if not record.rewritten:
                _rewrite(journal, record, others)
                journal.write(record._replace(rewritten=True))
            _give(record)
            for each in record.frozen:
                wanted = _after(record, each)
                _set(each.path, wanted.uid, wanted.gid, wanted.mode)
            deleting.delete(changes_of(user))
            journal.forget()
    return outlook


def _owners(record: Record) -> tuple[owners.Owner, owners.Owner]:
    return owners.Owner(record.uid, record.gid), owners.Owner(record.account.uid, record.account.gid)


def _after(record: Record, each: Frozen) -> Frozen:
    """A directory as it should be."""
    if each.uid != record.uid:
        return each
    return each._replace(uid=record.account.uid, gid=record.account.gid if each.gid == record.gid else each.gid)


def _rewrite(journal: Journal, record: Record, others: Others) -> None:
    """All that can be taken back. OSError, PyhomeError."""
    with Plans(changes_of(journal.user)) as noted:
        try:
            for each in record.frozen:
                _set(here(record, each.path), 0, 0, 0o700)
            for move in record.moves:
                _move(move.source, move.target, move.inode)
            plan.sweep(dict.fromkeys(map(os.path.dirname, noted.paths())))
            changes = [*adoption_changes.changes(record), *others(record)]
            plan.apply(changes, noted)
        except (OSError, PyhomeError):
            _take_back(journal, record, noted.undo())
            raise


def _take_back(journal: Journal, record: Record, undo: Sequence[Change]) -> None:
    """Make everything what it was. OSError: the record stays, and the next run goes on."""
    plan.carry_out(undo)
    for move in reversed(record.moves):
        _move(move.target, move.source, move.inode)
    for each in record.frozen:
        _set(here(record, each.path), each.uid, each.gid, each.mode)
    deleting.delete(changes_of(journal.user))
    journal.forget()


def _give(record: Record) -> None:
    """Everything of the old uid gets its owner."""
    old, new = _owners(record)
    for tree in record.trees if old.uid != new.uid else ():
        owners.give(tree, old, new)
        durable.sync_below(tree)


def _move(source: str, target: str, inode: int) -> None:
    """Give a directory its name, if it has not got it. AdoptError if something else is in the way."""
    if os.path.lexists(target) and os.lstat(target).st_ino == inode:
        return
    if os.path.lexists(target) or os.lstat(source).st_ino != inode:
        raise AdoptError(os.path.basename(target), facts.TAKEN, target)
    os.rename(source, target)
    plan.sync_directory(os.path.dirname(target))


def _set(path: str, uid: int, gid: int, mode: int) -> None:
    """Owner and mode of a directory. OSError."""
    directory = os.open(path, _DIRECTORY)
    try:
        os.fchown(directory, uid, gid)
        os.fchmod(directory, mode)
        os.fsync(directory)
    finally:
        os.close(directory)

