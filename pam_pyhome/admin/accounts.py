"""Whose homes there are: the users of the password database, and which of them are ordinary ones."""

from __future__ import annotations

import contextlib
import os
import pwd

from pam_pyhome.backends.base import Account
from pam_pyhome.errors import NoUserError

_UID_MIN = 1000


def look_up(user: str) -> Account | None:
    """The account called `user`, or None."""
    try:
        return _account(pwd.getpwnam(user))
    except (KeyError, ValueError):
        return None


def find(user: str | None) -> Account:
    """The account called `user`; that of this process without one. NoUserError."""
    try:
        return _account(pwd.getpwuid(os.getuid()) if user is None else pwd.getpwnam(user))
    except (KeyError, ValueError):
        raise NoUserError(f"with uid {os.getuid()}" if user is None else user) from None


def people() -> list[Account]:
    """All ordinary users, by name; one who is listed twice counts once."""
    least = uid_min()
    found = {entry.pw_name: _account(entry) for entry in reversed(pwd.getpwall()) if entry.pw_uid >= least}
    return [found[name] for name in sorted(found)]


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def uid_min() -> int:
    """Where ordinary users begin."""
    return number("UID_MIN", _UID_MIN)


def number(name: str, default: int) -> int:
    """A number of /etc/login.defs, or the default; lines that have none do not count."""
    found = [value for value in _settings(name) if value.isdigit()]
    return int(found[-1]) if found else default


def setting(name: str) -> str | None:
    """A setting of /etc/login.defs, the last one of several as the shadow tools have it; None if there is none."""
    found = _settings(name)
    return found[-1] if found else None


def _settings(name: str) -> list[str]:
    found = []
    with contextlib.suppress(FileNotFoundError), open("/etc/login.defs", encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if words[:1] == [name] and words[1:]:
                found.append(words[1])
    return found
