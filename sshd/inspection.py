"""``check``: whether keys are where sshd finds them while homes are locked, and which file answers for a user."""

from __future__ import annotations

import itertools
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin.plan import observe
from pam_pyhome.errors import PyhomeError
from pam_pyhome.formats.authorized_keys import parse_authorized_keys
from pam_pyhome.kernel.process import rights_of
from pam_pyhome.sshd import config, daemon, layout, manage, people

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pam_pyhome.sshd.layout import User
    from pam_pyhome.sshd.survey import Site, Survey

OK, WARN, FAIL = "ok", "warn", "fail"
_USERS_MAX = 5
_SHOWN_MAX = 20
_FILE_MAX = 64 * 1024 * 1024


class Finding(NamedTuple):
    """One result: how bad it is, what it is about, and a sentence."""

    level: str
    subject: str
    text: str


class Answer(NamedTuple):
    """One of the files that sshd reads a user's keys from, in its order: how many keys it finds there, or why none."""

    path: str
    keys: int
    reason: str


def inspect(names: tuple[str, ...]) -> Iterator[Finding]:
    """Everything there is to say, about the users `names` in particular. Nothing is changed."""
    try:
        elsewhere = manage.keys_elsewhere()
        proposal = manage.examine(manage.Options()) if elsewhere is None else None
    except PyhomeError as error:
        yield Finding(FAIL, "sshd", str(error))
        return
    if proposal is None:
        yield Finding(OK, "sshd", "reads no key file in a home, so there is nothing to lay out")
        yield from about_principals(elsewhere or ())
        yield from (finding for name in names for finding in _about_user(daemon.find(), name, layout.IN_DIRECTORY))
        return
    for objection in proposal.objections:
        yield Finding(FAIL, objection.what, objection.sentence)
    yield from _about_config(proposal)
    yield from about_principals(proposal.directives)
    yield from _about_layout(proposal)
    yield from _about_problems(proposal)
    binary = daemon.find()
    yield from _about_sftp("sshd", daemon.dump(binary))
    yield from about_users(proposal, names)


def about_users(proposal: manage.Proposal, names: tuple[str, ...] = ()) -> list[Finding]:
    """Which file answers for each of these users, or without names for some who have keys in the layout."""
    chosen = names or _some_users(proposal)
    return [finding for name in chosen for finding in _about_user(daemon.find(), name, proposal.site.template)]


def _about_config(proposal: manage.Proposal) -> Iterator[Finding]:
    if observe(config.DROP_IN) is None:
        yield Finding(FAIL, config.DROP_IN, "is not in place: sshd does not look at the layout")
        return
    other = [change.path for change in proposal.changes if change not in proposal.found.changes]
    for path in other:
        yield Finding(FAIL, path, "is not as it should be")
    try:
        manage.verify(proposal)
    except PyhomeError as error:
        yield Finding(FAIL, config.DROP_IN, str(error))
    else:
        if not other:
            yield Finding(OK, config.DROP_IN, "is in place and wins")


def _about_layout(proposal: manage.Proposal) -> Iterator[Finding]:
    changes = proposal.found.changes
    for change in changes[:_SHOWN_MAX]:
        yield Finding(FAIL, change.path, _difference(change.before is None, change.after is None))
    if len(changes) > _SHOWN_MAX:
        yield Finding(FAIL, proposal.site.template, f"{len(changes) - _SHOWN_MAX} more files are not as they should be")
    if not changes:
        known = proposal.found.users - len(proposal.found.unread)
        yield Finding(OK, proposal.site.template, f"holds the keys of {known} users as they are now")
    for text in unread(proposal.site, proposal.found):
        yield Finding(WARN, proposal.site.template, text)
    for path in proposal.found.orphans:
        yield Finding(WARN, path, "is of a user who does not exist; 'pyhome sshd apply --prune' removes it")


def unread(site: Site, found: Survey) -> Iterator[str]:
    """Sentences about those whose keys could not be read: they are not in the layout, or not as they are now."""
    held = {name for name in found.unread if (path := layout.path_of(site.template, name)) and observe(path) is not None}
    for names, what in (
        ([name for name in found.unread if name not in held], "so sshd has no keys of theirs"),
        ([name for name in found.unread if name in held], "so sshd has their keys as they were when they were last read"),
    ):
        if names:
            more = f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else ""
            yield f"the homes of these users are locked, {what}: {', '.join(names[:_SHOWN_MAX])}{more}"


def about_principals(directives: Iterable[config.Directive]) -> Iterator[Finding]:
    """Certificates for whose users sshd looks into a home."""
    for each in config.principals_in_homes(directives):
        yield Finding(WARN, each.place, about(each))


def about(principals: config.Directive) -> str:
    """What follows from an AuthorizedPrincipalsFile in the homes."""
    names = " ".join(principals.arguments)
    return f"AuthorizedPrincipalsFile {names} is in the homes: while a home is locked, sshd refuses its owner's certificates"


def _difference(absent: bool, unwanted: bool) -> str:  # noqa: FBT001 - two halves of one state, named where it is called
    if absent:
        return "is missing"
    return "should not be there" if unwanted else "differs from the user's own files, or has another owner or mode"


def _about_problems(proposal: manage.Proposal) -> Iterator[Finding]:
    for problem in proposal.found.problems:
        subject = f"{problem.path}:{problem.line}" if problem.line else problem.path
        yield Finding(WARN, subject, problem.reason)


