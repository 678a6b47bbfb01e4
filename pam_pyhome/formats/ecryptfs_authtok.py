"""The payload of an eCryptfs kernel key: ``struct ecryptfs_auth_tok`` of ``linux/ecryptfs.h``, 740 packed bytes.

======  ====  =====================================  ===============================
offset  size  field                                  value
======  ====  =====================================  ===============================
0       2     version                                4 (0.4, the only one the kernel takes)
2       2     token_type                             0 (password)
4       624   flags, session_key, reserved           0
628     4     password.password_bytes                0
632     4     password.hash_algo                     10 (SHA-512 in OpenPGP's numbering)
636     4     password.hash_iterations               0
640     4     session_key_encryption_key_bytes       64
644     4     password.flags                         2 (the key below is set)
648     64    session_key_encryption_key             the key
712     17    password.signature                     the signature and a NUL
729     8     password.salt                          the salt
737     3     padding                                0
======  ====  =====================================  ===============================

Integers are in the machine's byte order.
"""

from __future__ import annotations

import struct

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.ecryptfs_key import KEY_SIZE, SALT_SIZE, DerivedKey, signature_of
from pam_pyhome.record import Record

PAYLOAD_SIZE = 740
WHAT = "authentication token"
_LAYOUT = "=HH624sIIIII64s16sx8s3s"
_VERSION = 4
_PASSWORD = 0
_SHA512 = 10
_KEY_IS_SET = 2
_FIXED = (_VERSION, _PASSWORD, bytes(624), 0, _SHA512, 0, KEY_SIZE, _KEY_IS_SET)


class AuthToken(Record):
    """What is not constant in a token: `key` (64 bytes), its `signature` (16 hexadecimal digits), `salt` (8 bytes)."""

    key: bytes
    signature: str
    salt: bytes

    def __repr__(self) -> str:
        """Show the signature only."""
        return f"AuthToken(signature={self.signature!r})"


def emit_auth_token(key: DerivedKey, salt: bytes) -> bytes:
    """The payload for a key that was derived with `salt`. Raises FormatError for fields of wrong sizes."""
    if len(key.key) != KEY_SIZE or len(salt) != SALT_SIZE or key.signature != signature_of(key.key):
        raise FormatError(WHAT, "the key, its signature and the salt do not belong together")
    return struct.pack(_LAYOUT, *_FIXED, key.key, key.signature.encode("ascii"), salt, bytes(3))


def parse_auth_token(data: bytes) -> AuthToken:
    """Read a payload of exactly 740 bytes as `emit_auth_token` writes it. Raises FormatError for any other."""
    if len(data) != PAYLOAD_SIZE:
        raise FormatError(WHAT, f"{len(data)} bytes instead of {PAYLOAD_SIZE}")
    key, signature, salt = struct.unpack(_LAYOUT, data)[len(_FIXED) : -1]
    token = AuthToken(key, signature.decode("ascii", "replace"), salt)
    if token.signature != signature_of(key):
        raise FormatError(WHAT, "the signature is not that of the key")
    if emit_auth_token(DerivedKey(key, token.signature), salt) != data:
        raise FormatError(WHAT, "a constant field has another value")
    return token
