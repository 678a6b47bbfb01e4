"""The wrapped-passphrase file: a mount passphrase, encrypted by a key made of another one, mostly the login password.

========  ==========  =================================================
version   offset      content
========  ==========  =================================================
1         0           signature of the wrapping key, 16 hexadecimal digits
          16          ciphertext: 16, 32, 48 or 64 bytes
2         0           ``:``
          1           2 (binary)
          2           salt of the wrapping key, 8 bytes
          10          signature of the wrapping key, 16 hexadecimal digits
          26          ciphertext: 16, 32, 48 or 64 bytes
========  ==========  =================================================

Version 1 uses a fixed salt (or that of ``~/.ecryptfsrc``). The cipher is AES-128-ECB with the first 16 bytes of the
wrapping key; the plaintext is the passphrase followed by NULs up to a multiple of 16. Nothing authenticates the
ciphertext: believe an unwrapped passphrase only when its signature is the one in ``Private.sig``. Written by
ecryptfs-utils (version 1 until 2014, version 2 since).
"""

from __future__ import annotations

from pam_pyhome.errors import FormatError, UnknownVersionError, WrongPassphraseError
from pam_pyhome.formats.ecryptfs_key import SALT_DEFAULT, SALT_SIZE, SIGNATURE_SIZE, check_passphrase
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.formats.ecryptfs_key import DerivedKey

WHAT = "wrapped passphrase"
BLOCK_SIZE = 16
CIPHERTEXT_MAX = 64
MAX_SIZE = 90
_HEADER_SIZE = 2 + SALT_SIZE + SIGNATURE_SIZE
_HEX_DIGITS = b"0123456789abcdefABCDEF"


class WrappedPassphrase(Record):
    """The fields of the file. `salt` is 8 bytes; for version 1, which does not store it, the default one."""

    version: int
    salt: bytes
    signature: str
    ciphertext: bytes


def parse_wrapped(data: bytes) -> WrappedPassphrase:
    """Read a whole file. Raises UnknownVersionError for a version other than 2, FormatError for other defects."""
    if data[:1] != b":":
        return _parse_fields(1, SALT_DEFAULT, data)
    if len(data) > 1 and data[1] != 2:
        raise UnknownVersionError(WHAT, data[1])
    if len(data) < _HEADER_SIZE:
        raise FormatError(WHAT, f"only {len(data)} bytes long")
    return _parse_fields(2, data[2 : 2 + SALT_SIZE], data[2 + SALT_SIZE :])


def _parse_fields(version: int, salt: bytes, data: bytes) -> WrappedPassphrase:
    signature, ciphertext = data[:SIGNATURE_SIZE], data[SIGNATURE_SIZE:]
    _check_fields(signature, ciphertext)
    return WrappedPassphrase(version, salt, signature.decode("ascii"), ciphertext)


def _check_fields(signature: bytes, ciphertext: bytes) -> None:
    if len(signature) != SIGNATURE_SIZE or signature.strip(_HEX_DIGITS):
        raise FormatError(WHAT, "no signature of 16 hexadecimal digits")
    if not ciphertext or len(ciphertext) > CIPHERTEXT_MAX or len(ciphertext) % BLOCK_SIZE:
        raise FormatError(WHAT, f"{len(ciphertext)} bytes of ciphertext; there must be 16, 32, 48 or 64")


def emit_wrapped(wrapped: WrappedPassphrase) -> bytes:
    """Write the file's bytes, at most MAX_SIZE. Raises FormatError for fields that no file can have."""
    signature = wrapped.signature.encode("ascii", "replace")
    _check_fields(signature, wrapped.ciphertext)
    if wrapped.version == 1:
        return signature + wrapped.ciphertext
    if wrapped.version != 2:
        raise UnknownVersionError(WHAT, wrapped.version)
    if len(wrapped.salt) != SALT_SIZE:
        raise FormatError(WHAT, f"a salt of {len(wrapped.salt)} bytes")
    return b":\x02" + wrapped.salt + signature + wrapped.ciphertext


def unwrap(wrapped: WrappedPassphrase, wrapping_key: DerivedKey, decrypt: Callable[[bytes, bytes], bytes]) -> bytes:
    """The mount passphrase, 1 to 64 bytes. `decrypt(key, ciphertext)` is AES-128 in ECB mode.

    Raises WrongPassphraseError if the file was wrapped with another key, FormatError if the ciphertext is damaged.
    """
    if wrapped.signature != wrapping_key.signature:
        raise WrongPassphraseError("the passphrase is not the one that the mount passphrase was wrapped with")
    plaintext = decrypt(wrapping_key.key[:BLOCK_SIZE], wrapped.ciphertext)
    passphrase, _, padding = plaintext.partition(b"\0")
    if not passphrase or padding.strip(b"\0") or len(plaintext) - len(passphrase) >= BLOCK_SIZE:
        raise FormatError(WHAT, "the ciphertext is damaged")
    return passphrase


def wrap(
    passphrase: bytes, wrapping_key: DerivedKey, salt: bytes, encrypt: Callable[[bytes, bytes], bytes]
) -> WrappedPassphrase:
    """A version 2 file for a mount passphrase. `salt` is the 8 random bytes that the wrapping key was derived with.

    `encrypt(key, plaintext)` is AES-128 in ECB mode. Raises PassphraseLengthError unless the passphrase has 1 to 64
    bytes and no NUL.
    """
    check_passphrase(passphrase, "mount passphrase")
    if len(salt) != SALT_SIZE:
        raise ValueError(f"a salt has {SALT_SIZE} bytes, not {len(salt)}")
    plaintext = passphrase + bytes(-len(passphrase) % BLOCK_SIZE)
    return WrappedPassphrase(2, salt, wrapping_key.signature, encrypt(wrapping_key.key[:BLOCK_SIZE], plaintext))
