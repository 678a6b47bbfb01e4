"""Recovery keys of eCryptfs homes.

One is the mount passphrase itself, as `pyhome create` makes it, or the 32 hexadecimal digits of ecryptfs-utils: it opens the home
for ever. Another can be made at any time: it wraps the mount passphrase in a file of its own, `recovery-wrapped-passphrase`, of
which ecryptfs-utils take no notice, and which `ecryptfs-unwrap-passphrase` reads.
"""

from __future__ import annotations

from pam_pyhome.backends import approved, kept
from pam_pyhome.backends import ecryptfs_store as store
from pam_pyhome.backends.ecryptfs_unlock import (
    Attempt,
    is_proved,
    kernel_keys,
    open_any,
    open_wrapped,
    read_signatures,
    salts_of,
    wrapped_for,
)
from pam_pyhome.errors import FormatError, UnsafeFileError, WrongPassphraseError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats.ecryptfs_wrapped import parse_wrapped
from pam_pyhome.formats.recovery import typed_key, typed_passphrase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account
    from pam_pyhome.formats.ecryptfs_layout import Signatures


def open_with_key(
    account: Account, answer: bytes, recorded: tuple[Signatures, ...], *, proved: bool = False
) -> Attempt | None:
    """What opens if the answer is a recovery key of the home, however it is typed; None if not.

    Whatever comes out counts only if it has the signatures in `recorded`. `proved`: only an approved file counts.
    """
    passphrase = typed_passphrase(answer)
    if passphrase is None:
        return None
    salts = salts_of(account)
    try:
        return Attempt(passphrase, kernel_keys(passphrase, recorded, salts), by_key=True)
    except FormatError:
        pass  # not the mount passphrase
    key = typed_key(answer)
    content = _wrapped(account)
    if key is None or content is None or (proved and not approved.is_approved(account, layout.RECOVERY, content)):
        return None
    try:
        found = open_wrapped(content, key, recorded, salts)
    except (WrongPassphraseError, FormatError):
        return None
    return Attempt(found.passphrase, found.keys, by_key=True)


def _wrapped(account: Account) -> bytes | None:
    """The file, or the copy of it where it is not sound: a key that was replaced opens nothing."""
    try:
        live = store.read(account, layout.RECOVERY)
        parse_wrapped(live)
    except (OSError, UnsafeFileError, FormatError):
        return store.read_kept(account, layout.RECOVERY)
    return live


def try_recovery(account: Account, key: bytes) -> None:
    """See `Backend.try_recovery`."""
    if open_with_key(account, key, read_signatures(account)) is None:
        raise WrongPassphraseError


def new_recovery(account: Account, answer: bytes, key: str) -> None:
    """See `Backend.new_recovery`. The copy of the old file goes first, so that it cannot come back."""
    _, _, attempt = open_any(account, answer, exact=True)
    content = wrapped_for(attempt.passphrase, key.encode("ascii"))
    store.recreate_config(account)
    approved.begin(account)
    is_approved = is_proved(account, answer)
    kept.forget(account, layout.RECOVERY)
    approved.approve(account, layout.RECOVERY, *([content] if is_approved else []))
    store.replace(account, layout.RECOVERY, content)
    kept.keep(account, layout.RECOVERY, content)

