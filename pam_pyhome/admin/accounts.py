"""Whose homes there are: the users of the password database, and which of them are ordinary ones."""

from __future__ import annotations

import os
import pwd

from pam_pyhome.backends.base import Account
from pam_pyhome.errors import NoUserError
from pam_pyhome.policy.users import uid_min


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
