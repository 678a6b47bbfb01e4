"""What is left of an fscrypt home without its directory: the policy, protectors that open nothing else, and claims on its key."""

from __future__ import annotations

from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.fscrypt_create import KEY, take_back
from pam_pyhome.errors import FormatError, UnsafeFileError
from pam_pyhome.formats import fscrypt_meta as meta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account


def remove(account: Account, mount: str, identifier: str) -> None:
    """Remove the metadata of a policy, and the account's claim on its key. Nothing that is gone already is missed. OSError."""
    take_back((KEY, str(account.uid), str(account.gid), mount, identifier))
    try:
        policy = meta.parse_policy(store.read(account, mount, store.POLICIES, identifier), identifier)
        descriptors = [descriptor for descriptor, _ in policy.slots]
    except (FileNotFoundError, UnsafeFileError, FormatError):
        descriptors = []
    in_use = _in_use(account, identifier)
    # The policy last: as long as it is there, a run that comes after a kill finds the rest.
    for descriptor in descriptors:
        if descriptor not in in_use:
            for place in dict.fromkeys((store.ROOT, mount)):
                store.unlink(place, store.PROTECTORS, descriptor)
            store.unlink(mount, store.PROTECTORS, f"{descriptor}.link")
    store.unlink(mount, store.POLICIES, identifier)


def _in_use(account: Account, identifier: str) -> set[str]:
    """The protectors of all other policies."""
    found: set[str] = set()
    for mount, name in store.policies(account):
        if name != identifier:
            try:
                policy = meta.parse_policy(store.read(account, mount, store.POLICIES, name), name)
            except (OSError, UnsafeFileError, FormatError):
                continue
            found.update(descriptor for descriptor, _ in policy.slots)
    return found
