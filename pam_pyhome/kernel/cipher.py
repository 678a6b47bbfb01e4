"""AES-128-ECB over whole blocks, as the wrapped passphrase needs it. Nothing else may use this mode."""

from __future__ import annotations

import ctypes

from pam_pyhome.errors import StorageError
from pam_pyhome.kernel import libcrypto

BLOCK = 16


def aes128_ecb_encrypt(key: bytes, data: bytes) -> bytes:
    """`data` (a multiple of 16 bytes) encrypted under the 16-byte `key`, without padding."""
    return _run(key, data, encrypt=1)


def aes128_ecb_decrypt(key: bytes, data: bytes) -> bytes:
    """`data` (a multiple of 16 bytes) decrypted under the 16-byte `key`, without padding."""
    return _run(key, data, encrypt=0)


def _run(key: bytes, data: bytes, *, encrypt: int) -> bytes:
    """One cipher context from beginning to end; StorageError if libcrypto refuses, ValueError for wrong sizes."""
    if len(key) != BLOCK or len(data) % BLOCK:
        raise ValueError("AES-128-ECB takes a 16-byte key and whole blocks")
    pointer, integer, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    context = libcrypto.function("EVP_CIPHER_CTX_new", pointer)()
    start = libcrypto.function("EVP_CipherInit_ex", integer, pointer, pointer, pointer, text, text, integer)
    pad = libcrypto.function("EVP_CIPHER_CTX_set_padding", integer, pointer, integer)
    update = libcrypto.function("EVP_CipherUpdate", integer, pointer, text, ctypes.POINTER(integer), text, integer)
    output, size = ctypes.create_string_buffer(len(data) + BLOCK), integer(0)
    try:
        cipher = libcrypto.fetch("CIPHER", b"AES-128-ECB")
        if start(context, cipher, None, key, None, encrypt) != 1 or pad(context, 0) != 1:
            raise StorageError("OpenSSL", "AES-128-ECB did not start")
        if update(context, output, ctypes.byref(size), data, len(data)) != 1 or size.value != len(data):
            raise StorageError("OpenSSL", "AES-128-ECB failed")
        return output.raw[: size.value]
    finally:
        libcrypto.function("EVP_CIPHER_CTX_free", None, pointer)(context)
