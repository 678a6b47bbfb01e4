"""Homes, and failures, as JSON: docs/json.md is the contract."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pam_pyhome.admin.conversion_record import is_swapped, place_of
from pam_pyhome.cli import json_text
from pam_pyhome.errors import ConversionError
from pam_pyhome.formats.facts import RECOVERY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pam_pyhome.admin.conversion_progress import Running
    from pam_pyhome.admin.conversion_record import Record
    from pam_pyhome.formats.facts import Failure, HomeFacts, Session


def listing(
    homes: Sequence[HomeFacts], conversions: Sequence[Record] | None = None, removals: Sequence[str] = (),
    running: Sequence[Running] = (), adoptions: Sequence[str] = (),
) -> str:
    """Any number of homes; of `status` also what is kept from before, or not finished."""
    found: dict[str, object] = {"homes": [home(facts) for facts in homes]}
    if conversions is not None:
        found["conversions"] = [_conversion(each) for each in conversions]
        found["removals"] = list(removals)
        found["running"] = [each._asdict() for each in running]
        found["adoptions"] = list(adoptions)
    return _emit(**found)


def _conversion(record: Record) -> dict[str, Any]:
    finished, trouble = None, None
    try:
        finished = is_swapped(record)
    except ConversionError as error:
        trouble = f"{error.reason}: {error.detail}"
    fields = {"user": record.account.name, "direction": record.direction, "finished": finished, "trouble": trouble}
    return fields | path("place", os.fsencode(place_of(record.account)))


def outcome(facts: HomeFacts, *, changed: bool) -> str:
    """One home after something was asked for."""
    return _emit(changed=changed, home=home(facts))


def error(failure: Failure, message: str, fields: Mapping[str, object] | None = None) -> str:
    """What went wrong, and `fields` that say more."""
    return _emit(
        **fields or {},
        error={
            "code": failure.code,
            "kind": failure.kind,
            "what": _printable(failure.what),
            "reason": _printable(failure.reason),
            "holders": [_printable(line) for line in failure.lines],
            "message": _printable(message),
        },
    )


def _emit(**fields: object) -> str:
    return json_text.whole(fields)


def home(facts: HomeFacts) -> dict[str, Any]:
    """One home."""
    return {
        "user": facts.user,
        "uid": facts.uid,
        **path("home", os.fsencode(facts.home)),
        "backend": facts.backend,
        "state": facts.state,
        "trouble": _printable(facts.trouble),
        **path("mountpoint", facts.mountpoint),
        **path("storage", facts.storage),
        "since": moment(facts.since),
        "held": facts.held,
        "follows_login": facts.follows_login,
        "opens_at_login": facts.opens_at_login,
        "locks_at_logout": facts.locks_at_logout,
        "copy_kept": facts.copy_kept,
        "waits_for_old_password": facts.waits_for_old,
        "recovery_key": any(slot.kind == RECOVERY for slot in facts.slots),
        "slots": [
            {**path("name", os.fsencode(slot.name)), "kind": slot.kind, "trouble": slot.trouble, "usable": slot.usable}
            for slot in facts.slots
        ],
        "sessions": [_session(session) for session in facts.sessions],
        "holders": [_printable(holder) for holder in facts.holders],
        "besides": [_printable(line) for line in facts.besides],
    }


def _session(session: Session) -> dict[str, Any]:
    return {
        "pid": session.pid,
        "since": moment(session.since),
        "service": _printable(session.service),
        "tty": _printable(session.tty),
        "rhost": _printable(session.rhost),
    }


def path(name: str, value: bytes) -> dict[str, str]:
    """Bytes, as a path is, as text; what is not UTF-8 also as base64."""
    try:
        return {name: value.decode("utf-8")}
    except UnicodeDecodeError:
        return {name: value.decode("utf-8", "replace"), f"{name}_b64": base64.b64encode(value).decode("ascii")}


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def moment(seconds: int) -> str | None:
    """A time of the epoch as in RFC 3339; None for 0."""
    return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else None
