"""Whose homes there are: the users of the password database, and which of them are ordinary ones."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from typing import TYPE_CHECKING

from pam_pyhome.backends import ecryptfs_store, kept
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import NoUserError
from pam_pyhome.policy import leases
from pam_pyhome.policy.users import uid_min

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_HOMES = "/home"


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


def unlisted(listed: Iterable[Account]) -> list[Account]:
    """Users whom the password database knows, but leaves out of its list, as directory services do.

    They are found by what they have here: home directories beside those that are known, key files, open homes.
    """
    least = uid_min()
    known = {each.name: each for each in listed}
    uids, homes = {each.uid for each in known.values()}, {each.home.rstrip("/") for each in known.values()}
    bases = {os.path.dirname(each.home.rstrip("/")) for each in known.values() if each.uid >= least} | {_HOMES}
    numbers = {uid for base in bases for uid in _owners(base, homes)}
    traces = [*_entries(kept.STATE), *_entries(leases.RUN)]
    numbers |= {int(number) for name in traces if (number := name.partition(".")[0]).isdecimal()}
    found: dict[str, Account] = {}
    for uid in sorted(number for number in numbers - uids if number >= least):
        with contextlib.suppress(KeyError, OverflowError):
            entry = pwd.getpwuid(uid)
            found[entry.pw_name] = _account(entry)
    for name in _entries(ecryptfs_store.SHARED):
        account = None if name in known or name in found else look_up(name)
        if account is not None:
            found[account.name] = account
    return [found[name] for name in sorted(found.keys() - known.keys())]


def _owners(base: str, homes: Collection[str]) -> Iterator[int]:
    """Who owns the directories beside these homes; in /home also those a level deeper, as in /home/DOMAIN/USER."""
    for path in (f"{base}/{name}" for name in _entries(base)):
        if path in homes:
            continue
        owner = _owner(path)
        yield owner
        if owner == 0 and base == _HOMES:
            yield from (_owner(f"{path}/{name}") for name in _entries(path))


def _owner(path: str) -> int:
    """The owner of a directory; -1 for what is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return -1
    return status.st_uid if stat.S_ISDIR(status.st_mode) else -1


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
