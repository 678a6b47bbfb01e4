"""Second factors whose secrets lie in encrypted homes: a module that finds none lets the password alone in, or lets nobody in."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin import accounts, pam_files
from pam_pyhome.admin.doctor import answers
from pam_pyhome.admin.doctor.finding import FAIL, WARN, Finding, edit
from pam_pyhome.backends import registry
from pam_pyhome.errors import PyhomeError
from pam_pyhome.formats import pam_stack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pam_pyhome.admin.pam_files import Files
    from pam_pyhome.backends.base import Account
    from pam_pyhome.formats.pam_stack import Rule

_HOME = re.compile(r"^~(?=/)|\$\{HOME\}|\$HOME\b|%h\b|@\{HOME\}")
_USER = re.compile(r"\$\{USER\}|\$USER\b|%u\b|@\{PAM_USER\}")
_LENIENT = {"nullok", "nouserok"}
_MANY = 100


class _Known(NamedTuple):
    """Where a module looks (`option`, or `default`), a place outside homes, and how a secret gets there: `{path}` and `{user}`."""

    option: str
    default: str
    place: str = ""
    copy: str = ""
    also: tuple[str, ...] = ()


def _lines_of_the_user(separator: str, field: int, place: str) -> str:
    return f"awk {separator}-v user={{user}} '${field} == user' >> {place}"


_SHARED = {"u2f": "/etc/u2f_mappings", "yubico": "/etc/yubikey_mappings", "oath": "/etc/users.oath"}
_KNOWN = {
    "pam_google_authenticator": _Known(
        "secret", "~/.google_authenticator", "/var/lib/google-authenticator/${USER}",
        "(umask 077; mkdir -p /var/lib/google-authenticator; cat > /var/lib/google-authenticator/{user})", ("user=root",),
    ),
    "pam_u2f": _Known("authfile", "~/.config/Yubico/u2f_keys", _SHARED["u2f"], _lines_of_the_user("-F: ", 1, _SHARED["u2f"])),
    "pam_yubico": _Known(
        "authfile", "~/.yubico/authorized_yubikeys", _SHARED["yubico"], _lines_of_the_user("-F: ", 1, _SHARED["yubico"])
    ),
    "pam_oath": _Known("usersfile", _SHARED["oath"], _SHARED["oath"], f"(umask 077; {_lines_of_the_user('', 2, _SHARED['oath'])})"),
    "pam_ssh_agent_auth": _Known(
        "file", "/etc/security/authorized_keys", "/etc/security/authorized_keys.d/%u",
        "(umask 022; mkdir -p /etc/security/authorized_keys.d; cat > /etc/security/authorized_keys.d/{user})",
    ),
    "pam_pkcs11": _Known("", "~/.eid/authorized_certificates"),
    "pam_p11": _Known("", "~/.eid/authorized_certificates"),
}  # fmt: skip
_CHALLENGES = _Known("chalresp_path", "~/.yubico/challenge")


class _Secret(NamedTuple):
    """A rule, and a file that it reads, as the rule or the module writes it."""

    rule: Rule
    file: str


def check(skipped: Sequence[str], account: Account | None) -> Iterator[Finding]:
    """One finding for each rule whose file is in an encrypted home: that of `account`, or of anybody."""
    try:
        files = pam_files.read_all()
    except OSError:
        return
    secrets = _secrets(files, skipped)
    people = _people(account) if secrets else []
    for secret in secrets:
        inside = [(each, path) for each, top in people if (path := _inside(secret.file, each, top)) is not None]
        if inside:
            yield _finding(secret, inside)


def _secrets(files: Files, skipped: Sequence[str]) -> list[_Secret]:
    """What the auth rules of all services read in homes, each rule once."""
    services = [name for name in pam_files.services(files) if name not in skipped]
    rules = dict.fromkeys(step.rule for name in services for step in pam_stack.chain(files, name, "auth"))
    return [secret for rule in rules if not rule.includes and not rule.defect for secret in _read_by(rule)]


def _read_by(rule: Rule) -> Iterator[_Secret]:
    """Any argument that names a place in a home counts, of whatever module; and the usual place of those that are known."""
    if rule.module == answers.PYHOME or (rule.silent and pam_files.module_path(rule.target) is None):
        return
    known = _known(rule)
    options = dict(argument.partition("=")[::2] for argument in rule.arguments if "=" in argument)
    if known is not None and known.option not in options:
        yield _Secret(rule, known.default)
    for option, value in options.items():
        named = known is not None and option == known.option
        if named or "/" in value:
            yield _Secret(rule, f"~/{value}" if named and value[:1] not in tuple("/~$%@") else value)
    yield from (_Secret(rule, argument) for argument in rule.arguments if "=" not in argument and "/" in argument)


def _known(rule: Rule) -> _Known | None:
    return _CHALLENGES if "mode=challenge-response" in rule.arguments else _KNOWN.get(rule.module)


def _people(account: Account | None) -> list[tuple[Account, str]]:
    """Those with an encrypted home, and where what is encrypted begins."""
    found = []
    for each in [account] if account is not None else accounts.people():
        try:
            backend = registry.find(each)
            top = os.fsdecode(backend.describe(each).mountpoint) if backend is not None else ""
        except (OSError, PyhomeError):
            continue
        if top:
            found.append((each, top.rstrip("/")))
        if len(found) >= _MANY:
            break
    return found


def _inside(file: str, account: Account, top: str) -> str | None:
    """The path of a file, if it is encrypted with the home."""
    path = _HOME.sub(lambda _match: account.home, file)
    path = os.path.normpath(_USER.sub(lambda _match: account.name, path))
    return path if path.startswith(f"{top}/") else None


def _finding(secret: _Secret, inside: Sequence[tuple[Account, str]]) -> Finding:
    rule = secret.rule
    account, path = inside[0]
    whose = f"{account.name} (and {len(inside) - 1} more)" if len(inside) > 1 else account.name
    where = f"{rule.module}.so reads {path}, in the encrypted home of {whose}, and finds nothing while that is locked"
    lenient = next(iter(_LENIENT & set(rule.arguments)), "")
    if lenient:
        level, then = FAIL, f"with {lenient}, the password alone then lets in"
    elif rule.action("auth_err") in {"bad", "die"}:
        level, then = FAIL, "nobody then gets in"
    else:
        level, then = WARN, "it then counts for nothing"
    text = f"{where}: {then}; while it is open, copy it to a place outside"
    return Finding(level, "pam.second_factor", rule.place, text, _mend(rule, account, path))


def _mend(rule: Rule, account: Account, path: str) -> str:
    """A copy outside the home, read with the user's rights, and the rule that reads that one."""
    known = _known(rule)
    if known is None or not known.place or rule.line != rule.last or any(set(" |\\&'[]") & set(each) for each in rule.arguments):
        return edit(rule.file)
    replaced = {known.option, *(each.partition("=")[0] for each in known.also)}
    kept = [each for each in rule.arguments if each.partition("=")[0] not in replaced]
    words = [rule.target, *kept, f"{known.option}={known.place}", *known.also]
    change = shlex.quote(f"{rule.line}s|{re.escape(rule.target)}.*|{' '.join(words)}|")
    user, file = shlex.quote(account.name), shlex.quote(path)
    reading = f"runuser -u {user} -- test -s {file} && runuser -u {user} -- cat {file}"
    return f"{reading} | {known.copy.format(user=user)} && sed -i {change} {rule.file}"