def _about_sftp(subject: str, dump: dict[str, tuple[str, ...]]) -> Iterator[Finding]:
    """internal-sftp runs inside sshd, so the login shell, which would ask for the password, never comes into play."""
    subsystem = next((value for value in dump.get("subsystem", ()) if value.split()[:1] == ["sftp"]), "")
    if "internal-sftp" in subsystem.split()[1:2]:
        text = "Subsystem sftp is internal-sftp, which bypasses the login shell: with a locked home, sftp shows an empty one"
        yield Finding(WARN, subject, text)
    if dump.get("forcecommand", ("none",))[0].startswith("internal-sftp"):
        text = "ForceCommand is internal-sftp, which bypasses the login shell: with a locked home, sftp shows an empty one"
        yield Finding(WARN, subject, text)


def _some_users(proposal: manage.Proposal) -> list[str]:
    """Users who have a key file in the layout."""
    prefix = os.path.basename(proposal.site.template).removesuffix("%u")
    directory = os.path.dirname(proposal.site.template)
    try:
        names = sorted(name.removeprefix(prefix) for name in os.listdir(directory) if name.startswith(prefix))
    except FileNotFoundError:
        return []
    known = (name for name in names if daemon.can_ask_about(name) and people.look_up(name) is not None)
    return list(itertools.islice(known, _USERS_MAX))


def _about_user(binary: str, name: str, template: str) -> Iterator[Finding]:
    user = people.look_up(name)
    if user is None:
        yield Finding(FAIL, name, "is no user of this machine")
        return
    if not daemon.can_ask_about(name):
        yield Finding(WARN, name, "has a name that sshd cannot be asked about")
        return
    dump = daemon.dump(binary, name)
    found = answers(user, dump)
    good = [answer for answer in found if answer.keys]
    mine = layout.path_of(template, name)
    if not good:
        ways = list(without_files(dump))
        files = "; ".join(f"{each.path} {each.reason}" for each in found) or "sshd reads none"
        yield Finding(OK if ways else WARN, name, "; ".join([f"no file answers: {files}", *ways]))
    elif good[0].path == mine:
        yield Finding(OK, name, f"{mine} answers, with {good[0].keys} keys")
    else:
        ours = next((each.reason for each in found if each.path == mine), "sshd does not read it")
        yield Finding(WARN, name, f"{good[0].path} answers, with {good[0].keys} keys, and not {mine} ({ours})")
    yield from _about_sftp(name, {key: value for key, value in dump.items() if key == "forcecommand"})


def without_files(dump: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """The other ways by which sshd may let a key in while a home is locked. Nobody is asked which keys they are."""

    def value(keyword: str) -> str:
        return dump.get(keyword, ("none",))[0]

    if value("authorizedkeyscommand") != "none":
        yield f"AuthorizedKeysCommand {value('authorizedkeyscommand')} may give sshd keys, also while the home is locked"
    if value("trustedusercakeys") != "none":
        in_home = config.in_home(value("authorizedprincipalsfile"))
        when = "but not while the home is locked" if in_home else "also while the home is locked"
        yield f"certificates of {value('trustedusercakeys')} may let the user in, {when}"


def answers(user: User, dump: dict[str, tuple[str, ...]]) -> list[Answer]:
    """What sshd finds in each file that it reads the user's keys from, given what `sshd -T` says for the user."""
    strict = dump.get("strictmodes", ("yes",))[0] == "yes"
    entries = dump.get("authorizedkeysfile", ("",))[0].split()
    paths = [people.expand_absolute(entry, user) for entry in entries if entry != "none"]
    return [_answer(user, path, strict=strict) for path in paths]


def _answer(user: User, path: str, *, strict: bool) -> Answer:
    """As sshd does: opened with the user's rights, believed if nobody else can change it or a directory on the way."""
    try:
        with rights_of(user.uid, user.gid), open(path, "rb", opener=_open_quickly) as file:
            status = os.fstat(file.fileno())
            regular = stat.S_ISREG(status.st_mode) and status.st_size <= _FILE_MAX
            content = file.read() if regular else None
    except FileNotFoundError:
        return Answer(path, 0, "is absent")
    except OSError as error:
        return Answer(path, 0, f"cannot be read by the user: {os.strerror(error.errno or 0)}")
    if content is None:
        return Answer(path, 0, f"is no regular file of at most {_FILE_MAX} bytes")
    reason = _why_unsafe(user, path, status) if strict else None
    if reason is not None:
        return Answer(path, 0, reason)
    keys = len(parse_authorized_keys(content).keys)
    return Answer(path, keys, "" if keys else "has no keys")


def _open_quickly(path: str, flags: int) -> int:
    """A FIFO must not make anybody wait."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _why_unsafe(user: User, path: str, status: os.stat_result) -> str | None:
    """StrictModes: the file, and the directories from it to the home, or to the root if it lies elsewhere."""
    reason = people.why_unsafe(status, user)
    if reason is not None:
        return reason
    real, home = os.path.realpath(path), os.path.realpath(user.home)
    while real not in {home, "/"}:
        real = os.path.dirname(real)
        reason = people.why_unsafe(os.stat(real), user)
        if reason is not None:
            return f"lies in {real}, which {reason}"
    return None
