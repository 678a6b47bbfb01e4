"""From a password to the kernel keys of an eCryptfs home, and to a new key file for another password."""

from __future__ import annotations

import os

from pam_pyhome import events
from pam_pyhome.backends import approved, kept, replacing
from pam_pyhome.backends import ecryptfs_store as store
from pam_pyhome.backends.base import LEAST_KEY
from pam_pyhome.errors import (
    FormatError,
    PassphraseLengthError,
    PyhomeError,
    StorageError,
    UnsafeFileError,
    WrongPassphraseError,
)
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats.ecryptfs_authtok import emit_auth_token
from pam_pyhome.formats.ecryptfs_key import SALT_DEFAULT, SALT_FNEK, SALT_SIZE, derive_key, wrapping_passphrase
from pam_pyhome.formats.ecryptfs_wrapped import MAX_SIZE, emit_wrapped, parse_wrapped, unwrap, wrap
from pam_pyhome.formats.opened import OpenedHome, Rewrite
from pam_pyhome.kernel import cipher, digest
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account
    from pam_pyhome.errors import UnprovedError
    from pam_pyhome.events import Event
    from pam_pyhome.formats.ecryptfs_key import DerivedKey
    from pam_pyhome.formats.ecryptfs_layout import Signatures

    Keys = tuple[tuple[str, bytes], ...]
    Trouble = FormatError | UnsafeFileError | StorageError | UnprovedError


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


def unlock(
    account: Account, password: bytes, *, exact: bool, proved: bool, rewrap: bytes | None, backend: str
) -> OpenedHome:
    """See `Backend.unlock`."""
    live, used, attempt = open_any(account, password, exact=exact, proved=proved)
    change = None if proved else _prepare(account, live, used, attempt, password, rewrap)
    by_key = attempt.by_key and change is None
    return OpenedHome(account.name, backend, attempt.keys, change, by_key, b"" if attempt.by_key else used)


def open_any(account: Account, password: bytes, *, exact: bool, proved: bool = False) -> tuple[bytes, bytes, Attempt]:
    """The live key file, the one that opens, and what that gives. Errors as of `Backend.unlock`.

    The live one is tried first, then, unless `exact`, what else counts; then whether it is a recovery key.
    """
    live, trouble = read_live(account)
    recorded = read_signatures(account, proved=proved)
    salts = salts_of(account)
    if proved and not trouble and not approved.is_approved(account, layout.WRAPPED, live):
        trouble = approved.unproved(account, layout.WRAPPED)
    wrong: WrongPassphraseError | None = None
    candidates = [] if proved and trouble else [live]
    while candidates:
        content = candidates.pop(0)
        try:
            return live, content, open_wrapped(content, password, recorded, salts)
        except WrongPassphraseError as error:
            wrong = error
        except FormatError as error:
            trouble = trouble or error
        if content == live and not exact:
            candidates = _others(account, live, damaged=trouble is not None)
    found = _open_with_key(account, password, recorded, proved=proved)
    if found is not None:
        return live, live, found
    raise wrong or trouble or WrongPassphraseError()


def _open_with_key(account: Account, answer: bytes, recorded: tuple[Signatures, ...], *, proved: bool) -> Attempt | None:
    """What opens if the answer is a recovery key; None if not."""
    if len(answer) < LEAST_KEY:
        return None
    from pam_pyhome.backends import ecryptfs_recovery  # noqa: PLC0415 - an ordinary password does not come here

    return ecryptfs_recovery.open_with_key(account, answer, recorded, proved=proved)


def read_live(account: Account) -> tuple[bytes, Trouble | None]:
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


