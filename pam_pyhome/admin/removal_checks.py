"""What has to hold before a home is removed, and all that belongs to it, also where the account is gone already."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from typing import TYPE_CHECKING

from pam_pyhome.admin import account_tools, conversion_kinds, conversion_record, creation_record, in_use, places
from pam_pyhome.admin import removal_facts as facts
from pam_pyhome.admin.accounts import look_up, uid_min
from pam_pyhome.admin.creation_choice import ECRYPTFS, FSCRYPT
from pam_pyhome.admin.removal_record import Record
from pam_pyhome.backends import ecryptfs_store as store
from pam_pyhome.backends import fscrypt_find, fscrypt_protectors, fscrypt_store, kept, registry
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import NoHomeError, NoUserError, RemoveError
from pam_pyhome.kernel import deleting, trees

if TYPE_CHECKING:
    from collections.abc import Iterator

_POLICY = fscrypt_find.policy_copy("")


def look(user: str, *, keep_account: bool) -> Record:
    """All that would be removed. Changes nothing. NoUserError, NoHomeError, RemoveError, HomeBusyError, StorageError; OSError."""
    account = whose(user)
    if account.uid < uid_min():
        raise RemoveError(user, facts.SYSTEM_USER, f"uid {account.uid}")
    _check_alone(account)
    _check_records(account)
    parent = _check_parent(account)
    inode = _check_home(account)
    found = registry.find(account)
    if found is None and (inode or not has_leftovers(account)):
        fscrypt_find.kernel_policy(account)  # what kept it from being looked at, if anything did
        raise NoHomeError(user)
    backend = found.name if found is not None else FSCRYPT if _kept_policies(account) else ECRYPTFS
    if found is not None and backend == ECRYPTFS:
        conversion_kinds.Ecryptfs().origin(account)
    in_use.check(account, *filter(os.path.exists, (account.home, store.storage_of(account))))
    check_mounts(account, opens=True)
    policies = tuple(_policies(account)) if backend == FSCRYPT else ()
    protectors = {name for mount, identifier in policies for name in fscrypt_protectors.of_policy(account, mount, identifier)}
    storage = _check_storage(account) if backend == ECRYPTFS else 0
    if found is None and not policies and not storage and look_up(user) is not None:
        raise RemoveError(user, facts.NOT_SEEN, account.home)
    names = tuple(sorted(protectors))
    where = places.note(parent, *(mount for mount, _ in policies), *([store.SHARED] if storage else []))
    return Record(account, backend, keep_account, parent, inode, storage, policies, names, facts.MOVING, places=where)


def whose(user: str) -> Account:
    """The account; of one that is gone, what is left of it says which uid it had. NoUserError, RemoveError."""
    known = look_up(user)
    if known is not None:
        return known
    if not user or "/" in user or user.startswith(".") or not user.isprintable():
        raise NoUserError(user)
    home = f"{account_tools.base()}/{user}"
    uids = set(_kept_uids(user)) | {status.st_uid for status in _statuses(home, store.SHARED + "/" + user)}
    if not uids:
        raise NoUserError(user)
    if len(uids) > 1 or uids & {entry.pw_uid for entry in pwd.getpwall()}:
        raise RemoveError(user, facts.WHOSE, "uid " + ", ".join(map(str, sorted(uids))))
    (uid,) = uids
    gid = next((status.st_gid for status in _statuses(home)), uid)
    return Account(user, uid, gid, home)


def _kept_uids(user: str) -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(kept.STATE):
            uid, _, owner = name.partition(".")
            if owner == user and uid.isdigit():
                yield int(uid)


def _statuses(*paths: str) -> Iterator[os.stat_result]:
    """Of those of the paths that are directories."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode):
                yield status


