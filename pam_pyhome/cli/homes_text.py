"""The words about homes: sentences and tables made of facts, and what to do next. Nothing here looks at the machine."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pam_pyhome.backends import update_facts
from pam_pyhome.formats.facts import LOCKED, OPEN, PARTLY, RECOVERY, UNKNOWN
from pam_pyhome.formats.words import quoted
from pam_pyhome.policy.leases import CONVERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pam_pyhome.admin.conversion_progress import Running
    from pam_pyhome.formats.facts import Failure, HomeFacts, Session

_PASSWORD_ADVICE = {
    "the home follows the login password, and only its owner can change both at once": "have the owner do it, or give --home-only"
}
_UPDATE_ADVICE = {
    update_facts.NO_OWN_PASSPHRASE: "'fscrypt metadata add-protector-to-policy' adds another one",
    update_facts.NO_COSTS: "a longer password is what makes guessing harder",
    update_facts.NOT_FOLLOWING: "'fscrypt metadata change-passphrase' sets it anew",
    update_facts.WRONG_LOGIN: "give the one that the user logs in with",
    update_facts.NO_CONF: "have root run 'pyhome update --costs' once, which measures this machine",
}
NO_HOMES = "There is no encrypted home."
#: Kinds of key slots that a login has nothing for.
_NO_LOGIN = {RECOVERY, "passphrase of its own"}
_LEAVE = "leave it with 'cd /', end what uses it, or insist with --force"
_JOURNAL = "journalctl -b -t pam_pyhome -t pyhomed"


def headline(facts: HomeFacts) -> str:
    """How the home is, in a sentence."""
    whose = f"The home of {facts.user}"
    if facts.state == OPEN:
        return f"{whose} is open{_since(facts)}, {_held(facts)}."
    if facts.state == PARTLY:
        return f"{whose} is only partly locked: {facts.trouble}."
    if facts.state == LOCKED:
        return f"{whose} is locked{', and cannot be opened: ' if facts.trouble else ''}{facts.trouble}."
    return f"{whose} is in an unknown state: {facts.trouble}."


def other_copy(facts: HomeFacts) -> str:
    """A reminder, for those who cannot remove it themselves."""
    whose = f"Another copy of the home of {facts.user} is still kept"
    return f"{whose}; 'pyhome status {quoted(facts.user)}', given by root, tells what is to be done with it."


def older_password(facts: HomeFacts) -> str:
    """What a thief of the disk may know better than its owner does."""
    return (
        f"An older password of the home of {facts.user} still opens a copy of its key file; the copy goes when the present one "
        "opens the home."
    )


def besides(facts: HomeFacts) -> list[str]:
    """What is open less than its owner thinks."""
    return [f"Besides the home of {facts.user}, when it was opened: {line}." for line in facts.besides]


def old_password(facts: HomeFacts) -> str:
    """Why the new login password opens nothing yet."""
    return (
        f"The login password of {facts.user} was set anew, but the home waits for the old one: the next login asks for it, or the "
        f"recovery key, and so does 'pyhome passwd --home-only {quoted(facts.user)}'."
    )


def running(found: Running) -> str:
    """How far the conversion of a home is."""
    left = f", about {duration(found.seconds_left)} left" if found.seconds_left is not None else ""
    return f"The home of {found.user} is being {found.direction}ed, {found.percent} %{left}."


def duration(seconds: float) -> str:
    """So long, roughly."""
    if seconds < 90:
        return counted(max(1, round(seconds)), "second")
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _since(facts: HomeFacts) -> str:
    return f" since {moment(facts.since)}" if facts.since else ""


def _held(facts: HomeFacts) -> str:
    if facts.sessions:
        return f"held by {counted(len(facts.sessions), 'session')}"
    if facts.held:
        return "until 'pyhome lock'"
    return "used by processes that sessions left behind" if facts.holders else "held by no session"


def next_step(facts: HomeFacts) -> str:
    """What can be done about it, in a line."""
    user = facts.user
    if facts.state == OPEN and facts.sessions and facts.locks_at_logout:
        return f"it is locked after the last session; 'pyhome lock {quoted(user)}' locks it before"
    if facts.state == OPEN:
        return f"'pyhome lock {quoted(user)}' locks it"
    if facts.state == PARTLY:
        return f"end the processes that use it, then 'pyhome lock {quoted(user)}'; 'pyhome unlock {quoted(user)}' opens it again"
    if facts.state == LOCKED and facts.waits_for_old:
        return "the next login asks for the old password, or the recovery key, and from then on the new one opens it"
    if facts.state == LOCKED and not facts.trouble:
        by_hand = f"'pyhome unlock {quoted(user)}' opens it"
        kinds = {slot.kind for slot in facts.slots if slot.usable}
        if kinds == {RECOVERY}:
            return f"{by_hand} with the recovery key, which is all that does; 'pyhome passwd' then gives it a password"
        by_login = facts.opens_at_login and not (facts.follows_login and kinds and kinds <= _NO_LOGIN)
        return f"it opens at the next login with the password; {by_hand} now" if by_login else by_hand
    if facts.state == UNKNOWN:
        return f"'pyhome doctor {quoted(user)}', typed by root, says what to do; '{_JOURNAL}' has more"
    backups = f"'pyhome recovery backups {quoted(user)}' lists what can be restored"
    return f"{backups}, and the recovery key opens it; '{_JOURNAL}' has more"


def inspection(facts: HomeFacts) -> list[str]:
    """The sentence, then the facts, then what to do."""
    rows = [
        ("Backend", [facts.backend or "unknown"]),
        ("Where", [os.fsdecode(facts.mountpoint) or facts.home]),
        ("Stored in", [os.fsdecode(facts.storage) or "nowhere to be found"]),
        ("State", [f"{facts.state}{_since(facts)}"]),
        ("Opens", [_rules(facts)]),
        ("Sessions", [f"{session_line(session)}, since {moment(session.since)}" for session in facts.sessions] or ["none"]),
        ("Used by", list(facts.holders) or ["nobody"]),
        *([("Besides", list(facts.besides))] if facts.besides else []),
        ("Recovery", ["with a key" if has_recovery_key(facts) else "no key: 'pyhome recovery new' makes one"]),
        ("Key slots", [f"{slot.name}: {slot.kind}{_but(slot.trouble)}" for slot in facts.slots] or ["none"]),
        ("Next", [next_step(facts)]),
    ]
    if facts.waits_for_old:
        rows.insert(-1, ("Password", [old_password(facts)]))
    width = max(len(name) for name, _ in rows)
    lines = [headline(facts), ""]
    for name, values in rows:
        lines += [f"  {label:{width}}  {value}" for label, value in zip([name] + [""] * len(values), values)]
    return lines


def _but(trouble: str) -> str:
    return f", but {trouble}" if trouble else ""


def _rules(facts: HomeFacts) -> str:
    """When it opens and is locked, and with what."""
    secret = "the login password" if facts.follows_login else "a passphrase of its own"
    opens = f"at login, with {secret}" if facts.opens_at_login else f"by hand only, with {secret}"
    return f"{opens}; {'locks after the last session' if facts.locks_at_logout else 'stays open after the last session'}"


def rules_of(facts: HomeFacts) -> str:
    """The same in a sentence."""
    return f"The home of {facts.user} opens {_rules(facts).replace('; ', ', and ')}."


def session_line(session: Session) -> str:
    """One line about a session."""
    where = " from ".join(filter(None, (session.tty, session.rhost)))
    return f"pid {session.pid} ({session.service or 'unknown service'}){': ' if where else ''}{where}"


def home_rows(homes: Sequence[HomeFacts]) -> list[list[str]]:
    """The table of `list`."""
    rows = [["USER", "STATE", "BACKEND", "SINCE", "SESSIONS", "RECOVERY", "HOME", "TROUBLE"]]
    for facts in homes:
        since = moment(facts.since) if facts.since else "-"
        row = [facts.user, facts.state, facts.backend or "-", since, str(len(facts.sessions))]
        key = "key" if has_recovery_key(facts) else "-" if facts.state == UNKNOWN else "none"
        rows.append([*row, key, facts.home, _trouble(facts)])
    return rows


def has_recovery_key(facts: HomeFacts) -> bool:
    """Whether something opens the home when nobody knows its password any more."""
    return any(slot.kind == RECOVERY for slot in facts.slots)


def _trouble(facts: HomeFacts) -> str:
    """What somebody ought to do something about, in a few words."""
    found = [facts.trouble, "waits for the old password" if facts.waits_for_old else ""]
    found += [f"{os.path.basename(slot.name)} {slot.trouble}" for slot in facts.slots if slot.trouble and not facts.trouble]
    return next(filter(None, found), "-")


def session_rows(homes: Sequence[HomeFacts]) -> list[list[str]]:
    """The table of `sessions`."""
    rows = [["USER", "PID", "SERVICE", "TTY", "FROM", "SINCE"]]
    for facts in homes:
        for session in facts.sessions:
            texts = [session.service or "-", session.tty or "-", session.rhost or "-", moment(session.since)]
            rows.append([facts.user, str(session.pid), *texts])
    return rows


def table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Columns that are as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows)


def counted(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def moment(seconds: int) -> str:
    """A time of the epoch as people here read it."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def _because(who: str) -> str:
    """Who is in the way of locking; what is no process has a sentence of its own."""
    if who and not who.startswith("pid "):
        return f": {who}"
    return f" while it is used by {who or 'a process that was not found'}"


