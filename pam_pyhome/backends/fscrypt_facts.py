"""What there is to know about an fscrypt home, for people who ask."""

from __future__ import annotations

import os

from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.base import Description
from pam_pyhome.backends.fscrypt_find import find_home, kernel_policy, protector_copy, read_kept
from pam_pyhome.backends.kept_facts import beside
from pam_pyhome.errors import FormatError, PyhomeError
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.formats.facts import LOCKED, OPEN, PARTLY, RECOVERY, Slot
from pam_pyhome.kernel import fscrypt
from pam_pyhome.kernel.holders import holders_below
from pam_pyhome.kernel.process import rights_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account
    from pam_pyhome.backends.fscrypt_find import Candidate

LOGIN, CUSTOM = "login password", "passphrase of its own"
_STATES = {fscrypt.PRESENT: OPEN, fscrypt.INCOMPLETELY_REMOVED: PARTLY}


def describe(account: Account) -> Description:
    """See `Backend.describe`. Where a home is, there is its ciphertext as well."""
    state, device = _state(account)
    with rights_of(account.uid, account.gid):
        home = os.path.realpath(account.home)
    major, minor = (int(part) for part in device.split(":"))
    users = () if state == LOCKED else holders_below(major, minor, home)
    return Description(state, os.fsencode(home), os.fsencode(home), _slots(account), users)


def _state(account: Account) -> tuple[str, str]:
    """How the home is, and the device it is on. OSError."""
    policy = kernel_policy(account)
    with rights_of(account.uid, account.gid):
        directory = store.open_home(account)
        try:
            device = store.device_of(os.fstat(directory))
            if policy is None or policy.version != 2:
                return LOCKED, device
            return _STATES.get(fscrypt.key_status(directory, policy.identifier).state, LOCKED), device
        finally:
            os.close(directory)


def _slots(account: Account) -> tuple[Slot, ...]:
    """The protectors that count. Metadata that cannot be read at all is one that is not usable."""
    try:
        home = find_home(account)
    except PyhomeError as error:
        return (Slot(f"{store.METADATA} of {account.home}", LOGIN, str(error), usable=False),)
    if home is None:
        return ()
    candidates = dict.fromkeys((*home.protectors, *home.recovery))
    copies = [read_kept(account, protector_copy(each.descriptor)) or b"" for each in candidates]
    present = (*(each.live for each in candidates), *copies)
    return (*(_slot(account, each) for each in candidates), *beside(account, protector_copy(""), present, _is_protector))


def _is_protector(name: str, content: bytes) -> bool:
    try:
        meta.parse_protector(content, name.removeprefix(protector_copy("")))
    except FormatError:
        return False
    return True


def _slot(account: Account, candidate: Candidate) -> Slot:
    """A protector, or in its place the good copy, if there is one."""
    name = f"{candidate.mount.rstrip('/')}/{store.METADATA}/{store.PROTECTORS}/{candidate.descriptor}"
    kind = RECOVERY if candidate.is_recovery else LOGIN if candidate.is_login else CUSTOM
    if candidate.trouble is None:
        return Slot(name, kind)
    if read_kept(account, protector_copy(candidate.descriptor)) is None:
        return Slot(name, kind, candidate.trouble.reason, usable=False)
    return Slot(name, kind, f"{candidate.trouble.reason}; the good copy counts in its place")
