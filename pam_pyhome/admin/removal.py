"""A home and its account go, for good.

First the home directory is moved to where only root gets to, then its keys are destroyed, then the account, then the files. What
is going on is on disk before it is done, see `removal_record`; a run that comes after a kill does the rest. Until the home
directory is moved it is whole; from then on nothing brings it back.
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from pam_pyhome import events
from pam_pyhome.admin import account_tools, login_shell, places
from pam_pyhome.admin import removal_checks as checks
from pam_pyhome.admin import removal_facts as facts
from pam_pyhome.admin.accounts import look_up
from pam_pyhome.admin.homes import be_root
from pam_pyhome.admin.plan import sync_directory
from pam_pyhome.admin.removal_record import Journal, Record, find, place_of
from pam_pyhome.backends import ecryptfs_store, fscrypt_remove, kept, registry
from pam_pyhome.errors import CreateError, HomeElsewhereError, HomeInUseError, PyhomeError, RemoveError, StorageError
from pam_pyhome.kernel import deleting, files
from pam_pyhome.kernel.log import log
from pam_pyhome.policy.by_hand import Locker, describe_session
from pam_pyhome.policy.leases import GATE_SECONDS, UserState

_HOME, _STORAGE = "home", "storage"


class Outlook(NamedTuple):
    """What is to be removed; `goes_on`: an earlier run has begun it."""

    record: Record
    goes_on: bool


def look(user: str, *, keep_account: bool) -> Outlook:
    """All that would be removed. Changes nothing. Errors as of `removal_checks.look`; HomeInUseError."""
    be_root()
    begun = find(user)
    if begun is not None and _is_moved(begun):
        _check_return(begun)
        return Outlook(begun._replace(keep_account=keep_account), goes_on=True)
    record = checks.look(user, keep_account=keep_account)
    with UserState(record.account.uid) as state:
        sessions = state.sessions()
    if sessions:
        raise HomeInUseError(user, tuple(map(describe_session, sessions)))
    return Outlook(record, goes_on=False)


def drop_unbegun(user: str) -> None:
    """End the record of a removal that was killed before it changed anything: whoever is asked now may say no. StorageError."""
    if find(user) is None:
        return
    with Journal(user) as journal:
        record = find(user)
        if record is not None and not _is_moved(record):
            journal.forget()


def remove(user: str, *, keep_account: bool) -> Record:
    """Remove the home, and unless `keep_account` the account; what was removed.

    PyhomeError, OSError: either all is as it was, or the removal has begun, and the next one goes on.
    """
    with Journal(user) as journal:
        record, goes_on = look(user, keep_account=keep_account)
        record = journal.write(record) if goes_on else _move_away(journal, record)
        record = _erase(journal, record)
        if not record.keep_account:
            _remove_account(journal, record)
        journal.write(record._replace(phase=facts.DELETING))
        _delete(record)
        journal.forget()
        log(events.REMOVED, "with its account" if not record.keep_account else "and kept the account", record.account)
        return record


def _is_moved(record: Record) -> bool:
    """Whether the home is no longer in its place; where it had none, whether anything has been destroyed.

    RemoveError if that cannot be seen: what is not seen may be on a disk that is not mounted.
    """
    trouble = places.missing(*record.places)
    if trouble is not None:
        raise RemoveError(record.account.name, facts.NOT_THERE, trouble)
    moved = f"{record.parent}/{place_of(record.account.name)}/{_HOME}"
    if not record.places and record.home and record.phase != facts.DELETING:
        # Of version 0.1.0: the inode is all that there is to know it by.
        found = [each.inode for each in map(places.look_below, (moved, record.account.home)) if each is not None]
        if record.home not in found:
            raise RemoveError(record.account.name, facts.NOT_THERE, f"{moved} is not the directory with the inode {record.home}")
    if record.phase != facts.MOVING:
        return True
    return record.home != 0 and os.path.lexists(moved)


def _check_return(record: Record) -> None:
    """RemoveError if somebody has made a home, or an account, of this name meanwhile."""
    account, now = record.account, look_up(record.account.name)
    if os.path.lexists(account.home):
        raise RemoveError(account.name, facts.RETURNED, account.home)
    if now is not None and (now.uid, now.home) != (account.uid, account.home):
        raise RemoveError(account.name, facts.RETURNED, f"uid {now.uid}")


class _Nobody:
    """The `Waiting` of somebody who does not wait."""

    def say(self, line: str) -> None:
        """Nobody listens."""

    def pause(self, seconds: float) -> None:
        """Nobody waits."""


def _move_away(journal: Journal, record: Record) -> Record:
    """Lock the home and move it to where only root gets to. What fails before that leaves everything as it was."""
    account = record.account
    backend = registry.named(record.backend)
    if Locker(account, backend, os.getpid(), _Nobody()).lock(0, force=False):
        log(events.LOCKED, "to be removed", account)
    checks.check_frozen(account)
    with account_tools.uninterrupted(), UserState(account.uid) as state:
        if not state.close_gate(GATE_SECONDS):
            raise HomeElsewhereError(account.name)
        # Nobody gets in from now on; so what holds now, holds.
        fresh = checks.look(account.name, keep_account=record.keep_account)
        if backend.mounted(account) is not None:
            raise StorageError(account.home, "is still open: somebody else has opened it")
        checks.check_mounts(account)
        journal.write(fresh)
        try:
            _move(fresh.parent, os.path.basename(account.home), fresh.home, account.name, _HOME)
        except (OSError, PyhomeError):
            if not _is_moved(fresh):
                journal.forget()
            raise
        log(events.REMOVAL_BEGUN, record.backend, account)
        _move(ecryptfs_store.SHARED, account.name, fresh.storage, account.name, _STORAGE)
        return fresh


def _move(parent: str, name: str, inode: int, user: str, inner: str) -> None:
    """Move what has this inode into the directory where it waits; nothing for 0. StorageError if something else is there."""
    if not inode:
        return
    directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(place_of(user), 0o700, dir_fd=directory)
        place = files.open_directory(place_of(user), within=directory, owners=(0,))
        try:
            if os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino != inode:
                raise StorageError(f"{parent}/{name}", "is another one now")
            os.rename(name, inner, src_dir_fd=directory, dst_dir_fd=place)
            os.fsync(place)
        finally:
            os.close(place)
        os.fsync(directory)
    finally:
        os.close(directory)


def _erase(journal: Journal, record: Record) -> Record:
    """Destroy what opens the home: key files and metadata, and our copies of them."""
    account = record.account
    if record.phase in (facts.MOVING, facts.ERASING):
        journal.write(record._replace(phase=facts.ERASING))
        with contextlib.suppress(FileNotFoundError):
            _move(ecryptfs_store.SHARED, account.name, record.storage, account.name, _STORAGE)
        stayed: set[str] = set()
        for mount, identifier in record.policies:
            stayed.update(fscrypt_remove.remove(account, mount, identifier, record.protectors))
        if record.storage:
            _delete_in(f"{ecryptfs_store.SHARED}/{place_of(account.name)}/{_STORAGE}", ecryptfs_store.CONFIG)
        _delete_in(kept.STATE, os.path.basename(kept.place_of(account)))
        record = journal.write(record._replace(phase=facts.LEAVING, stayed=tuple(sorted(stayed))))
    return record


def _remove_account(journal: Journal, record: Record) -> None:
    """Remove the account, and what is noted of its login shell. RemoveError."""
    account = record.account
    if record.phase != facts.LEAVING or look_up(account.name) is None:
        return
    with contextlib.suppress(PyhomeError, OSError):
        if login_shell.show(account.name).real_shell is not None:
            login_shell.disable(account.name)
    try:
        account_tools.remove(account, journal.lock)
    except CreateError as error:
        raise RemoveError(account.name, facts.TOOL_FAILED, error.detail) from error


def _delete(record: Record) -> None:
    """The files, which nothing can read any more. RemoveError for those that cannot be deleted."""
    place = place_of(record.account.name)
    for parent in dict.fromkeys((record.parent, ecryptfs_store.SHARED)):
        try:
            _delete_in(parent, place)
        except OSError as error:
            path = os.fsdecode(error.filename or place)
            raise RemoveError(record.account.name, facts.STUCK, f"{path}: {error.strerror}") from error


def _delete_in(parent: str, name: str) -> None:
    """Delete a tree, whatever is in it, and nothing that is mounted in it; nothing if it is not there. OSError."""
    if os.path.isdir(parent):
        deleting.delete(f"{parent}/{name}")
        sync_directory(parent)

