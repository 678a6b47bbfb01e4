"""Protectors of fscrypt homes, one by one: making them, finding those of the login, and what each opens."""

from __future__ import annotations

import os

from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.fscrypt_derive import wrapping_key
from pam_pyhome.backends.fscrypt_find import read_policy
from pam_pyhome.errors import FormatError, StorageError, UnsafeFileError, WrongPassphraseError
from pam_pyhome.formats import fscrypt_key as key
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.formats.fscrypt_conf import Link, emit_link
from pam_pyhome.kernel.cipher import aes256_ctr
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account


class Protector(Record):
    """A protector that is open: its name and its key. `content` is its file."""

    descriptor: str
    content: bytes
    key: bytes

    def __repr__(self) -> str:
        """Never the key."""
        return f"Protector({self.descriptor})"

    def slot(self, policy_key: bytes) -> tuple[str, meta.WrappedKey]:
        """A policy's key as this protector wraps it, with the protector's name."""
        return self.descriptor, key.wrap(self.key, policy_key, os.urandom(meta.IV_SIZE), aes256_ctr)


def make(account: Account, source: int, name: str, passphrase: bytes, costs: meta.Costs) -> Protector:
    """A new protector that `passphrase` opens, of which nothing is written yet. WrongPassphraseError for an empty one."""
    if not passphrase:
        raise WrongPassphraseError
    secret, salt = os.urandom(meta.PROTECTOR_KEY_SIZE), os.urandom(meta.SALT_SIZE)
    descriptor = key.protector_name(secret)
    wrapping = wrapping_key(account.uid, passphrase, salt, costs)
    wrapped = key.wrap(wrapping, secret, os.urandom(meta.IV_SIZE), aes256_ctr)
    uid = account.uid if source == meta.LOGIN else 0
    return Protector(descriptor, meta.emit_protector(descriptor, source, name, costs, salt, uid, wrapped), secret)


def link_to_root() -> bytes:
    """What stands on another file system for a protector of the root file system."""
    return emit_link(Link(store.uuid_of(store.ROOT), store.ROOT))


def of_login(account: Account) -> list[tuple[meta.Protector, bytes]]:
    """All files that are taken for a login protector of the account's. There should be one. OSError, UnsafeFileError."""
    found = []
    for name in store.protectors(account, store.ROOT):
        try:
            content = store.read(account, store.ROOT, store.PROTECTORS, name)
            protector = meta.parse_protector(content, name)
        except (OSError, UnsafeFileError, FormatError):
            continue  # somebody else's
        if protector.source == meta.LOGIN and protector.uid == account.uid:
            found.append((protector, content))
    return found


def of_policy(account: Account, mount: str, identifier: str) -> tuple[str, ...]:
    """The protectors of a policy, as its file says or else the good copy of that; none if there is neither."""
    try:
        policy = read_policy(account, mount, identifier)
    except (OSError, StorageError, UnsafeFileError, FormatError):
        return ()
    return tuple(descriptor for descriptor, _ in policy.slots) if policy is not None else ()


def has_unreadable_policies(account: Account) -> bool:
    """Whether there is a policy of the account's of which it cannot be told what opens it."""
    return any(not of_policy(account, mount, name) for mount, name in store.policies(account))


def of_policies(account: Account, *, without: str = "") -> list[str]:
    """The protectors of all policies of the account's, on all file systems, but one's; named as often as they open one."""
    others = [(mount, name) for mount, name in store.policies(account) if name != without]
    return [found for mount, name in others for found in of_policy(account, mount, name)]


def in_use(account: Account, descriptors: set[str], *, without: str = "") -> set[str]:
    """Those of the protectors that a policy of the account's names, on any file system, but for the policy `without`.

    A policy that cannot be read may name all of them.
    """
    found: set[str] = set()
    for mount, identifier in store.policies(account):
        if identifier == without:
            continue
        try:
            policy = read_policy(account, mount, identifier)
        except (OSError, StorageError, UnsafeFileError, FormatError):
            return descriptors
        found.update(descriptor for descriptor, _ in (policy.slots if policy is not None else ()))
    return descriptors & found
