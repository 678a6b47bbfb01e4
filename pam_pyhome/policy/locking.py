"""Locking a home when its last lease is gone."""

from __future__ import annotations

import errno
import os
import pwd

from pam_pyhome import events
from pam_pyhome.backends import registry
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import HomeBusyError, UnsafeFileError
from pam_pyhome.formats.facts import OPEN
from pam_pyhome.kernel import keyring
from pam_pyhome.kernel.holders import NOT_FOUND
from pam_pyhome.kernel.process import real_user
from pam_pyhome.policy import own_keys
from pam_pyhome.policy.leases import UserState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Backend
    from pam_pyhome.events import Event
    from pam_pyhome.formats.state import OpenRecord

    AccountFinder = Callable[[str], Account | None]

LOCKED = "locked"
NOT_OPEN = "not open"
IN_USE = "in use"
KEPT_OPEN = "kept open"
ELSEWHERE = "being opened or locked by another process"


def lock_if_unused(uid: int, find_account: AccountFinder, *, seconds: float = 0.0, carry_keys: bool = True) -> str:
    """Lock the home of `uid` unless a session holds a lease; one of the outcomes above.

    `seconds`: how long to wait for a process that is opening or locking it. `find_account` looks a name up; None means that
    the account is gone, and then the home is locked all the same. `carry_keys`: first have the owner's SSH keys carried to where
    sshd finds them. HomeBusyError while processes use the home, or the kernel does not say that all of it is locked.
    """
    with UserState(uid) as state:
        record, outcome = _ask_records(state, seconds)
        if record is None or outcome:
            return outcome
        backend, account = registry.named(record.backend), find_account(record.user)
        if carry_keys and account is not None:
            own_keys.carry_out(account.name)
        if _is_to_stay_open(backend, account):
            return KEPT_OPEN
        refuse_users(state, backend, record)
        again, outcome = _ask_records(state, seconds)
        if outcome or again != record:
            return outcome or ELSEWHERE
        take_away(state, backend, record)
        return LOCKED


def what_is_open(state: UserState, backend: Backend, account: Account) -> OpenRecord | None:
    """The account's home as it is open: what is on record, if the kernel shows it, or what somebody else has opened."""
    record = state.read_record()
    if record is not None and record.user == account.name and not record.opening and backend.is_seen(record):
        return record
    return backend.mounted(account)


def _ask_records(state: UserState, seconds: float) -> tuple[OpenRecord | None, str]:
    """What our own records say, with the gate closed from then on: what is open, or why it is not to be locked."""
    if not state.close_gate(seconds):
        return None, ELSEWHERE
    record = state.read_record()
    if record is None:
        return None, NOT_OPEN
    return record, IN_USE if state.is_held() else KEPT_OPEN if state.is_on_hold() else ""


def refuse_users(state: UserState, backend: Backend, record: OpenRecord) -> None:
    """HomeBusyError while its owner or root uses a home that would be locked all the same, in part. Opens the gate.

    Whoever is looked at can make that last, and no session has to wait for it. Where the kernel refuses, it need not be done.
    What others do in a home does not keep it open.
    """
    if backend.refuses_busy or backend.state_of(record)[0] != OPEN:
        return
    state.open_gate()
    users = backend.users(record, neighbours=False)
    if users:
        raise HomeBusyError(os.fsdecode(record.mountpoint), users)


def busy_event(error: HomeBusyError) -> Event:
    """How the log calls it."""
    return events.PARTLY_LOCKED if error.partly_locked else events.STAYS_OPEN


def take_away(state: UserState, backend: Backend, record: OpenRecord) -> None:
    """Lock what is on record, behind the gate. The record goes only when the kernel says that all of it is locked: HomeBusyError.

    Who uses it is looked for after the gate is open again.
    """
    try:
        backend.detach(record)
    except HomeBusyError as error:
        if error.partly_locked:
            drop_keys(state.uid, record)
        state.open_gate()
        if error.holders:
            raise
        users = backend.users(record) or (NOT_FOUND,)
        raise HomeBusyError(error.mountpoint, users, partly_locked=error.partly_locked) from None
    drop_keys(state.uid, record)
    state.drop_record()


def _is_to_stay_open(backend: Backend, account: Account | None) -> bool:
    """Whether the owner wants that; not if there is no owner, or nothing to be read about it."""
    try:
        return account is not None and not backend.wishes(account).lock_at_logout
    except (UnsafeFileError, OSError):
        return False


def drop_keys(uid: int, record: OpenRecord) -> None:
    """Make the keys that were given to sessions unusable: revoke those that are root's, take the others out of `@u`."""
    for serial in record.keys:
        try:
            keyring.revoke(serial)
        except OSError as error:
            if error.errno == errno.EACCES:
                _unlink_from_user(uid, serial)


def _unlink_from_user(uid: int, serial: int) -> None:
    """Take a key out of the user's own keyring; nothing if it is not there any more."""
    with real_user(uid):
        try:
            keyring.unlink(serial, keyring.KEY_SPEC_USER_KEYRING)
        except OSError:
            return


def find_account(name: str) -> Account | None:
    """The account called `name`, or None if it is gone."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