def failed(failure: Failure, user: str, *, forced: bool = False) -> str:
    """What happened, to which thing, and one way forward; `forced` if --force was given already."""
    who = "; ".join(failure.lines)
    what, reason = failure.what, failure.reason
    sentences = {
        "NoHomeError": f"{what} has no encrypted home; 'pyhome list' shows who has one",
        "NoUserError": f"there is no user {what}; check the name",
        "SharedUidError": f"{what} has the same user id as {reason}, so nobody can tell whose home it is; "
        "give one of them another with 'usermod --uid'",
        "NotAllowedError": f"the home of {what} is not yours; run this as {'root' if what == 'root' else f'{what}, or as root'}",
        "DaemonError": f"pyhomed cannot be asked: {reason}; "
        "run 'systemctl start pyhomed.socket pyhomed-unlock.socket' as root, or this command as root",
        "HomeInUseError": f"the home of {what} is being converted by {who}; wait until that has ended"
        if f"({CONVERSION})" in who
        else f"the home of {what} is in use by {who}; log out there, wait for it with --wait, or insist with --force",
        "HomeBusyError": f"{what} {reason}{_because(who)}; "
        + ("end that by hand, because --force ends only processes of the user" if forced else _LEAVE),
        "HomeElsewhereError": f"{reason}; "
        + (f"'pyhome status {quoted(what)}' tells how far it is" if "converting" in reason else "try again in a moment"),
        "PasswordUnchangedError": f"{reason}; nothing was changed, {_PASSWORD_ADVICE.get(reason, 'start again')}",
        "NoAnswerError": f"{reason}; type it at the prompt, or give it with --password-file",
        "WrongPassphraseError": f"this password does not open the home{_of(user)}; try the one from before its last change",
        "RecoveryKeyError": f"this is no recovery key: {reason}; compare it with the paper, group by group",
        "OtherKeyError": f"this recovery key does not open the home{_of(user)}; look for a later one, or make one with "
        "'pyhome recovery new'",
        "RestoreError": f"{what} was not put back: {reason}; 'pyhome recovery backups {quoted(user)}' lists what there is",
        "PassphraseLengthError": f"{reason}; choose another one",
        "UpdateError": f"{what}: {reason}; nothing was changed, {_UPDATE_ADVICE.get(reason, 'start again')}",
        "SshdError": f"{what}: {reason}; 'pyhome sshd check' as root tells more",
        "StorageError": f"{what}: {reason}; '{_JOURNAL}' may know more",
        "UnsafeFileError": f"{what}: {reason}; repair that and try again",
        "FormatError": f"{what} is damaged ({reason}); 'pyhome recovery backups {quoted(user)}' lists copies of it, "
        "and the recovery key opens the home",
    }
    return sentences.get(failure.kind, f"{what}{': ' if what else ''}{reason}; try again when that is repaired")


def _of(user: str) -> str:
    return f" of {user}" if user else ""
