"""A new login protector for a home that a recovery key has opened: the key of the old one cannot be had without its password.

fscrypt and pam_fscrypt take the first login protector of a user that they find, so there must be one only. The new file is
complete before the policy names it, the policy changes from the old to the new one in a single rename, and only then the old
one goes: killed in between, the recovery key opens the home. An old protector that other directories need stays as one of a
custom passphrase, which opens them with the old password.
"""

from __future__ import annotations

import os

from pam_pyhome.backends import approved, kept
from pam_pyhome.backends import fscrypt_protectors as protectors
from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.fscrypt_costs import for_new
from pam_pyhome.backends.fscrypt_find import (
    Home,
    find_home,
    policy_copy,
    protector_copy,
    put_policy,
    read_kept,
)
from pam_pyhome.backends.fscrypt_unlock import Attempt, home_key
from pam_pyhome.errors import FormatError, StorageError, UnsafeFileError
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.formats.fscrypt_renewal import Renewal, emit_renewal, parse_renewal
from pam_pyhome.formats.opened import Rewrite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account

FORMER = "Former login passphrase of "
_ROOM = 1024  # bytes, for a protector and for what a policy grows by


def prepare(account: Account, home: Home, attempt: Attempt, password: bytes) -> Rewrite:
    """The change that lets `password` open the home at logins. WrongPassphraseError for an empty one."""
    return Rewrite(home.policy.message.emit(), emit_renewal(_make(account, home, attempt, password)))


def put_prepared(account: Account, change: Rewrite) -> bool:
    """Carry out what `prepare` made; False if the policy is no longer the one that it was made for."""
    home = find_home(account)
    if home is None or home.policy.message.emit() != change.expected:
        return False
    _put(account, home, parse_renewal(change.content), is_approved=False)
    return True


def renew(account: Account, home: Home, attempt: Attempt, password: bytes, *, is_approved: bool) -> int:
    """Make and put at once. How many other directories still open with the old password only. `is_approved`: so is the new one."""
    return _put(account, home, _make(account, home, attempt, password), is_approved=is_approved)


def reserve(account: Account, home: Home) -> None:
    """Room for the policy, and proof that there is some for a protector. OSError, UnsafeFileError."""
    owner = (account.uid, account.gid, 0o600)
    trial = f"trial-{account.uid}"
    store.stage(store.ROOT, store.PROTECTORS, trial, _ROOM, owner)
    store.discard(store.ROOT, store.PROTECTORS, trial)
    identifier = home.policy.identifier
    owner = store.owner_of(home.mount, store.POLICIES, identifier, account)
    store.stage(home.mount, store.POLICIES, identifier, len(home.policy.message.emit()) + _ROOM, owner)


def put_slots(account: Account, home: Home, content: bytes) -> None:
    """Put a policy in place, and of its good copy, if there is one: what is no longer in it must not come back.

    Where there is none, the home has not been opened yet, which a copy would say it has. StorageError if somebody else has changed
    the policy since `home` was read; OSError, UnsafeFileError.
    """
    identifier = home.policy.identifier
    present = find_home(account)
    if present is None or present.policy.message.emit() != home.policy.message.emit():
        raise StorageError(f"policy {identifier}", "was changed by somebody else meanwhile")
    put_policy(account, home.mount, meta.parse_policy(content, identifier))
    if read_kept(account, policy_copy(identifier)) is not None:
        kept.keep(account, policy_copy(identifier), content)


def _make(account: Account, home: Home, attempt: Attempt, password: bytes) -> Renewal:
    used, policy_key = home_key(home, attempt)
    made = protectors.make(account, meta.LOGIN, "", password, for_new(_present_costs(account, home)))
    old = [candidate.descriptor for candidate in home.protectors if candidate.is_login]
    return Renewal(made.descriptor, made.content, meta.with_slots(used, old, [made.slot(policy_key)]))


def _present_costs(account: Account, home: Home) -> meta.Costs | None:
    """Those of the login protector so far, if they can be read."""
    for candidate in home.protectors:
        for content in (candidate.live, read_kept(account, protector_copy(candidate.descriptor))):
            try:
                found = meta.parse_protector(content or b"", candidate.descriptor).costs
            except FormatError:
                continue
            if candidate.is_login and found is not None:
                return found
    return None


def _put(account: Account, home: Home, renewal: Renewal, *, is_approved: bool) -> int:
    """See `renew`. OSError, UnsafeFileError."""
    meta.parse_protector(renewal.protector, renewal.descriptor)
    for mount in dict.fromkeys((store.ROOT, home.mount)):
        store.discard_all(account, mount)
    approved.begin(account)
    kept.set_aside(account, policy_copy(home.policy.identifier), home.policy.message.emit())
    for candidate in home.protectors:
        if candidate.is_login and candidate.live:
            kept.set_aside(account, protector_copy(candidate.descriptor), candidate.live)
    owner = (account.uid, account.gid, 0o600)
    store.replace(store.ROOT, store.PROTECTORS, renewal.descriptor, renewal.protector, owner)
    put_link(account, home.mount, renewal.descriptor)
    kept.keep(account, protector_copy(renewal.descriptor), renewal.protector)
    if is_approved:
        approved.approve(account, protector_copy(renewal.descriptor), renewal.protector)
    put_slots(account, home, renewal.policy)
    kept.remove(account, kept.RESET)
    return _retire_others(account, renewal.descriptor)


def put_link(account: Account, mount: str, descriptor: str) -> None:
    """Let a protector of the root file system be found from `mount`, if that is another one. OSError, UnsafeFileError."""
    if mount != store.ROOT:
        owner = (account.uid, account.gid, 0o600)
        store.replace(mount, store.PROTECTORS, f"{descriptor}.link", protectors.link_to_root(), owner)


def _retire_others(account: Account, present: str) -> int:
    """Leave the login protector `present` the only one of the account's; how many directories still need another."""
    found = protectors.of_login(account)
    return sum(_retire(account, protector, content) for protector, content in found if protector.descriptor != present)


def _retire(account: Account, protector: meta.Protector, content: bytes) -> int:
    """Remove a login protector; make it a custom one where other directories need it, and count those.

    Where it cannot be told what needs it, something may. In any case it stays among the copies.
    """
    name = protector.descriptor
    kept.set_aside(account, protector_copy(name), content)
    left = protectors.of_policies(account, (name,)).count(name)
    if left:
        owner = store.owner_of(store.ROOT, store.PROTECTORS, name, account)
        store.replace(store.ROOT, store.PROTECTORS, name, meta.as_custom(protector, FORMER + account.name), owner)
    else:
        remove_protector(store.ROOT, name)
    approved.approve(account, protector_copy(name))
    beside = (kept.REPAIRED, kept.SECOND, kept.TYPED)
    kept.remove(account, protector_copy(name), *(protector_copy(name) + suffix for suffix in beside))
    return left


def remove_protector(mount: str, descriptor: str) -> None:
    """Remove a protector's file from `mount`, and the links to it everywhere. OSError."""
    store.unlink(mount, store.PROTECTORS, descriptor)
    for each in store.main_mounts():
        try:
            store.unlink(os.fsdecode(each.mountpoint), store.PROTECTORS, f"{descriptor}.link")
        except (OSError, UnsafeFileError):
            continue  # no metadata there, or none of root's
