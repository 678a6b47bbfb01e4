"""How fscrypt wraps keys and names them.

::

    wrapping key        = Argon2id(passphrase, salt, costs), 32 bytes
    encryption key, MAC key = HKDF-SHA256(wrapping key), 32 bytes each, without salt or info
    ciphertext          = AES-256-CTR(encryption key, IV, key);  mac = HMAC-SHA256(MAC key, IV || ciphertext)
    protector's name    = the first 8 bytes of SHA-512(SHA-512(protector key))
    policy's name       = HKDF-SHA512(policy key), 16 bytes, with the info "fscrypt", NUL, 1, as the kernel names the key

The wrapping key wraps a protector key of 32 random bytes, and that wraps policy keys of 64. HKDF is RFC 5869, HMAC RFC 2104.
"""

from __future__ import annotations

import hashlib

from pam_pyhome.errors import FormatError, WrongPassphraseError
from pam_pyhome.formats.fscrypt_meta import IV_SIZE, WrappedKey
from pam_pyhome.secret import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Ctr = Callable[[bytes, bytes, bytes], bytes]  # key, IV, data

KEY_SIZE = 32
_BLOCKS = {"sha256": (64, 32), "sha512": (128, 64)}
_INNER, _OUTER = bytes(byte ^ 0x36 for byte in range(256)), bytes(byte ^ 0x5C for byte in range(256))
_IDENTIFIER_INFO = b"fscrypt\0\x01"


def hmac(algorithm: str, key: bytes, data: bytes) -> bytes:
    """HMAC with ``sha256`` or ``sha512`` of a key that is no longer than a block. The hmac module takes longer to import."""
    block, _ = _BLOCKS[algorithm]
    padded = key.ljust(block, b"\0")
    if len(padded) > block:
        raise ValueError(f"a key of {len(key)} bytes")
    inner = hashlib.new(algorithm, padded.translate(_INNER) + data).digest()
    return hashlib.new(algorithm, padded.translate(_OUTER) + inner).digest()


def hkdf(algorithm: str, secret: bytes, info: bytes, size: int) -> bytes:
    """`size` bytes of HKDF without salt."""
    _, digest = _BLOCKS[algorithm]
    extracted = hmac(algorithm, bytes(digest), secret)
    out = last = b""
    for counter in range(1, -(-size // digest) + 1):
        last = hmac(algorithm, extracted, last + info + bytes([counter]))
        out += last
    return out[:size]


def wrap(wrapping_key: bytes, key: bytes, iv: bytes, ctr: Ctr) -> WrappedKey:
    """`key` under the 32 bytes of `wrapping_key`, with 16 random bytes as `iv`."""
    if len(wrapping_key) != KEY_SIZE or len(iv) != IV_SIZE:
        raise ValueError("a wrapping key has 32 bytes and an IV 16")
    both = hkdf("sha256", wrapping_key, b"", 2 * KEY_SIZE)
    ciphertext = ctr(both[:KEY_SIZE], iv, key)
    return WrappedKey(iv, ciphertext, hmac("sha256", both[KEY_SIZE:], iv + ciphertext))


def unwrap(wrapping_key: bytes, wrapped: WrappedKey, ctr: Ctr) -> bytes:
    """The key in `wrapped`. WrongPassphraseError if it was wrapped with another key, or is damaged: that cannot be told apart."""
    both = hkdf("sha256", wrapping_key, b"", 2 * KEY_SIZE)
    mac = hmac("sha256", both[KEY_SIZE:], wrapped.iv + wrapped.ciphertext)
    if Secret(mac) != Secret(wrapped.mac):
        raise WrongPassphraseError
    return ctr(both[:KEY_SIZE], wrapped.iv, wrapped.ciphertext)


def protector_name(key: bytes) -> str:
    """The descriptor of a protector, 16 hexadecimal digits."""
    return hashlib.sha512(hashlib.sha512(key).digest()).digest()[:8].hex()


def policy_name(key: bytes) -> str:
    """The identifier of a version 2 policy, 32 hexadecimal digits."""
    return hkdf("sha512", key, _IDENTIFIER_INFO, 16).hex()


def check_name(what: str, found: str, expected: str) -> None:
    """FormatError unless a key that was unwrapped is the one that its file is named after."""
    if found != expected:
        raise FormatError(what, "opens, but not to the key that it is named after")
