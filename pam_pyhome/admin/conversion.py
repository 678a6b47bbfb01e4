"""A plain home becomes an encrypted one, or the other way round: by a verified copy that changes places with it at once.

The copy is where only root gets to. Until it takes its place in one step, the home is as it was and in use at will; from then on
the copy from before is kept in the place of the new one, until `confirm`. What is going on is on disk before it is done, see
`conversion_record`, so whatever ends it, it can be gone on with or taken back.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome import events
from pam_pyhome.admin import conversion_checks as checks
from pam_pyhome.admin import conversion_facts as facts
from pam_pyhome.admin import conversion_guard, conversion_progress, in_use, places, tree
from pam_pyhome.admin import conversion_kinds as kinds
from pam_pyhome.admin import conversion_swap as swap
from pam_pyhome.admin.conversion_copy import Worker
from pam_pyhome.admin.conversion_record import Journal, Record, is_swapped, other_home, place_of
from pam_pyhome.admin.homes import be_root
from pam_pyhome.backends import kept, registry
from pam_pyhome.errors import (
    ConversionError,
    HomeChangesError,
    HomeElsewhereError,
    NotOpenedError,
    PyhomeError,
)
from pam_pyhome.formats import broker
from pam_pyhome.formats.broker import Request
from pam_pyhome.formats.recovery import SIZE, emit_recovery
from pam_pyhome.kernel import deleting
from pam_pyhome.kernel.log import log
from pam_pyhome.policy import verbs
from pam_pyhome.policy.leases import CONVERSION, GATE_SECONDS, UserState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pam_pyhome.admin.conversion_checks import Outlook
    from pam_pyhome.admin.conversion_kinds import Progress
    from pam_pyhome.backends.base import Account

_ROUNDS = 3


class Watcher(NamedTuple):
    """Who is told what happens.

    `show` is given the recovery key before anything can be opened with it. `progress` is told how many bytes and files have been
    copied, and then verified. `keys` carries the user's SSH keys to where sshd finds them while the home is locked.
    """

    show: Callable[[str], None]
    progress: Progress
    keys: Callable[[str], object]


def encrypt(outlook: Outlook, password: bytes, watcher: Watcher) -> None:
    """Encrypt the home. PyhomeError, OSError: the plain home is in its place then, and `encrypt` can go on if it had begun."""
    account = outlook.account
    checks.check_login(account.name, password)
    be_root()
    published = conversion_progress.published(outlook, watcher.progress)
    with Journal(account.name) as journal, _noted_if_stopped(account), published as progress:
        watcher = watcher._replace(progress=progress)
        record = _same(journal, outlook)
        kind = kinds.named(outlook.backend)
        if record is not None and record.phase == facts.PREPARING:
            take_back(journal, record)
            record = None
        if record is None:
            record = _prepare(journal, outlook, password, watcher.show)
        record = swap.settle(journal, record)
        if not is_swapped(record):
            _fill(journal, record, password, watcher)
        _finish(journal, kind)


def decrypt(outlook: Outlook, password: bytes, watcher: Watcher) -> None:
    """Make the home a plain one. PyhomeError, OSError: the encrypted home is in its place then, and `decrypt` can go on."""
    account = outlook.account
    be_root()
    published = conversion_progress.published(outlook, watcher.progress)
    with Journal(account.name) as journal, _noted_if_stopped(account), published as progress:
        watcher = watcher._replace(progress=progress)
        record = _same(journal, outlook)
        if record is not None and record.phase == facts.PREPARING and record.direction == facts.DECRYPT:
            take_back(journal, record)
            record = None
        if record is not None:
            record = swap.settle(journal, record)
        if record is None or not is_swapped(record) or record.direction == facts.ENCRYPT:
            backend = registry.named(outlook.backend)
            backend.unlock(account, password, exact=True)
            was_locked = backend.mounted(account) is None
            close = partial(_lock, account) if was_locked else _leave
            with _held(account), conversion_guard.guarded(journal.lock, close):
                try:
                    _unlock(account, password)
                    checks.check_files(account, kinds.named(outlook.backend))
                    record = _begin_decrypting(journal, outlook, record)
                    _empty(journal, record, password, watcher)
                except BaseException:
                    with contextlib.suppress(PyhomeError, OSError):
                        close()
                    raise
        _finish(journal, kinds.named(outlook.backend))


def give_up(user: str, direction: str) -> tuple[str, ...] | None:
    """Take back what was begun in the other direction than `direction`, and did not come to its end; None if there was nothing.

    Else the protectors that stay, because something else may need them. ConversionError if that home is not there.
    """
    be_root()
    conversion_progress.refuse(user)
    with Journal(user) as journal:
        record = journal.read()
        if record is None or record.direction == direction or is_swapped(record):
            return None
        record = swap.settle(journal, record)
        if is_swapped(record):
            return None
        return take_back(journal, record)


def take_back(journal: Journal, record: Record) -> tuple[str, ...]:
    """Remove all that was made; the home is as it was. What stays, as of `Kind.discard`.

    ConversionError, and nothing is removed, unless the home from before is seen in its place. OSError, PyhomeError: what is left
    stays on record.
    """
    if is_swapped(record):
        raise ConversionError(record.account.name, facts.UNCONFIRMED, record.direction)
    # First the copy, so that nothing is left that its keys open.
    _remove(record.account)
    stayed = kinds.named(record.backend).discard(record) if record.direction == facts.ENCRYPT else ()
    journal.forget()
    log(events.CONVERSION_TAKEN_BACK, f"by 'pyhome {record.direction}'", record.account)
    return stayed


@contextlib.contextmanager
def _noted_if_stopped(account: Account) -> Iterator[None]:
    """Leave a trace of a conversion that does not come to its end; one that was taken back has left its own."""
    try:
        yield
    except BaseException as error:
        if os.path.lexists(place_of(account)):
            log(events.CONVERSION_STOPPED, str(error) or type(error).__name__, account)
        raise


def confirm(user: str) -> Record:
    """Remove the copy from before; what it was. ConversionError if there is none, NotOpenedError before the first login."""
    be_root()
    conversion_progress.refuse(user)
    with Journal(user) as journal:
        record = confirmable(user, journal.read())
        record = swap.settle(journal, record)
        journal.write(confirmable(user, record)._replace(phase=facts.REMOVING))
        _remove(record.account)
        if record.direction == facts.DECRYPT:
            kinds.named(record.backend).discard(record)
            deleting.delete(kept.place_of(record.account))
        journal.forget()
        log(events.CONVERSION_CONFIRMED, f"by 'pyhome {record.direction}'", record.account)
        return record


def confirmable(user: str, record: Record | None) -> Record:
    """The record, if `confirm` may go on with it; else what that raises. Nothing changes."""
    if record is None:
        raise ConversionError(user, facts.NOTHING_KEPT)
    if not is_swapped(record):
        raise ConversionError(user, facts.BEGUN, record.direction)
    if record.phase != facts.REMOVING and not was_opened(record):
        raise NotOpenedError(user)
    return record


def was_opened(record: Record) -> bool:
    """Whether the home that is in its place has been opened with its password, or needs none."""
    try:
        if not is_swapped(record) or record.direction == facts.DECRYPT:
            return True
        return kinds.named(record.backend).was_opened(record.account)
    except (OSError, PyhomeError):
        return False


def _same(journal: Journal, outlook: Outlook) -> Record | None:
    """The record as it was looked at. HomeElsewhereError if another process has gone on meanwhile."""
    record = journal.read()
    if record != outlook.record:
        raise HomeElsewhereError(outlook.account.name, "converting")
    return record


def _remove(account: Account) -> None:
    deleting.delete(place_of(account))


def _finish(journal: Journal, kind: kinds.Kind) -> None:
    """The new home is in its place."""
    record = journal.read()
    if record is not None and record.phase != facts.SWAPPED:
        if record.direction == facts.DECRYPT and kind.is_placed(record.account):
            kind.withdraw(record.account)
        swap.mark(journal, record, facts.SWAPPED)
    if record is not None:
        log(events.CONVERSION_DONE, f"by 'pyhome {record.direction}'", record.account)


# Encrypting


def _prepare(journal: Journal, outlook: Outlook, password: bytes, show: Callable[[str], None]) -> Record:
    """Make the new home, which is empty, and have its recovery key read. If anything goes wrong, everything is taken back."""
    account, kind = outlook.account, kinds.named(outlook.backend)
    recovery = emit_recovery(os.urandom(SIZE))
    record = _begin(journal, Record(account, facts.ENCRYPT, outlook.backend, facts.PREPARING))

    def note(step: tuple[str, ...]) -> None:
        nonlocal record
        record = journal.write(record._replace(steps=(*record.steps, step)))

    try:
        os.mkdir(place_of(account), 0o700)
        swap.check_exchange(account)
        kind.prepare(account, password, recovery, note)
        show(recovery)
        return journal.write(_with_new(record)._replace(phase=facts.COPYING))
    except BaseException:
        # What cannot be taken back now stays on record, and the first failure is the one to tell.
        with contextlib.suppress(OSError, PyhomeError):
            take_back(journal, record)
        raise


def _begin(journal: Journal, record: Record) -> Record:
    """Put it on record that, and where, a copy is going to be made. ConversionError if there is one that is on no record."""
    account, place = record.account, place_of(record.account)
    if os.path.lexists(place):
        raise ConversionError(account.name, facts.IN_THE_WAY, place)
    known = places.note(*kinds.named(record.backend).where_all(account))
    written = journal.write(record._replace(places=known, old=places.look_below(account.home)))
    log(events.CONVERSION_BEGUN, f"by 'pyhome {record.direction}'", account)
    return written


def _with_new(record: Record) -> Record:
    new = places.look_below(other_home(record.account))
    return record._replace(new=new, inode=new.inode if new else 0)


def _fill(journal: Journal, record: Record, password: bytes, watcher: Watcher) -> None:
    """Copy and let the copies change places; again, if somebody has changed the home meanwhile. HomeChangesError."""
    account, kind = record.account, kinds.named(record.backend)
    for _ in range(_ROUNDS):
        before = tree.fingerprint(account.home)
        worker = Worker(account, kind, journal.lock)
        in_use.check(account, account.home, place_of(account))
        with swap.unless_changed(account.home, before) as unchanged:
            kind.fill(account, password, worker.copy, watcher.progress, lock=journal.lock)
        if not unchanged():
            continue
        checks.check_login(account.name, password)
        watcher.keys(account.name)
        if swap.encrypted(journal, record, before, password):
            return
    raise HomeChangesError(account.name)


# Decrypting


def _begin_decrypting(journal: Journal, outlook: Outlook, record: Record | None) -> Record:
    """Make the new home, which is empty, or take the plain one from before it was encrypted."""
    account, kind = outlook.account, kinds.named(outlook.backend)
    if record is not None and record.direction == facts.DECRYPT:
        return record
    begun = Record(account, facts.DECRYPT, outlook.backend, facts.PREPARING, policy=kind.origin(account))
    if record is not None:
        begun = begun._replace(places=places.note(*kind.where_all(account)), old=places.look_below(account.home))
        log(events.CONVERSION_BEGUN, f"by 'pyhome {begun.direction}', with the home from before", account)
        return journal.write(_with_new(begun)._replace(phase=facts.COPYING))
    begun = _begin(journal, begun)
    try:
        os.mkdir(place_of(account), 0o700)
        swap.check_exchange(account)
        os.mkdir(other_home(account), 0o700)
        return journal.write(_with_new(begun)._replace(phase=facts.COPYING))
    except BaseException:
        with contextlib.suppress(OSError, PyhomeError):
            take_back(journal, begun)
        raise


def _empty(journal: Journal, record: Record, password: bytes, watcher: Watcher) -> None:
    """Copy, lock the home, let the copies change places; again, if somebody has changed the home meanwhile. HomeChangesError."""
    account, kind = record.account, kinds.named(record.backend)
    for _ in range(_ROUNDS):
        _unlock(account, password)
        watched = kind.watched(account)
        before = tree.fingerprint(watched)
        worker = Worker(account, kind, journal.lock)
        with swap.unless_changed(watched, before) as unchanged:
            worker.copy(other_home(account), watcher.progress)
        if not unchanged():
            continue
        in_use.check(account, account.home)
        _lock(account)
        if swap.decrypted(journal, record, before):
            return
    raise HomeChangesError(account.name)


@contextlib.contextmanager
def _held(account: Account) -> Iterator[None]:
    """Hold the home as a session does while it is copied, so that nobody's logout or `pyhome lock` ends that."""
    with UserState(account.uid) as state:
        if not state.close_gate(GATE_SECONDS):
            raise HomeElsewhereError(account.name)
        lease = state.take_lease(CONVERSION)
        state.open_gate()
        try:
            yield
        finally:
            state.end_lease(CONVERSION, lease)


def _leave() -> None:
    """It was open before, and is for others to lock."""


def _unlock(account: Account, password: bytes) -> None:
    verbs.perform(account, Request(broker.UNLOCK), os.getpid(), _Knows(password))


def _lock(account: Account) -> None:
    verbs.perform(account, Request(broker.LOCK), os.getpid(), _Knows(b""))


class _Knows:
    """The `policy.verbs.Talk` of somebody who knows the password and says nothing else."""

    def __init__(self, password: bytes) -> None:
        self._password = password

    def ask(self, _prompt: str, *, new: bool = False, until: Callable[[], bool] | None = None) -> bytes | None:
        """The password."""
        return self._password

    def say(self, line: str) -> None:
        """Nobody listens."""

    def pause(self, seconds: float) -> None:
        """Nobody guesses here."""

    def show_key(self, _key: str) -> None:
        """Nobody asked for one."""
