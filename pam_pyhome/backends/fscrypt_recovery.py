"""Recovery keys of fscrypt homes: protectors of a custom passphrase, which is the text of the key."""

from __future__ import annotations

from pam_pyhome.backends import approved, kept
from pam_pyhome.backends import fscrypt_protectors as protectors
from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.fscrypt_costs import for_new
from pam_pyhome.backends.fscrypt_find import Candidate, policy_copy, protector_copy, read_kept
from pam_pyhome.backends.fscrypt_renew import put_slots, remove_protector
from pam_pyhome.backends.fscrypt_unlock import home_key, is_proved, try_all, try_key, usable_home
from pam_pyhome.errors import FormatError, UnsafeFileError, WrongPassphraseError
from pam_pyhome.formats import fscrypt_meta as meta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account


def try_recovery(account: Account, key: bytes) -> None:
    """See `Backend.try_recovery`."""
    if try_key(account, usable_home(account), key) is None:
        raise WrongPassphraseError


def new_recovery(account: Account, answer: bytes, key: str) -> None:
    """See `Backend.new_recovery`. The policy changes from the old key to the new one in a single rename."""
    home = usable_home(account)
    attempt = try_all(account, home, answer, exact=True)
    is_approved = is_proved(account, answer)
    used, policy_key = home_key(home, attempt)
    costs = for_new(meta.parse_protector(attempt.content, attempt.candidate.descriptor).costs)
    name = meta.RECOVERY_NAME + account.name
    made = protectors.make(account, meta.CUSTOM, name, key.encode("ascii"), costs)
    store.discard_all(account, home.mount)
    store.replace(home.mount, store.PROTECTORS, made.descriptor, made.content, (account.uid, account.gid, 0o600))
    approved.begin(account)
    kept.keep(account, protector_copy(made.descriptor), made.content)
    if is_approved:
        approved.approve(account, protector_copy(made.descriptor), made.content)
    policy = meta.with_slots(used, [old.descriptor for old in home.recovery], [made.slot(policy_key)])
    put_slots(account, home, policy)
    for old in home.recovery:
        _forget(account, used.identifier, old)
    _remove_strays(account, home.mount, name)


def _forget(account: Account, identifier: str, old: Candidate) -> None:
    """Remove a protector that is out of the policy, unless other directories need it, and all copies that its key would open."""
    if old.descriptor not in protectors.of_policies(account):
        remove_protector(old.mount, old.descriptor)
    kept.forget(account, protector_copy(old.descriptor))
    approved.approve(account, protector_copy(old.descriptor))
    for name in kept.older(account, policy_copy(identifier)):
        if _names(account, name, identifier, old.descriptor):
            kept.remove(account, name)


def _names(account: Account, name: str, identifier: str, descriptor: str) -> bool:
    """Whether the older copy `name` of a policy has the protector in it, or may have."""
    try:
        return meta.parse_policy(read_kept(account, name) or b"", identifier).slot(descriptor) is not None
    except FormatError:
        return True


def _remove_strays(account: Account, mount: str, name: str) -> None:
    """Remove protectors with the `name` of a recovery key's that open nothing, as a run leaves them that was killed."""
    if protectors.has_unreadable_policies(account):
        return  # which may be what they are for
    in_use = protectors.of_policies(account)
    for descriptor in store.protectors(account, mount):
        try:
            protector = meta.parse_protector(store.read(account, mount, store.PROTECTORS, descriptor), descriptor)
        except (OSError, UnsafeFileError, FormatError):
            continue
        if protector.source == meta.CUSTOM and protector.name == name and descriptor not in in_use:
            remove_protector(mount, descriptor)
            kept.forget(account, protector_copy(descriptor))
