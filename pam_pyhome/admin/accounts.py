"""Whose homes there are: the users of the password database, without those of the system."""

from __future__ import annotations

import contextlib
import os
import pwd

from pam_pyhome.backends.base import Account
from pam_pyhome.errors import NoUserError

_UID_MIN = 1000


def find(user: str | None) -> Account:
    """The account called `user`; that of this process without one. NoUserError."""
    try:
        entry = pwd.getpwuid(os.getuid()) if user is None else pwd.getpwnam(user)
    except (KeyError, ValueError):
        raise NoUserError(f"with uid {os.getuid()}" if user is None else user) from None
    return _account(entry)


def people() -> list[Account]:
    """All ordinary users, by name; one who is listed twice counts once."""
    least = uid_min()
    found = {entry.pw_name: _account(entry) for entry in reversed(pwd.getpwall()) if entry.pw_uid >= least}
    return [found[name] for name in sorted(found)]


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def uid_min() -> int:
    """Where ordinary users begin: UID_MIN of /etc/login.defs, the last one of several as the shadow tools have it."""
    found = _UID_MIN
    with contextlib.suppress(FileNotFoundError), open("/etc/login.defs", encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if words[:1] == ["UID_MIN"] and words[1:] and words[1].isdigit():
                found = int(words[1])
    return found
