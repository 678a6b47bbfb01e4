"""From a password to the kernel keys of an eCryptfs home, and to a new key file for another password."""

from __future__ import annotations

import os

from pam_pyhome.backends import ecryptfs_store as store
from pam_pyhome.backends import kept
from pam_pyhome.backends.base import LEAST_KEY
from pam_pyhome.errors import FormatError, StorageError, UnsafeFileError, WrongPassphraseError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats.ecryptfs_authtok import emit_auth_token
from pam_pyhome.formats.ecryptfs_key import SALT_DEFAULT, SALT_FNEK, SALT_SIZE, derive_key, wrapping_passphrase
from pam_pyhome.formats.ecryptfs_wrapped import emit_wrapped, parse_wrapped, unwrap, wrap
from pam_pyhome.formats.opened import OpenedHome, Rewrite
from pam_pyhome.kernel import cipher, digest
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account
    from pam_pyhome.formats.ecryptfs_key import DerivedKey
    from pam_pyhome.formats.ecryptfs_layout import Signatures

    Keys = tuple[tuple[str, bytes], ...]


class Attempt(Record):
    """What one key file gave: the mount passphrase, the kernel keys, and whether the file is of the weak version 1.

    `by_key`: it was a recovery key, not the password, so that it says nothing about the key file.
    """

    passphrase: bytes
    keys: Keys
    weak: bool = False
    by_key: bool = False

    def __repr__(self) -> str:
        """Never the passphrase."""
        return "Attempt(hidden)"


def unlock(account: Account, password: bytes, *, exact: bool, rewrap: bytes | None, backend: str) -> OpenedHome:
    """See `Backend.unlock`."""
    live, used, attempt = open_any(account, password, exact=exact)
    change = _prepare(live, used, attempt, password, rewrap)
    return OpenedHome(account.name, backend, attempt.keys, change, attempt.by_key and change is None)


def open_any(account: Account, password: bytes, *, exact: bool) -> tuple[bytes, bytes, Attempt]:
    """The live key file, the one that opens, and what that gives. Errors as of `Backend.unlock`.

    The live one is tried first, then, unless `exact`, the copy that was good at the last login; then whether it is a recovery key.
    """
    live, trouble = read_live(account)
    recorded = read_signatures(account)
    wrong: WrongPassphraseError | None = None
    for content in _candidates(account, live, exact=exact and trouble is None):
        try:
            return live, content, open_wrapped(content, password, recorded, salts_of(account))
        except WrongPassphraseError as error:
            wrong = error
        except FormatError as error:
            trouble = trouble or error
    found = _open_with_key(account, password, recorded)
    if found is not None:
        return live, live, found
    raise wrong or trouble or WrongPassphraseError()


def _open_with_key(account: Account, answer: bytes, recorded: tuple[Signatures, ...]) -> Attempt | None:
    """What opens if the answer is a recovery key; None if not."""
    if len(answer) < LEAST_KEY:
        return None
    from pam_pyhome.backends import ecryptfs_recovery  # noqa: PLC0415 - an ordinary password does not come here

    return ecryptfs_recovery.open_with_key(account, answer, recorded)


def read_live(account: Account) -> tuple[bytes, FormatError | UnsafeFileError | StorageError | None]:
    """The live key file as it is, and what is wrong with it (a file that cannot be read at all counts as missing)."""
    try:
        content = store.read(account, layout.WRAPPED)
        parse_wrapped(content)
    except OSError as error:
        return store.MISSING, store.explain(error)
    except UnsafeFileError as error:
        return store.MISSING, error
    except FormatError as error:
        return content, error
    return content, None


def _candidates(account: Account, live: bytes, *, exact: bool) -> tuple[bytes, ...]:
    """The key files to try, without repetition."""
    kept = None if exact else store.read_kept(account, layout.WRAPPED)
    return tuple(dict.fromkeys(content for content in (live, kept) if content))


def read_signatures(account: Account) -> tuple[Signatures, ...]:
    """What `Private.sig` says, and what the good copy of it says if that differs. StorageError if neither is usable."""
    trouble = "there is no such file"
    found = []
    for read in (store.read, store.read_kept):
        try:
            content = read(account, layout.SIGNATURES)
            if content is not None:
                found.append(layout.parse_signatures(content))
        except (OSError, UnsafeFileError, FormatError) as error:
            trouble = getattr(error, "reason", None) or str(error)
    if not found:
        raise StorageError(layout.SIGNATURES, trouble)
    return tuple(dict.fromkeys(found))