def _others(account: Account, live: bytes, *, damaged: bool) -> list[bytes]:
    """What counts besides the live key file: its copy if it is damaged or missing, and what is there for another password."""
    copy = store.read_kept(account, layout.WRAPPED) or b""
    is_repaired = kept.read(account, layout.WRAPPED + kept.REPAIRED) is not None
    suffixes = (kept.PREVIOUS, kept.SECOND) if is_repaired else (kept.SECOND,)
    others = [kept.read(account, layout.WRAPPED + suffix) for suffix in suffixes]
    found = ([copy] if damaged or _is_damaged(live, copy) else []) + [each for each in others if each]
    return [each for each in dict.fromkeys(found) if each not in (live, b"")]


def _is_damaged(live: bytes, copy: bytes) -> bool:
    """Whether the live key file is the copy with some bits changed, and not another wrap: no two have a part in common."""
    try:
        parsed, other = parse_wrapped(live), parse_wrapped(copy)
    except FormatError:
        return True
    return parsed.ciphertext == other.ciphertext or parsed.signature == other.signature


def read_signatures(account: Account, *, proved: bool = False) -> tuple[Signatures, ...]:
    """What `Private.sig` says, and what the good copy of it says if that differs. StorageError if neither is usable.

    `proved`: only what is approved; UnprovedError if nothing is.
    """
    trouble: str | None = None
    found = []
    for read in (store.read, store.read_kept):
        try:
            content = read(account, layout.SIGNATURES)
            if content is not None and proved and not approved.is_approved(account, layout.SIGNATURES, content):
                continue
            if content is not None:
                found.append(layout.parse_signatures(content))
        except (OSError, UnsafeFileError, FormatError) as error:
            trouble = getattr(error, "reason", None) or str(error)
    if not found and proved and trouble is None:
        raise approved.unproved(account, layout.SIGNATURES)
    if not found:
        raise StorageError(layout.SIGNATURES, trouble or "there is no such file")
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
        if layout.Signatures(fekek.signature, fekek.signature) in recorded:
            return (key, key)  # as `mount -t ecryptfs` suggests: the same one for names
    raise FormatError(layout.WRAPPED, f"opens, but not to the key that {layout.SIGNATURES} names")


def _derive_both(passphrase: bytes, salt: bytes) -> tuple[DerivedKey, DerivedKey]:
    """The file key and the filename key, stretched at the same time."""
    first, second = digest.stretch_both(salt + passphrase, SALT_FNEK + passphrase)
    return derive_key(passphrase, salt, _known(first)), derive_key(passphrase, SALT_FNEK, _known(second))


def _known(stretched: bytes) -> Callable[[bytes], bytes]:
    """A stretch function whose result is known already."""
    return lambda _data: stretched


def _prepare(
    account: Account, live: bytes, used: bytes, attempt: Attempt, password: bytes, rewrap: bytes | None
) -> Rewrite | None:
    """The change that the live key file needs: another password, a stronger version, or the copy that proved to be good."""
    if rewrap is not None:
        return Rewrite(live, wrapped_for(attempt.passphrase, rewrap))
    if attempt.by_key:
        return None  # it is not to become the password
    if used == live:
        return Rewrite(live, wrapped_for(attempt.passphrase, password)) if attempt.weak else None
    return Rewrite(live, used) if used == store.read_kept(account, layout.WRAPPED) else None


def wrapped_for(passphrase: bytes, password: bytes) -> bytes:
    """A version 2 key file in which `password` wraps the mount passphrase, under a new salt. PassphraseLengthError."""
    salt = os.urandom(SALT_SIZE)
    wrapping_key = derive_key(wrapping_passphrase(password), salt, digest.stretch, role="new password")
    return emit_wrapped(wrap(passphrase, wrapping_key, salt, cipher.aes128_ecb_encrypt))


def reserve(account: Account, old: bytes) -> None:
    """See `Backend.reserve`."""
    live, used, _ = open_any(account, old, exact=False)

    def stage() -> None:
        """Where the user's rights lead."""
        store.recreate_config(account)
        store.reserve(account, MAX_SIZE)

    replacing.reserve(account, layout.WRAPPED, _aside(account, live, used), MAX_SIZE, stage)


