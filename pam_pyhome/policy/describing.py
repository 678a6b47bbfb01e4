"""What there is to know about a home: its backend's description, and what our own records say of who holds it."""

from __future__ import annotations

import os

from pam_pyhome.backends import kept, registry
from pam_pyhome.errors import NoHomeError, PyhomeError
from pam_pyhome.formats.facts import LOCKED, PARTLY, RECOVERY, UNKNOWN, HomeFacts
from pam_pyhome.policy.leases import UserState, has_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account, Backend, Description
    from pam_pyhome.formats.facts import Session


def describe(account: Account) -> HomeFacts:
    """Everything about the home of `account`. NoHomeError if there is none; what cannot be found out is its trouble."""
    try:
        backend = registry.find(account)
        if backend is not None:
            return _describe(account, backend)
    except (PyhomeError, OSError) as error:
        return HomeFacts(account.name, account.uid, account.home, "", UNKNOWN, str(error))
    raise NoHomeError(account.name)


def _describe(account: Account, backend: Backend) -> HomeFacts:
    found, wishes = backend.describe(account), backend.wishes(account)
    since, held, sessions = _records(account.uid)
    return HomeFacts(
        account.name,
        account.uid,
        account.home,
        backend.name,
        found.state,
        trouble=_trouble(found),
        mountpoint=found.mountpoint,
        storage=found.storage,
        since=0 if found.state == LOCKED else since,
        held=held and found.state != LOCKED,
        follows_login=not wishes.own_passphrase,
        opens_at_login=wishes.open_at_login,
        locks_at_logout=wishes.lock_at_logout,
        copy_kept=os.path.lexists(f"{kept.CONVERTING}/{account.name}"),
        slots=found.slots,
        sessions=sessions,
        holders=found.holders,
    )


def _trouble(found: Description) -> str:
    """What keeps the home from being opened, or from being locked altogether."""
    if found.state == PARTLY:
        return "files that are in use stay readable"
    slots = [slot for slot in found.slots if slot.kind != RECOVERY]
    return "" if not slots or any(slot.usable for slot in slots) else f"{slots[0].name}: {slots[0].trouble}"


def _records(uid: int) -> tuple[int, bool, tuple[Session, ...]]:
    """Since when the home is open, whether it is on hold, and the sessions that hold it."""
    if not has_state(uid):
        return 0, False, ()
    with UserState(uid) as state:
        return state.opened_at(), state.is_on_hold(), state.sessions()
