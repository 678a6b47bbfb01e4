"""Another password for an fscrypt home, or the same one at other costs: its login protector, wrapped anew."""

from __future__ import annotations

from pam_pyhome.backends import approved, fscrypt_renew, kept, update_facts
from pam_pyhome.backends import fscrypt_protectors as protectors
from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.fscrypt_costs import configured, for_new
from pam_pyhome.backends.fscrypt_find import find_home, protector_copy, read_kept
from pam_pyhome.backends.fscrypt_keep import login_home, replace
from pam_pyhome.backends.fscrypt_unlock import is_proved, open_protector, protector_for, try_all
from pam_pyhome.errors import FormatError, UpdateError, WrongPassphraseError
from pam_pyhome.formats import fscrypt_meta as meta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account

_GROWTH = 64  # bytes, for costs that take more room than those before


def reserve(account: Account, old: bytes) -> None:
    """See `Backend.reserve`."""
    home = login_home(account)
    attempt = try_all(account, home, old, exact=False)
    candidate = attempt.candidate
    if candidate.is_recovery:
        fscrypt_renew.reserve(account, home)
        return
    size = len(attempt.content) + _GROWTH
    owner = store.owner_of(candidate.mount, store.PROTECTORS, candidate.descriptor, account)
    store.stage(candidate.mount, store.PROTECTORS, candidate.descriptor, size, owner)
    kept.reserve(account, protector_copy(candidate.descriptor), size)


def change_password(account: Account, old: bytes, new: bytes) -> int:
    """See `Backend.change_password`."""
    home = login_home(account)
    attempt = try_all(account, home, old, exact=False)
    is_approved = is_proved(account, old)
    if attempt.candidate.is_recovery:
        return fscrypt_renew.renew(account, home, attempt, new, is_approved=is_approved)
    content = protector_for(account, attempt, new)
    replace(account, attempt.candidate, attempt.content, content, is_approved=is_approved)
    return 0


def renew_costs(account: Account, ask: Callable[[], bytes]) -> bool:
    """See `Backend.renew_costs`."""
    home = find_home(account)
    if home is not None and not home.follows_login:
        raise UpdateError(account.name, update_facts.NOT_FOLLOWING)
    try:
        costs = configured()
    except FileNotFoundError:
        raise UpdateError(account.name, update_facts.NO_CONF) from None
    password = ask()
    attempt = try_all(account, login_home(account), password, exact=True)
    if meta.parse_protector(attempt.content, attempt.candidate.descriptor).costs == costs:
        return False
    content = protector_for(account, attempt, password, costs)
    meta.parse_protector(content, attempt.candidate.descriptor)
    replace(account, attempt.candidate, attempt.content, content, is_approved=is_proved(account, password))
    return True


def note_typed(account: Account, password: bytes) -> None:
    """See `Backend.note_typed`. What is wrapped is made of chance."""
    approved.begin(account)
    kept.keep(account, _typed(account), protectors.make(account, meta.CUSTOM, "", password, for_new(None)).content)


def _typed(account: Account) -> str:
    """Where that is: beside the copy of the protector."""
    return protector_copy(login_home(account).protectors[0].descriptor) + kept.TYPED


def was_typed(account: Account, password: bytes) -> bool:
    """See `Backend.was_typed`."""
    content = read_kept(account, _typed(account))
    try:
        descriptor = meta.descriptor_of(content or b"")
        open_protector(account.uid, descriptor, content or b"", password)
    except (FormatError, WrongPassphraseError):
        return False
    return True


def add_second(account: Account, old: bytes, second: bytes) -> None:
    """See `Backend.add_second`. Where a recovery key has opened the home, there is nothing that could be wrapped."""
    attempt = try_all(account, login_home(account), old, exact=False)
    if attempt.candidate.is_login:
        approved.begin(account)
        name = protector_copy(attempt.candidate.descriptor) + kept.SECOND
        kept.keep(account, name, protector_for(account, attempt, second))
