"""Writing the metadata of an fscrypt home after a login has proved it: a prepared protector, and the good copies."""

from __future__ import annotations

from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends import kept
from pam_pyhome.backends.fscrypt_find import (
    PREVIOUS,
    Candidate,
    Home,
    find_home,
    policy_copy,
    protector_copy,
    put_policy,
    read_kept,
)
from pam_pyhome.errors import FormatError, OldPolicyError, StorageError, UnsafeFileError
from pam_pyhome.formats import fscrypt_meta as meta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account
    from pam_pyhome.formats.opened import Rewrite


def login_home(account: Account) -> Home:
    """The home, whose login protector can be replaced, or is lost and can be made anew. StorageError, OldPolicyError if not."""
    home = find_home(account)
    if home is None or not (home.follows_login or all(candidate.is_recovery for candidate in home.protectors)):
        raise StorageError(account.home, "is not encrypted for the login password")
    if home.policy.version != 2:
        raise OldPolicyError(account.home)
    return home


def rewrite(account: Account, change: Rewrite) -> bool:
    """See `Backend.rewrite`."""
    from pam_pyhome.formats.fscrypt_renewal import is_renewal  # noqa: PLC0415 - an ordinary login rewrites nothing

    if is_renewal(change.content):
        from pam_pyhome.backends.fscrypt_renew import put_prepared  # noqa: PLC0415 - nor uses a recovery key

        return put_prepared(account, change)
    candidate = next((one for one in login_home(account).protectors if one.live == change.expected), None)
    if candidate is None:
        return False
    meta.parse_protector(change.content, candidate.descriptor)
    if change.expected:
        kept.keep(account, protector_copy(candidate.descriptor) + PREVIOUS, change.expected)
    replace(account, candidate, change.content)
    return True


def replace(account: Account, candidate: Candidate, content: bytes) -> None:
    """Put a protector in the place of the one that is there. OSError, UnsafeFileError."""
    owner = store.owner_of(candidate.mount, store.PROTECTORS, candidate.descriptor, account)
    store.replace(candidate.mount, store.PROTECTORS, candidate.descriptor, content, owner)


def remember(account: Account, *, by_key: bool) -> None:
    """See `Backend.remember`. `by_key`: a recovery key has opened the home, which says nothing about the login protector."""
    home = find_home(account)
    if home is None:
        return
    _remember_policy(account, home)
    for candidate in dict.fromkeys((*home.protectors, *home.recovery)):
        name = protector_copy(candidate.descriptor)
        is_unproved = by_key if candidate.is_login else candidate.is_recovery and read_kept(account, name) is not None
        if candidate.trouble is None and not is_unproved:
            kept.keep(account, name, candidate.live)


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
