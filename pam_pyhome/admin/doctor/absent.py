"""A home that ought to be there and is not, or that is another user's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pam_pyhome.admin.doctor.finding import FAIL, WARN, Finding
from pam_pyhome.backends import fscrypt_find, kept, registry
from pam_pyhome.errors import PyhomeError
from pam_pyhome.formats.words import quoted
from pam_pyhome.policy import absent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.backends.base import Account


def check(account: Account) -> Iterator[Finding]:
    """Why the home is not there, or not the account's; nothing if it is."""
    found = absent.explain(account) if _is_missing(account) else None
    if found is not None and found.why == absent.NOT_THERE:
        unmounted = absent.unmounted_above(account.home)
        mend = f"mount {quoted(unmounted)}" if unmounted else ""
        yield Finding(FAIL, "keys.absent", account.name, f"has a home that {found.reason(account)}", mend)
    elif found is not None:
        yield Finding(FAIL, "keys.owner", account.name, f"has a home that {found.reason(account)}", _mend_owner(account, found))
    elif _has_copies(account) and _is_gone(account):
        place = kept.place_of(account)
        text = f"has copies of key files in {place}, but no encrypted home, though its file system is mounted"
        yield Finding(WARN, "keys.left", account.name, text, f"mv {quoted(place)} /root/")
    else:
        yield from _about_uid(account)


def _is_missing(account: Account) -> bool:
    """Whether no backend finds the home, or nothing opens it."""
    try:
        backend = registry.find(account)
        return backend is None or not any(slot.usable for slot in backend.describe(account).slots)
    except (OSError, PyhomeError):
        return True


def _is_gone(account: Account) -> bool:
    try:
        return registry.find(account) is None
    except (OSError, PyhomeError):
        return False


def _has_copies(account: Account) -> bool:
    return bool(kept.names(account))


def _about_uid(account: Account) -> Iterator[Finding]:
    """Protectors that open for us, because their files are the account's, and not for pam_fscrypt."""
    try:
        uids = fscrypt_find.former_uids(account)
    except (OSError, PyhomeError):
        return
    for uid in uids:
        text = f"has a login protector that says it is uid {uid}'s, so pam_fscrypt does not open it"
        yield Finding(WARN, "keys.uid", account.name, text, _adopt(account))


def _mend_owner(account: Account, found: absent.Absence) -> str:
    """What root has put there, and nobody else could change since, is given to the account; all else is for `pyhome adopt`."""
    if found.uid != 0:
        return _adopt(account)
    return f"chown --recursive --no-dereference {quoted(account.name)}: {quoted(found.path)}"


def _adopt(account: Account) -> str:
    return f"pyhome adopt {quoted(account.name)}"