def _check_alone(account: Account) -> None:
    """RemoveError if anybody else has this uid, or a home that is this one, or in it, or around it."""
    mine = os.path.realpath(account.home)
    for entry in pwd.getpwall():
        if entry.pw_name == account.name:
            continue
        theirs = os.path.realpath(entry.pw_dir)
        inside = f"{theirs}/".startswith(f"{mine}/") or (f"{mine}/".startswith(f"{theirs}/") and entry.pw_uid >= uid_min())
        if entry.pw_uid == account.uid or (inside and theirs != "/"):
            raise RemoveError(account.name, facts.SHARED, entry.pw_name)


def _check_records(account: Account) -> None:
    """RemoveError while another verb has something of this home in hand."""
    converted = conversion_record.find(account.name)
    if converted is not None:
        raise RemoveError(account.name, facts.CONVERTED, conversion_record.place_of(converted.account))
    if creation_record.find(account.name) is not None:
        raise RemoveError(account.name, facts.BEING_MADE)


def _check_parent(account: Account) -> str:
    """The directory that the home is in, without links. RemoveError unless all directories on the way are root's alone."""
    trouble = places.trouble_above(account.home)
    if trouble is not None:
        raise RemoveError(account.name, facts.BAD_PLACE, trouble)
    return os.path.realpath(os.path.dirname(account.home))


def _check_home(account: Account) -> int:
    """The inode of the home directory, 0 if there is none. RemoveError for anything else in its place."""
    try:
        status = os.lstat(account.home)
    except FileNotFoundError:
        return 0
    if not stat.S_ISDIR(status.st_mode):
        raise RemoveError(account.name, facts.BAD_PLACE, f"{account.home} is no directory")
    if status.st_uid != account.uid:
        raise RemoveError(account.name, facts.NOT_OWN, f"{account.home} is of uid {status.st_uid}")
    return status.st_ino


def _check_storage(account: Account) -> int:
    """The same of the directory with an eCryptfs home's key files and ciphertext."""
    path = store.storage_of(account)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return 0
    trouble = places.trouble_above(path)
    if trouble is not None:
        raise RemoveError(account.name, facts.BAD_PLACE, trouble)
    if not stat.S_ISDIR(status.st_mode):
        raise RemoveError(account.name, facts.BAD_PLACE, f"{path} is no directory")
    if status.st_uid not in (0, account.uid):
        raise RemoveError(account.name, facts.NOT_OWN, f"{path} is of uid {status.st_uid}")
    return status.st_ino


def has_leftovers(account: Account) -> bool:
    """Whether there are copies of key files of somebody whose home directory is gone."""
    return os.path.isdir(kept.place_of(account))


def _kept_policies(account: Account) -> list[str]:
    try:
        names = os.listdir(kept.place_of(account))
    except FileNotFoundError:
        return []
    return [name.removeprefix(_POLICY) for name in names if name.startswith(_POLICY)]


def _policies(account: Account) -> Iterator[tuple[str, str]]:
    """Mount and identifier of the home's policy, and of those that a home had which is gone."""
    found = fscrypt_find.kernel_policy(account)
    if found is not None:
        yield fscrypt_store.main_mount(account.home), found.identifier
        return
    known = _kept_policies(account)
    for mount, identifier in fscrypt_store.policies(account):
        if identifier in known:
            yield mount, identifier


def check_frozen(account: Account) -> None:
    """RemoveError for anything that could not be deleted later, when without its key nobody can change that any more."""
    for path in (account.home, store.storage_of(account)):
        with contextlib.suppress(FileNotFoundError):
            parent = trees.open_below(os.path.dirname(path))
            try:
                name = deleting.find_frozen(parent, os.path.basename(path))
            finally:
                os.close(parent)
            if name is not None:
                raise RemoveError(account.name, facts.FROZEN, name)


def check_mounts(account: Account, *, opens: bool = False) -> None:
    """RemoveError for anything that is mounted on or in the home; with `opens` not for the home itself as eCryptfs opens it."""
    found = in_use.mounted(account.home, store.storage_of(account), opens=opens)
    if found:
        raise RemoveError(account.name, facts.MOUNTED, found[0])
