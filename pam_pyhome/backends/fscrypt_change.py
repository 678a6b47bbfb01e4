"""Replacing the login protector of an fscrypt home, and the good copies of its metadata."""

from __future__ import annotations

from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends import kept
from pam_pyhome.backends.fscrypt_unlock import (
    MISSING,
    PREVIOUS,
    Attempt,
    Candidate,
    find_home,
    policy_copy,
    protector_copy,
    protector_for,
    put_policy,
    read_kept,
    try_all,
)
from pam_pyhome.errors import FormatError, OldPolicyError, StorageError, UnsafeFileError
from pam_pyhome.formats import fscrypt_meta as meta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account
    from pam_pyhome.backends.fscrypt_unlock import Home
    from pam_pyhome.formats.opened import Rewrite


def _home(account: Account) -> Home:
    home = find_home(account)
    if home is None or not home.follows_login:
        raise StorageError(account.home, "is not encrypted for the login password")
    if home.policy.version != 2:
        raise OldPolicyError(account.home)
    return home


def rewrite(account: Account, change: Rewrite) -> bool:
    """See `Backend.rewrite`."""
    candidate = next((one for one in _home(account).protectors if one.live == change.expected), None)
    if candidate is None:
        return False
    meta.parse_protector(change.content, candidate.descriptor)
    if change.expected:
        kept.keep(account, protector_copy(candidate.descriptor) + PREVIOUS, change.expected)
    _replace(account, candidate, change.content)
    return True


def _replace(account: Account, candidate: Candidate, content: bytes) -> None:
    owner = store.owner_of(candidate.mount, store.PROTECTORS, candidate.descriptor, account)
    store.replace(candidate.mount, store.PROTECTORS, candidate.descriptor, content, owner)


def remember(account: Account) -> None:
    """See `Backend.remember`."""
    home = find_home(account)
    if home is None:
        return
    _remember_policy(account, home)
    for candidate in home.protectors:
        if candidate.trouble is None:
            kept.keep(account, protector_copy(candidate.descriptor), candidate.live)


def _remember_policy(account: Account, home: Home) -> None:
    """Keep the policy's file, or put it back from the copy that `find_home` took in its place.

    How a protector wraps a policy's key does not change: where file and copy differ in that, the file is damaged.
    """
    identifier = home.policy.identifier
    try:
        meta.parse_policy(store.read(account, home.mount, store.POLICIES, identifier), identifier)
    except (FileNotFoundError, UnsafeFileError, FormatError):
        put_policy(account, home.mount, home.policy)
    spare = dict(home.spare.slots) if home.spare is not None else {}
    if all(spare.get(name, wrapped) == wrapped for name, wrapped in home.policy.slots):
        kept.keep(account, policy_copy(identifier), home.policy.message.emit())


def reserve(account: Account, old: bytes) -> None:
    """See `Backend.reserve`."""
    attempt = try_all(account, _home(account), old, exact=False)
    candidate = attempt.candidate
    _keep_good(account, attempt)
    owner = store.owner_of(candidate.mount, store.PROTECTORS, candidate.descriptor, account)
    store.stage(candidate.mount, store.PROTECTORS, candidate.descriptor, len(attempt.content), owner)


def _keep_good(account: Account, attempt: Attempt) -> None:
    """Keep the file that has just opened, and a live one that did not as the previous one."""
    name = protector_copy(attempt.candidate.descriptor)
    if attempt.content != read_kept(account, name):
        kept.keep(account, name, attempt.content)
    if attempt.candidate.live not in (attempt.content, MISSING):
        kept.keep(account, name + PREVIOUS, attempt.candidate.live)


def change_password(account: Account, old: bytes, new: bytes) -> None:
    """See `Backend.change_password`. What `old` opens is kept as the good copy until the next login with `new`."""
    attempt = try_all(account, _home(account), old, exact=False)
    content = protector_for(account, attempt, new)
    _keep_good(account, attempt)
    _replace(account, attempt.candidate, content)