def salts_of(account: Account) -> tuple[bytes, ...]:
    """The salts to try for the file key and for version 1 wraps: the user's own first, then everybody's."""
    rc = store.read_rc(account)
    try:
        own = layout.parse_salt(rc) if rc is not None else None
    except FormatError:
        own = None
    return (SALT_DEFAULT,) if own is None or own == SALT_DEFAULT else (own, SALT_DEFAULT)


def open_wrapped(content: bytes, password: bytes, recorded: tuple[Signatures, ...], salts: tuple[bytes, ...]) -> Attempt:
    """Open one key file. WrongPassphraseError if the password does not, or what comes out is not this home's."""
    wrapped = parse_wrapped(content)
    wrapping = wrapping_passphrase(password)
    if not wrapping or b"\0" in wrapping:
        raise WrongPassphraseError
    wrong: WrongPassphraseError | None = None
    for salt in salts if wrapped.version == 1 else (wrapped.salt,):
        try:
            passphrase = unwrap(wrapped, derive_key(wrapping, salt, digest.stretch), cipher.aes128_ecb_decrypt)
        except WrongPassphraseError as error:
            wrong = error
        else:
            return Attempt(passphrase, kernel_keys(passphrase, recorded, salts), wrapped.version == 1)
    raise wrong or WrongPassphraseError()


def kernel_keys(passphrase: bytes, recorded: tuple[Signatures, ...], salts: tuple[bytes, ...]) -> Keys:
    """Both kernel keys as (signature, payload), filename key first as ecryptfs-utils adds them.

    FormatError unless their signatures are recorded together: the wrap has no authentication of its own.
    """
    for salt in salts:
        fekek, fnek = _derive_both(passphrase, salt)
        key = (fekek.signature, emit_auth_token(fekek, salt))
        if layout.Signatures(fekek.signature, fnek.signature) in recorded:
            return ((fnek.signature, emit_auth_token(fnek, SALT_FNEK)), key)
        if layout.Signatures(fekek.signature) in recorded:
            return (key,)
    raise FormatError(layout.WRAPPED, f"opens, but not to the key that {layout.SIGNATURES} names")


def _derive_both(passphrase: bytes, salt: bytes) -> tuple[DerivedKey, DerivedKey]:
    """The file key and the filename key, stretched at the same time."""
    first, second = digest.stretch_both(salt + passphrase, SALT_FNEK + passphrase)
    return derive_key(passphrase, salt, _known(first)), derive_key(passphrase, SALT_FNEK, _known(second))


def _known(stretched: bytes) -> Callable[[bytes], bytes]:
    """A stretch function whose result is known already."""
    return lambda _data: stretched


def _prepare(live: bytes, used: bytes, attempt: Attempt, password: bytes, rewrap: bytes | None) -> Rewrite | None:
    """The change that the live key file needs: another password, a stronger version, or the copy that proved to be good."""
    if rewrap is not None:
        return Rewrite(live, wrapped_for(attempt.passphrase, rewrap))
    if attempt.by_key:
        return None  # it is not to become the password
    if attempt.weak:
        return Rewrite(live, wrapped_for(attempt.passphrase, password))
    return None if used == live else Rewrite(live, used)


def wrapped_for(passphrase: bytes, password: bytes) -> bytes:
    """A version 2 key file in which `password` wraps the mount passphrase, under a new salt. PassphraseLengthError."""
    salt = os.urandom(SALT_SIZE)
    wrapping_key = derive_key(wrapping_passphrase(password), salt, digest.stretch, role="new password")
    return emit_wrapped(wrap(passphrase, wrapping_key, salt, cipher.aes128_ecb_encrypt))


def change_password(account: Account, old: bytes, new: bytes) -> int:
    """See `Backend.change_password`. What `old` opens is kept as the good copy until the next login with `new`."""
    opened = unlock(account, old, exact=False, rewrap=new, backend="")
    if opened.rewrite is None:
        raise StorageError(layout.WRAPPED, "no new key file was made")
    keep_good(account, opened.rewrite.expected, old)
    store.recreate_config(account)
    store.replace(account, layout.WRAPPED, opened.rewrite.content)
    return 0


def keep_good(account: Account, content: bytes, old: bytes) -> None:
    """Keep a file that is to be replaced: as the good copy if `old` opens it, else only as the previous one."""
    if content in (store.MISSING, store.read_kept(account, layout.WRAPPED)):
        return
    try:
        open_wrapped(content, old, read_signatures(account), salts_of(account))
    except (WrongPassphraseError, FormatError):
        kept.keep(account, store.PREVIOUS, content)
    else:
        kept.keep(account, layout.WRAPPED, content)
