"""What is left of an fscrypt home without its directory: the policy, protectors that open nothing else, and claims on its key."""

from __future__ import annotations

import os

from pam_pyhome.backends import fscrypt_protectors
from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.fscrypt_create import FILE, KEY, take_back
from pam_pyhome.backends.fscrypt_find import kernel_policy
from pam_pyhome.errors import FormatError, UnsafeFileError
from pam_pyhome.formats import fscrypt_meta as meta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account
    from pam_pyhome.backends.fscrypt_create import Step


def remove(account: Account, mount: str, identifier: str, protectors: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Remove the metadata of a policy, and the account's claim on its key. Nothing that is gone already is missed. OSError.

    With it go its protectors, and those that are given, unless they may open something else; those are returned. Who may write
    the policy can name any protectors in it, so those that are not the account's own stay.
    """
    take_back((KEY, str(account.uid), str(account.gid), mount, identifier))
    descriptors = {*fscrypt_protectors.of_policy(account, mount, identifier), *protectors}
    in_use = fscrypt_protectors.in_use(account, descriptors, without=identifier)
    # The policy last: as long as it is there, a run that comes after a kill finds the rest.
    is_roots = _owner(mount, store.POLICIES, identifier) == 0
    for descriptor in sorted(descriptors - in_use):
        for place in dict.fromkeys((store.ROOT, mount)):
            if _is_own(account, place, descriptor, is_roots=is_roots):
                store.unlink(place, store.PROTECTORS, descriptor)
        if _owner(mount, store.PROTECTORS, f"{descriptor}.link") in ((account.uid, 0) if is_roots else (account.uid,)):
            store.unlink(mount, store.PROTECTORS, f"{descriptor}.link")
    store.unlink(mount, store.POLICIES, identifier)
    return tuple(sorted(in_use))


def take_back_all(account: Account, steps: tuple[Step, ...]) -> tuple[str, ...]:
    """Take back what `fscrypt_create.create` did for a home that is gone, last first. OSError.

    What may open anything stays: the policy of the account's present home, and protectors that a policy names. Their names.
    """
    stayed = []
    for step in reversed(steps):
        if step[0] == FILE and _may_open(account, step[-2], step[-1]):
            stayed.append(step[-1])
        else:
            take_back(step)
    return tuple(stayed)


def _may_open(account: Account, kind: str, name: str) -> bool:
    if kind == store.POLICIES:
        found = kernel_policy(account)
        return found is not None and found.identifier == name
    return bool(fscrypt_protectors.in_use(account, {name.removesuffix(".link")}))


def _is_own(account: Account, mount: str, descriptor: str, *, is_roots: bool) -> bool:
    """Whether a protector is the account's: its file is, or it is for the login password; or root has made it and the policy."""
    owner = _owner(mount, store.PROTECTORS, descriptor)
    if owner != 0:
        return owner == account.uid
    try:
        protector = meta.parse_protector(store.read(account, mount, store.PROTECTORS, descriptor), descriptor)
    except (OSError, UnsafeFileError, FormatError):
        return False
    return protector.uid == account.uid if protector.source == meta.LOGIN else is_roots


def _owner(mount: str, kind: str, name: str) -> int | None:
    """Whose a metadata file is; None if there is none."""
    try:
        directory = store.open_metadata(mount, kind, (0,))
    except FileNotFoundError:
        return None
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid
    except FileNotFoundError:
        return None
    finally:
        os.close(directory)
