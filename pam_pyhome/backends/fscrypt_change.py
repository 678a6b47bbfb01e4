"""Another password for an fscrypt home: its login protector, wrapped anew."""

from __future__ import annotations

from pam_pyhome.backends import fscrypt_renew, kept
from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.fscrypt_find import MISSING, PREVIOUS, protector_copy, read_kept
from pam_pyhome.backends.fscrypt_keep import login_home, replace
from pam_pyhome.backends.fscrypt_unlock import Attempt, protector_for, try_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account


def reserve(account: Account, old: bytes) -> None:
    """See `Backend.reserve`."""
    home = login_home(account)
    attempt = try_all(account, home, old, exact=False)
    candidate = attempt.candidate
    if candidate.is_recovery:
        fscrypt_renew.reserve(account, home)
        return
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


def change_password(account: Account, old: bytes, new: bytes) -> int:
    """See `Backend.change_password`. What `old` opens is kept as the good copy until the next login with `new`."""
    home = login_home(account)
    attempt = try_all(account, home, old, exact=False)
    if attempt.candidate.is_recovery:
        return fscrypt_renew.renew(account, home, attempt, new)
    content = protector_for(account, attempt, new)
    _keep_good(account, attempt)
    replace(account, attempt.candidate, content)
    return 0
