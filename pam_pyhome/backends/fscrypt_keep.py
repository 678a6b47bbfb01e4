"""Writing the metadata of an fscrypt home after a login has proved it: a prepared protector, and the good copies."""

from __future__ import annotations

from pam_pyhome import events
from pam_pyhome.backends import approved, kept, replacing
from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.fscrypt_find import (
    MISSING,
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
from pam_pyhome.kernel.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account
    from pam_pyhome.events import Event
    from pam_pyhome.formats.opened import OpenedHome, Rewrite


def login_home(account: Account) -> Home:
    """The home, whose login protector can be replaced, or is lost and can be made anew. StorageError, OldPolicyError if not."""
    home = find_home(account)
    if home is None or not (home.follows_login or all(candidate.is_recovery for candidate in home.protectors)):
        raise StorageError(account.home, "is not encrypted for the login password")
    if home.policy.version != 2:
        raise OldPolicyError(account.home)
    return home


def rewrite(account: Account, change: Rewrite) -> Event | None:
    """See `Backend.rewrite`."""
    from pam_pyhome.formats.fscrypt_renewal import is_renewal  # noqa: PLC0415 - an ordinary login rewrites nothing

    if is_renewal(change.content):
        from pam_pyhome.backends.fscrypt_renew import put_prepared  # noqa: PLC0415 - nor uses a recovery key

        return events.KEY_FILE_RENEWED if put_prepared(account, change) else None
    candidate = next((one for one in login_home(account).protectors if one.live == change.expected), None)
    if candidate is None:
        return None
    meta.parse_protector(change.content, candidate.descriptor)
    name = protector_copy(candidate.descriptor)
    copy = read_kept(account, name) or candidate.live
    if change.content == copy:
        if candidate.live:
            kept.set_aside(account, name, candidate.live)
        _put(account, candidate, change.content)
        return events.KEY_FILE_RESTORED
    used = candidate.live if candidate.trouble is None else copy
    is_approved = approved.is_approved(account, name, used)
    replace(account, candidate, used, change.content, is_approved=is_approved, repair=True)
    return events.KEY_FILE_RENEWED


def replace(
    account: Account, candidate: Candidate, used: bytes, content: bytes, *, is_approved: bool, repair: bool = False
) -> None:
    """Put a protector in the place of the one that is there, and let the copies follow; `used` is the one to keep.

    See `replacing.replace`. OSError, UnsafeFileError.
    """
    name = protector_copy(candidate.descriptor)

    def put() -> None:
        """The file itself."""
        _put(account, candidate, content)

    there = aside(account, candidate, used)
    replacing.replace(account, name, there, content, put, is_approved=is_approved, repair=repair)


def aside(account: Account, candidate: Candidate, used: bytes) -> tuple[bytes, ...]:
    """What there is to keep of a protector: the copy and the live file, last the one that opens."""
    found = (read_kept(account, protector_copy(candidate.descriptor)), candidate.live)
    return tuple(each for each in (*(one for one in found if one != used), used) if each)


def _put(account: Account, candidate: Candidate, content: bytes) -> None:
    owner = store.owner_of(candidate.mount, store.PROTECTORS, candidate.descriptor, account)
    store.replace(candidate.mount, store.PROTECTORS, candidate.descriptor, content, owner)


def remember(account: Account, opened: OpenedHome) -> None:
    """See `Backend.remember`. How a recovery key opens the home says nothing about the login protector."""
    home = find_home(account)
    if home is None:
        return
    approved.begin(account)
    _remember_policy(account, home)
    made = _made(opened)
    for candidate in dict.fromkeys((*home.protectors, *home.recovery)):
        if candidate.trouble is None:
            _remember_protector(account, home, candidate, opened)
        if opened.vouched and candidate.live in made:
            approved.approve(account, protector_copy(candidate.descriptor), candidate.live)


def _made(opened: OpenedHome) -> tuple[bytes, ...]:
    """What has opened the home, or was made of it just now."""
    from pam_pyhome.formats.fscrypt_renewal import is_renewal, parse_renewal  # noqa: PLC0415 - see above

    if opened.rewrite is None:
        return (opened.used,) if opened.used else ()
    content = opened.rewrite.content
    return (parse_renewal(content).protector if is_renewal(content) else content,)


def _remember_protector(account: Account, home: Home, candidate: Candidate, opened: OpenedHome) -> None:
    """Keep a protector that has opened the home, and forget what it has replaced; keep another if there is no copy of it."""
    name = protector_copy(candidate.descriptor)
    copy = read_kept(account, name)
    if candidate.live == opened.used and opened.rewrite is None:
        if copy in (None, candidate.live):
            kept.drop_previous(account, name)
            if not candidate.is_recovery:
                _forget_replaced(account, home)
        else:
            kept.set_aside(account, name, copy or MISSING)
        kept.keep(account, name, candidate.live)
    elif copy is None and not candidate.is_login:
        kept.keep(account, name, candidate.live)


def _forget_replaced(account: Account, home: Home) -> None:
    """Forget earlier policies, with which protectors that are out of it would open the home; keep those protectors, for others.

    What else such a protector opens may be on a disk that is not here.
    """
    kept.drop_previous(account, policy_copy(home.policy.identifier))
    present = {protector_copy(descriptor) for descriptor, _ in home.policy.slots}
    for each in kept.names(account):
        name, previous, _ = each.partition(kept.PREVIOUS)
        if previous and name.startswith(protector_copy("")) and name not in present:
            kept.retire(account, name)


def _remember_policy(account: Account, home: Home) -> None:
    """Keep the policy's file, or put it back from the copy that `find_home` took in its place.

    How a protector wraps a policy's key does not change: where file and copy differ in that, the file is damaged.
    """
    identifier = home.policy.identifier
    try:
        meta.parse_policy(store.read(account, home.mount, store.POLICIES, identifier), identifier)
    except (FileNotFoundError, UnsafeFileError, FormatError):
        put_policy(account, home.mount, home.policy)
        log(events.KEY_FILE_RESTORED, f"policy {identifier}", account)
    spare = dict(home.spare.slots) if home.spare is not None else {}
    if all(spare.get(name, wrapped) == wrapped for name, wrapped in home.policy.slots):
        kept.keep(account, policy_copy(identifier), home.policy.message.emit())
