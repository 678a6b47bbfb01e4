"""The moment in which the two copies of a home change places, and what to make of a run that was killed in it.

An fscrypt home changes places in one step. The key files and the ciphertext of an eCryptfs home are put in their place just before
the home directory is exchanged, and taken away just after it when it is decrypted. Killed in between, a login finds the plain
directory and opens the encrypted home over it: nothing is missing. Which of the two was used then, their fingerprints tell.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from pam_pyhome.admin import account_tools, in_use, tree
from pam_pyhome.admin import conversion_facts as facts
from pam_pyhome.admin import conversion_kinds as kinds
from pam_pyhome.admin.conversion_record import is_swapped, other_home, place_of
from pam_pyhome.admin.plan import sync_directory
from pam_pyhome.backends import registry
from pam_pyhome.errors import ConversionError, CopyDiffersError, HomeElsewhereError, PyhomeError, StorageError
from pam_pyhome.kernel.renames import exchange
from pam_pyhome.policy.leases import GATE_SECONDS, UserState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pam_pyhome.admin.conversion_record import Journal, Record
    from pam_pyhome.backends.base import Account


@contextlib.contextmanager
def unless_changed(top: str, before: str) -> Iterator[Callable[[], bool]]:
    """Let CopyDiffersError pass only if the tree that was copied is still as `before`; gives what says whether it is."""
    found: list[bool] = []
    try:
        yield lambda: found[-1]
    except CopyDiffersError:
        found.append(tree.fingerprint(top) == before)
        if found[-1]:
            raise
    else:
        found.append(tree.fingerprint(top) == before)


@contextlib.contextmanager
def _alone(account: Account) -> Iterator[None]:
    """No session begins meanwhile, and nothing interrupts. HomeElsewhereError."""
    with account_tools.uninterrupted(), UserState(account.uid) as state:
        if not state.close_gate(GATE_SECONDS):
            raise HomeElsewhereError(account.name)
        yield


def encrypted(journal: Journal, record: Record, before: str, password: bytes) -> bool:
    """Put the encrypted home in its place; False if the plain one is not as it was `before` any more.

    That is looked at once more when nobody gets to it, so that no change is lost. PyhomeError if it is in use, or if the password
    does not open the new one; everything is as it was then.
    """
    account, kind = record.account, kinds.named(record.backend)
    with _alone(account):
        in_use.check(account, account.home, place_of(account))
        if tree.fingerprint(account.home) != before:
            return False
        cipher = tree.fingerprint(kind.watched(account))
        record = journal.write(record._replace(phase=facts.SWAPPING, plain=before, cipher=cipher))
        try:
            kind.place(account)
            _exchange(account)
            if tree.fingerprint(other_home(account)) != before:
                _return(journal, record)
                return False
            _check_kind(account, record.backend)
            registry.named(record.backend).unlock(account, password, exact=True)
            in_use.check(account, account.home, place_of(account))
        except BaseException:
            _return(journal, record)
            raise
        mark(journal, record, facts.SWAPPED)
    # So that `authenticate` believes the key file. If it fails, the first login that is verified otherwise does it.
    with contextlib.suppress(OSError, PyhomeError):
        registry.named(record.backend).approve(account, password)
    return True


def decrypted(journal: Journal, record: Record, before: str) -> bool:
    """Put the plain home in its place; False if the encrypted one, which is locked, is not as it was `before` any more."""
    account, kind = record.account, kinds.named(record.backend)
    with _alone(account):
        in_use.check(account, account.home, place_of(account))
        if tree.fingerprint(kind.watched(account)) != before or registry.named(record.backend).mounted(account) is not None:
            return False
        plain = tree.fingerprint(other_home(account))
        record = journal.write(record._replace(phase=facts.SWAPPING, plain=plain, cipher=before))
        try:
            _exchange(account)
            if tree.fingerprint(kind.watched(account)) != before:
                _return(journal, record)
                return False
            if kind.is_placed(account):
                kind.withdraw(account)
            _check_kind(account, None)
            in_use.check(account, account.home, place_of(account))
        except BaseException:
            _return(journal, record)
            raise
        mark(journal, record, facts.SWAPPED)
    return True


def _check_kind(account: Account, wanted: str | None) -> None:
    """StorageError if a login would not find what it should: a home of the kind that is `wanted`, or a plain one."""
    found = registry.find(account)
    name = None if found is None else found.name
    if name != wanted:
        raise StorageError(account.home, f"would be taken for {name or 'a plain directory'}")


def check_exchange(account: Account) -> None:
    """StorageError now, and not after hours, if the file system cannot let two directories change places."""
    place = place_of(account)
    pair = [f"{place}/{name}" for name in ("first", "second")]
    for path in pair:
        os.mkdir(path, 0o700)
    try:
        exchange(*pair)
    except OSError as error:
        raise StorageError(place, f"its file system cannot exchange directories: {error.strerror}") from error
    finally:
        for path in pair:
            os.rmdir(path)


def _exchange(account: Account) -> None:
    """The one step."""
    exchange(account.home, other_home(account))
    for directory in (os.path.dirname(account.home), place_of(account)):
        sync_directory(directory)


def _return(journal: Journal, record: Record) -> None:
    """Everything where it was."""
    account, kind = record.account, kinds.named(record.backend)
    if is_swapped(record):
        _exchange(account)
    _put_storage(kind, account, placed=record.direction == facts.DECRYPT)
    mark(journal, record, facts.COPYING)


def mark(journal: Journal, record: Record, phase: str) -> None:
    """Note where it ended. Without space for that, the inode of the home directory says the same."""
    with contextlib.suppress(OSError):
        journal.write(record._replace(phase=phase))


def _put_storage(kind: kinds.Kind, account: Account, *, placed: bool) -> None:
    """Have what belongs to an encrypted home besides its directory in its place, or not."""
    if not kind.has_storage or kind.is_placed(account) == placed:
        return
    (kind.place if placed else kind.withdraw)(account)


def settle(journal: Journal, record: Record) -> Record:
    """Make of a run that was killed while the copies changed places one that was killed before or after that.

    ConversionError if that would lose what somebody has done since, or if neither copy is where it should be.
    """
    if record.phase != facts.SWAPPING:
        return record
    account, kind = record.account, kinds.named(record.backend)
    plain_home = is_swapped(record) == (record.direction == facts.DECRYPT)
    if not plain_home or not kind.is_placed(account):
        # Complete either way: the exchange was done, and nothing else is to be; or it was not.
        placed = kind.is_placed(account)
        if not plain_home and not placed and kind.has_storage:
            raise ConversionError(account.name, facts.MOVED)
        return journal.write(record._replace(phase=facts.SWAPPED if is_swapped(record) else facts.COPYING))
    in_use.check(account, account.home)
    if registry.named(record.backend).mounted(account) is not None:
        raise StorageError(account.home, "is open; lock it with 'pyhome lock'")
    return _settle_halfway(journal, record, kind)


def _settle_halfway(journal: Journal, record: Record, kind: kinds.Kind) -> Record:
    """The plain directory is in its place, and the storage of the encrypted home as well: whichever was used counts."""
    account = record.account
    plain = account.home
    same_cipher = tree.fingerprint(kind.watched(account)) == record.cipher
    same_plain = tree.fingerprint(plain) == record.plain
    if not same_cipher and not same_plain:
        raise ConversionError(account.name, facts.BOTH_CHANGED)
    if same_cipher:
        kind.withdraw(account)
    else:
        _exchange(account)
    return journal.write(record._replace(phase=facts.SWAPPED if is_swapped(record) else facts.COPYING))
