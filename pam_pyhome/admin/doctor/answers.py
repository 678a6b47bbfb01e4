"""What PAM modules answer when an ordinary user of this machine types a password, as far as that can be known in advance."""

from __future__ import annotations

import fnmatch
import operator
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.formats import pam_stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.formats.pam_stack import Rule

PYHOME = "pam_pyhome"
LOCAL = {"pam_unix", "pam_unix_auth", "pam_tcb"}
DIRECTORY = {"pam_sss", "pam_ldap", "pam_krb5", "pam_winbind", "pam_himmelblau", "pam_authd"}
#: These ask for the password, or do something with it, or answer the same to everybody. Every other module may ask for more.
_PASSWORD = LOCAL | {
    PYHOME, "pam_sss", "pam_ldap", "pam_krb5", "pam_winbind", "pam_systemd_home", "pam_deny", "pam_permit", "pam_warn",
    "pam_faildelay", "pam_env", "pam_cap", "pam_ecryptfs", "pam_fscrypt", "pam_mount", "pam_gnome_keyring", "pam_kwallet",
    "pam_kwallet5",
}  # fmt: skip
_DENIED = {"auth": "auth_err", "account": "acct_expired", "password": "authtok_err", "session": "session_err"}
_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "=~": fnmatch.fnmatchcase,
    "!~": lambda text, pattern: not fnmatch.fnmatchcase(text, pattern),
    "in": lambda text, names: text in names.split(":"),
    "notin": lambda text, names: text not in names.split(":"),
}


class Person(NamedTuple):
    """Who logs in, to which service, and whether the password is the right one. `local`: the account is in /etc/passwd."""

    service: str
    right: bool = True
    name: str = "\0"
    uid: int = 1000
    local: bool = True
    groups: tuple[str, ...] = ()


def verifies(rule: Rule) -> bool:
    """Whether the module of an auth rule asks for the password and judges it."""
    return rule.module in LOCAL | DIRECTORY or (rule.module == PYHOME and "authenticate" in rule.arguments)


def asks_more(rule: Rule, *, present: bool) -> bool:
    """Whether an auth rule may ask for anything else than the password. What nobody knows may."""
    known = rule.module in _PASSWORD or (rule.silent and not present)
    return bool(rule.defect) or not known


def answer(rule: Rule, person: Person, *, present: bool) -> str:
    """The code of a module that is `present`, or of one that is not."""
    if not present:
        return pam_stack.UNKNOWN_MODULE
    special = _SPECIAL.get(rule.module)
    if special is not None:
        return special(rule, person)
    if rule.module in LOCAL | DIRECTORY:
        return _password(rule, person, knows=person.local == (rule.module in LOCAL))
    if rule.kind != "auth":
        return pam_stack.SUCCESS
    # Whatever else stands in auth, as second factors do, is assumed to let pass without having verified the password.
    return pam_stack.SUCCESS if rule.action(pam_stack.IGNORE) in {"bad", "die"} else pam_stack.IGNORE


def _password(rule: Rule, person: Person, *, knows: bool) -> str:
    if not knows:
        return pam_stack.SUCCESS if rule.kind == "session" else "user_unknown"
    if rule.kind == "auth" and not person.right:
        return "auth_err"
    return pam_stack.SUCCESS


def _pyhome(rule: Rule, person: Person) -> str:
    if rule.kind == "auth" and "authenticate" in rule.arguments:
        return pam_stack.SUCCESS if person.right else "auth_err"
    return pam_stack.IGNORE if rule.kind in {"auth", "account"} else pam_stack.SUCCESS


def _faillock(rule: Rule, _person: Person) -> str:
    if rule.kind == "auth" and "authfail" in rule.arguments:
        return "auth_err"
    return pam_stack.IGNORE if rule.kind == "auth" and "preauth" in rule.arguments else pam_stack.SUCCESS


def _usertype(rule: Rule, _person: Person) -> str:
    return "perm_denied" if "issystem" in rule.arguments else pam_stack.SUCCESS


def _succeed_if(rule: Rule, person: Person) -> str:
    words = [word for word in rule.arguments if not word.startswith(("quiet", "use_uid", "audit", "debug"))]
    conditions = [words[at : at + 3] for at in range(0, len(words), 3)]
    return pam_stack.SUCCESS if all(_holds(condition, person) for condition in conditions) else "auth_err"


def _holds(condition: list[str], person: Person) -> bool:
    """Whether a condition of pam_succeed_if(8) is true of this person; False for what is not understood."""
    if len(condition) < 3:
        return False
    what, how, value = condition
    if what in {"uid", "gid"} and how in _NUMBERS and value.isascii() and value.isdigit():
        return _NUMBERS[how](person.uid, int(value))
    if what == "user" and how in {"ingroup", "notingroup"}:
        return (value in person.groups) == (how == "ingroup")
    text = {"user": person.name, "service": person.service}.get(what)
    return text is not None and how in _TEXTS and _TEXTS[how](text, value)


_SPECIAL: dict[str, Callable[[Rule, Person], str]] = {
    PYHOME: _pyhome,
    "pam_permit": lambda _rule, _person: pam_stack.SUCCESS,
    "pam_deny": lambda rule, _person: _DENIED[rule.kind],
    "pam_warn": lambda _rule, _person: pam_stack.IGNORE,
    "pam_rootok": lambda _rule, _person: "auth_err",
    "pam_faillock": _faillock,
    "pam_usertype": _usertype,
    "pam_localuser": lambda _rule, person: pam_stack.SUCCESS if person.local else "perm_denied",
    "pam_succeed_if": _succeed_if,
    "pam_systemd_home": lambda rule, _person: pam_stack.SUCCESS if rule.kind == "session" else "user_unknown",
}
