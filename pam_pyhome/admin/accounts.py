"""Whose homes there are: the users of the password database, and which of them are ordinary ones."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from pam_pyhome.backends import ecryptfs_store, fscrypt_store, kept
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import NoUserError
from pam_pyhome.kernel import statx
from pam_pyhome.policy.users import account_of, uid_min

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHARED_HOMES = "/home"


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
    """All ordinary users, by name; one who is listed twice counts once, and those with a home here count whom nobody lists."""
    least = uid_min()
    found = {entry.pw_name: _account(entry) for entry in reversed(pwd.getpwall()) if entry.pw_uid >= least}
    found.update((account.name, account) for account in unlisted(found.values()))
    return [found[name] for name in sorted(found)]


def unlisted(listed: Iterable[Account]) -> Iterator[Account]:
    """Ordinary users whom the user database knows and does not list, as sssd: by what they have on disks, and what we keep of it.

    `listed`: those whom it lists.
    """
    listed = list(listed)
    known, homes = {account.uid for account in listed}, {account.home.rstrip("/") for account in listed}
    least, names = uid_min(), {account.name for account in listed}
    for name in _names_of_homes():
        account = None if name in names else look_up(name)
        if account is not None and account.uid >= least and account.uid not in known:
            names.add(account.name)
            yield account
    for uid in set(_owners(homes)) - known:
        account = _of_uid(uid) if uid >= least else None
        if account is not None and account.name not in names:
            yield account


def _names_of_homes() -> Iterator[str]:
    """Whom copies of key files are kept of, and who has an eCryptfs home."""
    yield from dict.fromkeys((*(name.partition(".")[2] for name in _entries(kept.STATE)), *_entries(ecryptfs_store.SHARED)))


def _owners(homes: set[str]) -> Iterator[int]:
    """Who has directories beside these homes, and who has protectors; not root."""
    for parent in {SHARED_HOMES, *map(os.path.dirname, homes)} - {"", "/"}:
        for path in (f"{parent}/{name}" for name in _entries(parent)):
            # Where everybody is listed, this is a hundred thousand times nothing.
            if path in homes:
                continue
            owner = _owner(path)
            if owner:
                yield owner
            elif owner == 0 and parent == SHARED_HOMES:  # as in /home/DOMAIN/USER
                yield from filter(None, (_owner(f"{path}/{name}") for name in _entries(path)))
    for mountpoint in dict.fromkeys((fscrypt_store.ROOT, *(os.fsdecode(each.mountpoint) for each in fscrypt_store.main_mounts()))):
        for kind in (fscrypt_store.POLICIES, fscrypt_store.PROTECTORS):
            place = f"{mountpoint.rstrip('/')}/{fscrypt_store.METADATA}/{kind}"
            yield from filter(None, (_owner(f"{place}/{name}") for name in _entries(place)))


def _entries(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _owner(path: str) -> int | None:
    try:
        return statx.look(path, follow=False).uid
    except OSError:
        return None


def _of_uid(uid: int) -> Account | None:
    try:
        return account_of(uid)
    except NoUserError:
        return None


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
