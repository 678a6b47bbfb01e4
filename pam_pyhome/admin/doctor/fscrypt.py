"""The metadata of an fscrypt home: its policy, the protectors that open it, and their copies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pam_pyhome.admin.doctor.finding import FAIL, OK, WARN, Finding
from pam_pyhome.backends import fscrypt_find as find
from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.errors import FormatError, PyhomeError, UnsafeFileError
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.formats.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.backends.base import Account

_NOTHING = "so nothing opens the home until it is put back from a backup"


def check(account: Account) -> Iterator[Finding]:
    """Everything that a login needs of it. OSError, PyhomeError."""
    policy = find.kernel_policy(account)
    if policy is None:
        return
    mount = store.main_mount(account.home)
    yield from _about_file(account, mount, store.POLICIES, policy.identifier)
    try:
        home = find.find_home(account)
    except PyhomeError:
        return  # that of which was just spoken
    if home is None:
        return
    for each in dict.fromkeys((*home.protectors, *home.recovery)):
        yield from _about_file(account, each.mount, store.PROTECTORS, each.descriptor)
    if not home.follows_login and _missing(account, home.policy, mount):
        text = "has lost the protector of the login password; the recovery key, typed as the present password, makes a new one"
        yield Finding(FAIL, "keys.slot", account.name, text, f"pyhome passwd --home-only {quoted(account.name)}")


def check_lost(account: Account) -> Iterator[Finding]:
    """A home directory that is encrypted, of whose metadata too much is lost to open it."""
    try:
        policy = find.kernel_policy(account)
        if policy is None:
            return
        mount = store.main_mount(account.home)
        found = find.read_policy(account, mount, policy.identifier)
    except (OSError, PyhomeError) as error:
        yield Finding(FAIL, "keys.home", account.name, str(error), f"pyhome recovery backups {quoted(account.name)}")
        return
    backups = f"pyhome recovery backups {quoted(account.name)}"
    if found is None:
        path = _path(mount, store.POLICIES, policy.identifier)
        yield Finding(FAIL, "keys.slot", path, f"is missing, the policy of the home of {account.name}, {_NOTHING}", backups)
        return
    missing = _missing(account, found, mount)
    if missing:
        path = _path(store.ROOT, store.PROTECTORS, missing[0])
        yield Finding(FAIL, "keys.slot", path, f"is missing, a protector of the home of {account.name}, {_NOTHING}", backups)


def _path(mount: str, kind: str, name: str) -> str:
    return f"{mount.rstrip('/')}/{store.METADATA}/{kind}/{name}"


def _missing(account: Account, policy: meta.Policy, mount: str) -> list[str]:
    """The protectors that the policy names and that are nowhere, nor copies of them."""
    return [descriptor for descriptor, _ in policy.slots if not _is_there(account, mount, descriptor)]


def _is_there(account: Account, mount: str, descriptor: str) -> bool:
    if find.read_kept(account, find.protector_copy(descriptor)) is not None:
        return True
    return any(os.path.lexists(_path(each, store.PROTECTORS, descriptor)) for each in (store.ROOT, mount))


def _about_file(account: Account, mount: str, kind: str, name: str) -> Iterator[Finding]:
    """One file: whether it is there, reads well, and is its owner's alone to change."""
    path = _path(mount, kind, name)
    copy = (find.policy_copy if kind == store.POLICIES else find.protector_copy)(name)
    parse = meta.parse_policy if kind == store.POLICIES else meta.parse_protector
    try:
        parse(store.read(account, mount, kind, name), name)
    except (OSError, UnsafeFileError, FormatError) as error:
        is_kept = find.read_kept(account, copy) is not None
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        text = f"{'is damaged: ' if isinstance(error, FormatError) else ''}{reason}"
        if is_kept:
            mend = f"pyhome recovery restore {quoted(account.name)} {quoted(copy)}"
            yield Finding(WARN, "keys.slot", path, f"{text}; the copy in /var/lib/pyhome counts in its place", mend)
        else:
            yield Finding(FAIL, "keys.slot", path, f"{text}, {_NOTHING}", _mend_owner(account, path))
        return
    status = os.lstat(path)
    if status.st_mode & 0o022:
        mend = f"chmod go-w {quoted(path)}"
        if status.st_uid == account.uid:
            mend = f"runuser -u {quoted(account.name)} -- {mend}"
        yield Finding(WARN, "keys.slot", path, f"can be changed by others (mode {status.st_mode & 0o7777:04o})", mend)
    else:
        yield Finding(OK, "keys.slot", path, "is there and reads well")


def _mend_owner(account: Account, path: str) -> str:
    """What has a file count again that belongs to somebody else, or lists what there is to put in its place."""
    try:
        status = os.lstat(path)
    except OSError:
        return f"pyhome recovery backups {quoted(account.name)}"
    if status.st_uid in (0, account.uid):
        return f"pyhome recovery backups {quoted(account.name)}"
    return f"chown --no-dereference {quoted(account.name)}: {quoted(path)}"
