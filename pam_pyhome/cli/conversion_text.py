"""The words about homes that are encrypted or decrypted: what is going to happen, what happened, what is in the way."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pam_pyhome.admin import conversion_facts as facts
from pam_pyhome.admin import tree
from pam_pyhome.admin.conversion_checks import size
from pam_pyhome.admin.conversion_record import is_swapped, place_of, record_path
from pam_pyhome.cli import create, homes_text
from pam_pyhome.errors import (
    ConversionError,
    CopyDiffersError,
    CopyError,
    CreateError,
    HomeBusyError,
    HomeChangesError,
    HomeElsewhereError,
    HomeInUseError,
    LoginPasswordError,
    NotOpenedError,
    PyhomeError,
    SpaceError,
    StorageError,
    UnfitHomeError,
    WrongPassphraseError,
)
from pam_pyhome.formats.words import quoted
from pam_pyhome.policy.failures import failure_of

if TYPE_CHECKING:
    from pam_pyhome.admin.conversion_checks import Outlook
    from pam_pyhome.admin.conversion_record import Record

_REMOVE = {
    tree.SOCKET: "remove it, programs make their sockets anew",
    tree.DEVICE: "remove it, or move it out of the home",
    tree.LONG_NAME: "give it a shorter name, or take '--backend fscrypt'",
    tree.IMMUTABLE: "run 'chattr -i' on it",
    tree.APPEND_ONLY: "run 'chattr -a' on it",
    tree.ENCRYPTED: "move it out of the home, or decrypt it",
    tree.LEAVES: "remove the other name, or make it a copy",
    tree.MOUNTED: "unmount it",
    tree.RESERVED: "move it away",
}
_ADVICE = {
    facts.NOTHING_BEGUN: "begin without --resume",
    facts.NOTHING_KEPT: "there is nothing to do",
    facts.BOTH_CHANGED: "bring together what is in both, and ask for help if that is not clear",
    facts.NOT_THERE: "mount its disk as it was, then give this again",
    facts.UNSAFE: "give that directory to root, for root alone to write, then give this again",
    facts.MOVED: "look for it with 'ls -a' beside the home before anything else",
    facts.IN_THE_WAY: "look at what is in it, and move it away",
    facts.NOT_OWN: "give it to the user with 'chown'",
    facts.OTHER_BACKEND: "give that one, or none",
    facts.WRONG_PASSWORD: "give the one that the user logs in with",
    facts.NO_PASSWORD: "set one with 'passwd', because it is what opens the home",
}
_OTHER = {facts.ENCRYPT: facts.DECRYPT, facts.DECRYPT: facts.ENCRYPT}


def outlook(found: Outlook, seconds: float) -> list[str]:
    """What is going to happen, how much there is to do, and how long it takes."""
    account = found.account
    what = f"with {found.backend}" if found.direction == facts.ENCRYPT else f"from {found.backend}"
    goes_on = ", going on from where an earlier run was stopped" if found.goes_on else ""
    room = f"a copy needs {size(found.needed)}, {size(found.free)} are free"
    until = f"in {place_of(account)} until 'pyhome confirm {quoted(account.name)}'"
    takes = homes_text.duration(seconds)
    other = ", which is on another file system than the home" if found.elsewhere else ""
    where = [f"  the files will be in {found.storage}{other}"] if found.storage not in ("", account.home) else []
    return [
        f"{account.name}: {found.direction} {account.home} {what}{goes_on}",
        f"  {found.survey.entries} files and directories, {size(found.survey.size)}; {room}",
        *where,
        f"  it takes about {takes}; the home is used as it is until the copy is verified, and is kept then {until}",
    ]


def done(found: Outlook) -> str:
    """What happened, and what is next."""
    account, place = found.account, place_of(found.account)
    if found.direction == facts.ENCRYPT:
        return (
            f"{account.name}: {account.home} is encrypted with {found.backend}, opens at login, and is locked now; "
            f"the plain copy is kept in {place}: log in as {account.name}, "
            f"then run 'pyhome confirm {quoted(account.name)}', which removes it"
        )
    return (
        f"{account.name}: {account.home} is a plain directory; the encrypted copy is kept in {place} "
        f"until 'pyhome confirm {quoted(account.name)}', which removes it"
    )


def reminder(record: Record, *, opened: bool) -> str:
    """What `status` says of a conversion."""
    user = record.account.name
    try:
        swapped = is_swapped(record)
    except ConversionError as error:
        return f"What 'pyhome {record.direction}' did to the home of {user} cannot be seen: {_unfit(error, user)}."
    if not swapped:
        on, back = f"'pyhome {record.direction} --resume {quoted(user)}'", f"'pyhome {_OTHER[record.direction]} {quoted(user)}'"
        return f"To {record.direction} the home of {user} was begun and not finished: {on} goes on, {back} takes it back."
    what = "plain" if record.direction == facts.ENCRYPT else "encrypted"
    first = "" if opened else f"log in as {user}, then "
    then = f"{first}'pyhome confirm {quoted(user)}' removes it"
    return f"The {what} copy from before is still kept in {place_of(record.account)}: {then}."


def taken_back(user: str, direction: str, stayed: tuple[str, ...]) -> str:
    """What was begun in the other direction is no more."""
    left = f"; {', '.join(stayed)} in .fscrypt may open something else and stays" if stayed else ""
    return f"{user}: what 'pyhome {_OTHER[direction]}' had begun is taken back; the home is as it was{left}"


def confirmed(record: Record) -> str:
    """The copy is gone."""
    what = "plain" if record.direction == facts.ENCRYPT else "encrypted"
    disk = "; what the disk keeps of it, others may still write over" if record.direction == facts.ENCRYPT else ""
    return f"{record.account.name}: the {what} copy is removed{disk}"


def interrupted(record: Record | None, user: str) -> str:
    """How far it came."""
    if record is None:
        return f"{user}: interrupted; the home is as it was, start again if that was not meant"
    try:
        swapped = is_swapped(record)
    except ConversionError as error:
        return f"{user}: interrupted; {_unfit(error, user)}"
    if swapped:
        return f"{user}: interrupted when all was done but tidying up; see 'pyhome status {quoted(user)}'"
    return f"{user}: interrupted; the home is as it was, 'pyhome {record.direction} --resume {quoted(user)}' goes on"


def failed(error: PyhomeError | OSError, user: str, verb: str) -> list[str]:
    """What happened, to which thing, and one way forward; for several things at once a line each."""
    if isinstance(error, OSError):
        thing = os.fsdecode(error.filename) if error.filename else user
        return [f"{thing}: {error.strerror or error}; {_again(verb, user)}"]
    if isinstance(error, UnfitHomeError):
        return [f"{user}: {obstacle}; {_remedy(obstacle)}" for obstacle in error.obstacles]
    return [f"{user}: {_defect(error, user, verb)}"]


def _remedy(obstacle: str) -> str:
    return next((advice for why, advice in _REMOVE.items() if obstacle.endswith(why)), "see the lines above")


def _again(verb: str, user: str) -> str:
    return f"when that is repaired, 'pyhome {verb} --resume {quoted(user)}' goes on if it had begun"


def _defect(error: PyhomeError, user: str, verb: str) -> str:  # noqa: C901 - one case for each kind of failure
    match error:
        case HomeBusyError():
            return f"{error.mountpoint} is in use by {'; '.join(error.holders) or 'a process'}; log out there, or end what uses it"
        case HomeInUseError():
            return f"the home is in use by {'; '.join(error.sessions)}; log out there"
        case HomeElsewhereError():
            return homes_text.failed(failure_of(error), user)
        case SpaceError():
            return f"{error.where} has {error.free} free and the copy needs {error.needed}; free some space"
        case CopyError():
            return f"copying failed: {error.reason}; {_again(verb, user)}"
        case CopyDiffersError():
            return f"the copy is not the same in {error.count} respects: {'; '.join(error.differences)}; {_again(verb, user)}"
        case HomeChangesError():
            again = f"'pyhome {verb} --resume {quoted(user)}' goes on"
            return f"the home is changed while it is copied; stop what does that, then {again}"
        case NotOpenedError():
            return "the encrypted home has not been opened yet; log in with the password, or run 'pyhome unlock', and confirm then"
        case WrongPassphraseError():
            return f"this password does not open the home; give the right one{_stale(verb, user)}"
        case LoginPasswordError():
            return f"{error.reason}; {_ADVICE[error.reason]}"
        case ConversionError():
            return _unfit(error, user)
        case CreateError():
            return f"{error.reason}{f' ({error.detail})' if error.detail else ''}; {create.advice(error)}"
        case StorageError():
            return f"{error.what}: {error.reason}; {_again(verb, user)}"
    return f"{error}; {_again(verb, user)}"


def _stale(verb: str, user: str) -> str:
    if verb != facts.ENCRYPT:
        return ""
    return f", or if it was changed meanwhile, take back what was begun with 'pyhome decrypt {quoted(user)}'"


def _unfit(error: ConversionError, user: str) -> str:
    if error.reason == facts.BEGUN:
        on, back = f"'pyhome {error.detail} --resume {quoted(user)}'", f"'pyhome {_OTHER[error.detail]} {quoted(user)}'"
        return f"'{error.detail}' {error.reason}; go on with {on}, or take it back with {back}"
    if error.reason == facts.UNCONFIRMED:
        return f"after '{error.detail}', {error.reason}; remove it with 'pyhome confirm {quoted(user)}'"
    if error.reason in (facts.OTHER_HOME, facts.UNKNOWN_HOME):
        return (
            f"{error.reason} ({error.detail}); put that one back, or if the home is to stay as it is now, "
            f"end this with 'rm {quoted(record_path(user))}'; the copy beside it is yours to look at and remove then"
        )
    return f"{error.reason}{f' ({error.detail})' if error.detail else ''}; {_ADVICE[error.reason]}"
