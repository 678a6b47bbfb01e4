"""Locking a home when its last lease is gone."""

from __future__ import annotations

import errno

from pam_pyhome.backends import registry
from pam_pyhome.errors import UnsafeFileError
from pam_pyhome.kernel import keyring
from pam_pyhome.kernel.process import real_user
from pam_pyhome.policy import own_keys
from pam_pyhome.policy.leases import UserState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account, Backend
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
    sshd finds them. HomeBusyError while processes use the home.
    """
    with UserState(uid) as state:
        if not state.close_gate(seconds):
            return ELSEWHERE
        record = state.read_record()
        if record is None:
            return NOT_OPEN
        if state.is_held():
            return IN_USE
        if state.is_on_hold():
            return KEPT_OPEN
        backend, account = registry.named(record.backend), find_account(record.user)
        if carry_keys and account is not None:
            own_keys.carry_out(account.name)
        if _is_to_stay_open(backend, account):
            return KEPT_OPEN
        backend.detach(record)
        drop_keys(uid, record)
        state.drop_record()
        return LOCKED


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
