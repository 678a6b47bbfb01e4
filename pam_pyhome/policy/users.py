"""Whom pyhome serves: ordinary users, each with a uid of their own. The shim has the same floor (`uid_min` in config.c)."""

from __future__ import annotations

import os
import pwd

from pam_pyhome.backends.base import Account
from pam_pyhome.errors import NoHomeError, NoUserError, SharedUidError
from pam_pyhome.kernel.log import Person

LOGIN_DEFS = "/etc/login.defs"
PASSWD = "/etc/passwd"
_UID_MIN = 1000
_HIGHEST = 2**32 - 2
_NAME, _UID = 0, 2


def setting(name: str) -> str | None:
    """A setting of /etc/login.defs, the last one of several as the shadow tools have it; None if there is none."""
    found = _settings(name)
    return found[-1] if found else None


def number(name: str, default: int) -> int:
    """The last setting that is a uid or another such number, in decimal digits; the default without one."""
    found = [int(value) for value in _settings(name) if _is_number(value)]
    return found[-1] if found else default


def _is_number(text: str) -> bool:
    """Whether this is the decimal number of a user or group that there can be."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(_HIGHEST)) and int(text) <= _HIGHEST


def _settings(name: str) -> list[str]:
    try:
        with open(LOGIN_DEFS, "rb") as file:
            lines = [line.split() for line in file]
    except OSError:
        return []
    return [words[1].decode("utf-8", "replace") for words in lines if len(words) > 1 and words[0] == name.encode()]


def uid_min() -> int:
    """Where ordinary users begin."""
    return number("UID_MIN", _UID_MIN)


def check(account: Account) -> None:
    """NoHomeError for a user of the system; SharedUidError for one whose files and sessions are another's as well."""
    if account.uid < uid_min():
        raise NoHomeError(account.name)
    others = sorted(LocalNames().of(account.uid) - {account.name})
    if others:
        raise SharedUidError(account.name, ", ".join(others))


def account_of(uid: int) -> Account:
    """The account that has this uid. NoUserError."""
    try:
        entry = pwd.getpwuid(uid)
    except (KeyError, OverflowError):
        raise NoUserError(f"with uid {uid}") from None
    return Account(entry.pw_name, uid, entry.pw_gid, entry.pw_dir)


def local(uid: int) -> Person:
    """Who has a uid as far as /etc/passwd says, for the log."""
    return Person(min(LocalNames().of(uid), default=""), uid)


class LocalNames:
    """Which names /etc/passwd has for a uid. No other service is asked, because that may take any time."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._read_at = (0, 0, 0)
        self._names: dict[int, set[str]] = {}

    def of(self, uid: int) -> set[str]:
        """The names; the file is read again when it is another one."""
        try:
            status = os.stat(PASSWD)
            if self._read_at != (now := (status.st_ino, status.st_mtime_ns, status.st_size)):
                self._names, self._read_at = _read_names(), now
        except OSError:
            pass
        return self._names.get(uid, set())


def _read_names() -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    with open(PASSWD, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.rstrip("\n").split(":")
            if len(fields) > _UID and _is_number(fields[_UID]):
                found.setdefault(int(fields[_UID]), set()).add(fields[_NAME])
    return found
