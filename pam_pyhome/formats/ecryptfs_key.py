"""Keys that eCryptfs derives from a passphrase, and the signatures that name them.

::

    h         = SHA-512(salt || passphrase), then 65535 times SHA-512 of the result
    key       = h (64 bytes; AES-128 takes the first 16)
    signature = the first 8 bytes of SHA-512(h) in lower-case hexadecimal

A passphrase is 1 to 64 bytes without NUL, whatever they encode. The derivation is that of ecryptfs-utils 111,
``generate_passphrase_sig`` in libecryptfs.
"""

from __future__ import annotations

from pam_pyhome.errors import PassphraseLengthError
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ITERATIONS = 65536
KEY_SIZE = 64
SALT_SIZE = 8
SIGNATURE_SIZE = 16
PASSPHRASE_MAX = 64

SALT_DEFAULT = bytes.fromhex("0011223344556677")
# Not the bytes 99 88 77 66 55 44 33 22: ecryptfs-utils hands the hexadecimal text where eight raw bytes are expected,
# so the first eight characters are the salt of every filename key in the world.
SALT_FNEK = b"99887766"


class DerivedKey(Record):
    """A stretched passphrase: the 64 bytes of `key`, and the `signature` (16 hexadecimal digits) that names it."""

    key: bytes
    signature: str

    def __repr__(self) -> str:
        """Show the signature only."""
        return f"DerivedKey(signature={self.signature!r})"


def stretch_reference(data: bytes) -> bytes:
    """65536 times SHA-512, 64 bytes: what the fast implementations are measured against."""
    import hashlib  # noqa: PLC0415 - takes 3 ms, and a session that only mounts needs none of it

    digest = data
    for _ in range(ITERATIONS):
        digest = hashlib.sha512(digest).digest()
    return digest


def derive_key(
    passphrase: bytes, salt: bytes, stretch: Callable[[bytes], bytes] = stretch_reference, *, role: str = "passphrase"
) -> DerivedKey:
    """Stretch `passphrase` with the 8 bytes of `salt`.

    Raises PassphraseLengthError, which will name the `role`, unless the passphrase has 1 to 64 bytes and no NUL.
    """
    check_passphrase(passphrase, role)
    if len(salt) != SALT_SIZE:
        raise ValueError(f"a salt has {SALT_SIZE} bytes, not {len(salt)}")
    key = stretch(salt + passphrase)
    return DerivedKey(key, signature_of(key))


def check_passphrase(passphrase: bytes, role: str) -> None:
    """Raise PassphraseLengthError unless `passphrase` has 1 to 64 bytes and no NUL."""
    if not 1 <= len(passphrase) <= PASSPHRASE_MAX or b"\0" in passphrase:
        raise PassphraseLengthError(role, len(passphrase))


def signature_of(key: bytes) -> str:
    """The 16 lower-case hexadecimal digits that name a stretched key."""
    import hashlib  # noqa: PLC0415 - as above

    return hashlib.sha512(key).digest()[: SIGNATURE_SIZE // 2].hex()


def is_signature(text: bytes) -> bool:
    """Whether `text` is 16 lower-case hexadecimal digits."""
    return len(text) == SIGNATURE_SIZE and not text.strip(b"0123456789abcdef")


def wrapping_passphrase(password: bytes) -> bytes:
    """What a login password becomes as a wrapping passphrase.

    Up to 64 bytes it is the password itself, as everywhere. eCryptfs knows nothing longer, so a longer password is
    replaced by the 64 lower-case hexadecimal digits of its SHA-256: here the password opens the home, and with other
    tools those digits do.
    """
    import hashlib  # noqa: PLC0415 - as above

    return password if len(password) <= PASSPHRASE_MAX else hashlib.sha256(password).hexdigest().encode()
