"""What there is to know about a home: its backend's description, and what our own records say of who holds it."""

from __future__ import annotations

import os

from pam_pyhome.backends import kept, registry
from pam_pyhome.errors import NoHomeError, PyhomeError
from pam_pyhome.formats.facts import LOCKED, PARTLY, RECOVERY, UNKNOWN, HomeFacts
from pam_pyhome.policy import absent
from pam_pyhome.policy.leases import UserState, has_state
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account, Backend, Description
    from pam_pyhome.formats.facts import Session
    from pam_pyhome.formats.state import OpenRecord


def describe(account: Account) -> HomeFacts:
    """Everything about the home of `account`. NoHomeError if there is none; what cannot be found out is its trouble."""
    trouble = ""
    try:
        backend = registry.find(account)
        found = None if backend is None else _describe(account, backend)
        if found is not None and (found.state != LOCKED or not found.trouble):
            return found
    except (PyhomeError, OSError) as error:
        found, trouble = None, str(error)
    absence = absent.explain(account)
    trouble = trouble if absence is None else absence.reason(account)
    if found is not None:
        return found.but(trouble=trouble or found.trouble)
    if not trouble:
        raise NoHomeError(account.name)
    return HomeFacts(account.name, account.uid, account.home, "", UNKNOWN, trouble)


def _describe(account: Account, backend: Backend) -> HomeFacts:
    found, wishes = backend.describe(account), backend.wishes(account)
    records = _records(account)
    if found.state == LOCKED and records.open is not None:
        # What is not seen at its place may be open elsewhere.
        state, holders = registry.named(records.open.backend).state_of(records.open)
        found = found.but(state=state, holders=holders)
    return HomeFacts(
        account.name,
        account.uid,
        account.home,
        backend.name,
        found.state,
        trouble=_trouble(found),
        mountpoint=found.mountpoint,
        storage=found.storage,
        since=0 if found.state == LOCKED else records.since,
        held=records.held and found.state != LOCKED,
        follows_login=not wishes.own_passphrase,
        opens_at_login=wishes.open_at_login,
        locks_at_logout=wishes.lock_at_logout,
        copy_kept=os.path.lexists(f"{kept.CONVERTING}/{account.name}"),
        waits_for_old=kept.was_reset(account),
        slots=found.slots,
        sessions=records.sessions,
        holders=found.holders,
        besides=records.besides if found.state != LOCKED else (),
    )


def _trouble(found: Description) -> str:
    """What keeps the home from being opened, or from being locked altogether."""
    if found.state == PARTLY:
        return "files that are in use stay readable"
    slots = [slot for slot in found.slots if slot.kind != RECOVERY]
    return "" if not slots or any(slot.usable for slot in slots) else f"{slots[0].name}: {slots[0].trouble}"


class _Records(Record):
    """What is on record: the home as it was opened, since when, whether it is on hold, its sessions, and what stayed locked."""

    open: OpenRecord | None
    since: int
    held: bool
    sessions: tuple[Session, ...]
    besides: tuple[str, ...] = ()


def _records(account: Account) -> _Records:
    if not has_state(account.uid):
        return _Records(None, since=0, held=False, sessions=())
    with UserState(account.uid) as state:
        record = state.read_record()
        if record is not None and record.user != account.name:
            record = None
        return _Records(record, state.opened_at(), state.is_on_hold(), state.sessions(), state.besides())