def change_password(account: Account, old: bytes, new: bytes) -> int:
    """See `Backend.change_password`."""
    live, used, attempt = open_any(account, old, exact=False)
    content = wrapped_for(attempt.passphrase, new)
    _replace_wrapped(account, live, used, content, is_approved=is_proved(account, old))
    return 0


def is_proved(account: Account, answer: bytes) -> bool:
    """Whether the answer opens the home by files that are approved."""
    try:
        open_any(account, answer, exact=True, proved=True)
    except (PyhomeError, OSError):
        return False
    return True


def rewrite(account: Account, change: Rewrite) -> Event | None:
    """See `Backend.rewrite`."""
    live, trouble = read_live(account)
    if live != change.expected:
        return None
    copy = store.read_kept(account, layout.WRAPPED) or live
    if change.content == copy:
        if live:
            kept.set_aside(account, layout.WRAPPED, live)
        store.recreate_config(account)
        store.replace(account, layout.WRAPPED, change.content)
        return events.KEY_FILE_RESTORED
    best = copy if trouble else live
    is_approved = approved.is_approved(account, layout.WRAPPED, best)
    _replace_wrapped(account, live, best, change.content, is_approved=is_approved, repair=True)
    return events.KEY_FILE_RENEWED


def _replace_wrapped(
    account: Account, live: bytes, used: bytes, content: bytes, *, is_approved: bool, repair: bool = False
) -> None:
    """Put a key file in the place of `live`, and let the copies follow; `used` is the one to keep, if it is another one."""

    def put() -> None:
        """Where the user's rights lead."""
        store.recreate_config(account)
        store.replace(account, layout.WRAPPED, content)

    aside = _aside(account, live, used)
    replacing.replace(account, layout.WRAPPED, aside, content, put, is_approved=is_approved, repair=repair)


def _aside(account: Account, live: bytes, used: bytes) -> tuple[bytes, ...]:
    """What there is to keep: the copy and the live key file, last the one that opens."""
    found = (store.read_kept(account, layout.WRAPPED), live)
    return tuple(each for each in (*(one for one in found if one != used), used) if each)


def approve(account: Account, password: bytes) -> None:
    """See `Backend.approve`."""
    _, used, attempt = open_any(account, password, exact=True)
    approved.begin(account)
    approve_used(account, b"" if attempt.by_key else used, attempt.keys)


def approve_used(account: Account, used: bytes, keys: Keys) -> None:
    """The key file that has opened the home, if it is still that, and the file that names its keys. OSError."""
    if used and read_live(account)[0] == used:
        approved.approve(account, layout.WRAPPED, used)
    for read in (store.read, store.read_kept):
        try:
            content = read(account, layout.SIGNATURES) or b""
            named = layout.parse_signatures(content)
        except (OSError, UnsafeFileError, FormatError):
            continue
        if named in (layout.Signatures(keys[-1][0]), layout.Signatures(keys[-1][0], keys[0][0])):
            approved.approve(account, layout.SIGNATURES, content)
            return


def note_typed(account: Account, password: bytes) -> None:
    """See `Backend.note_typed`. What is wrapped is made of chance."""
    approved.begin(account)
    kept.keep(account, layout.WRAPPED + kept.TYPED, wrapped_for(os.urandom(16).hex().encode("ascii"), password))


def was_typed(account: Account, password: bytes) -> bool:
    """See `Backend.was_typed`."""
    content = kept.read(account, layout.WRAPPED + kept.TYPED)
    try:
        wrapped = parse_wrapped(content or b"")
        found = derive_key(wrapping_passphrase(password), wrapped.salt, digest.stretch)
    except (FormatError, PassphraseLengthError):
        return False
    return found.signature == wrapped.signature


def add_second(account: Account, old: bytes, second: bytes) -> None:
    """See `Backend.add_second`."""
    _, _, attempt = open_any(account, old, exact=False)
    approved.begin(account)
    kept.keep(account, layout.WRAPPED + kept.SECOND, wrapped_for(attempt.passphrase, second))
