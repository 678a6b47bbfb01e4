"""What is left of an fscrypt home without its directory: the policy, protectors that open nothing else, and claims on its key."""

from __future__ import annotations

import os

from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.fscrypt_create import KEY, take_back
from pam_pyhome.backends.fscrypt_find import policy_copy, read_kept
from pam_pyhome.errors import FormatError, UnsafeFileError
from pam_pyhome.formats import fscrypt_meta as meta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account


def remove(account: Account, mount: str, identifier: str, protectors: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Remove the metadata of a policy, and the account's claim on its key. Nothing that is gone already is missed. OSError.

    With it go its protectors, and those that are given, unless they open something else; those are returned.
    """
    take_back((KEY, str(account.uid), str(account.gid), mount, identifier))
    descriptors = {*protectors_of(account, mount, identifier), *protectors}
    in_use = descriptors & _in_use(account, identifier)
    # The policy last: as long as it is there, a run that comes after a kill finds the rest.
    for descriptor in sorted(descriptors - in_use):
        for place in dict.fromkeys((store.ROOT, mount)):
            _unlink(place, store.PROTECTORS, descriptor)
        _unlink(mount, store.PROTECTORS, f"{descriptor}.link")
    _unlink(mount, store.POLICIES, identifier)
    return tuple(sorted(in_use))


def protectors_of(account: Account, mount: str, identifier: str) -> tuple[str, ...]:
    """The protectors of a policy, as its file says or else the good copy of that; none if there is neither."""
    try:
        policy = meta.parse_policy(store.read(account, mount, store.POLICIES, identifier), identifier)
    except (OSError, UnsafeFileError, FormatError):
        try:
            policy = meta.parse_policy(read_kept(account, policy_copy(identifier)) or b"", identifier)
        except (OSError, UnsafeFileError, FormatError):
            return ()
    return tuple(descriptor for descriptor, _ in policy.slots)


def _in_use(account: Account, identifier: str) -> set[str]:
    """The protectors of all other policies."""
    return {found for mount, name in store.policies(account) if name != identifier for found in protectors_of(account, mount, name)}


def _unlink(mount: str, kind: str, name: str) -> None:
    try:
        directory = store.open_metadata(mount, kind, (0,))
    except FileNotFoundError:
        return
    try:
        os.unlink(name, dir_fd=directory)
        os.fsync(directory)
    except FileNotFoundError:
        pass
    finally:
        os.close(directory)
