"""AES as the formats of key files need it: AES-128-ECB over whole blocks for eCryptfs only, AES-256-CTR for fscrypt."""

from __future__ import annotations

import ctypes

from pam_pyhome.errors import StorageError
from pam_pyhome.kernel import libcrypto

BLOCK = 16


def aes128_ecb_encrypt(key: bytes, data: bytes) -> bytes:
    """`data` (a multiple of 16 bytes) encrypted under the 16-byte `key`, without padding."""
    return _ecb(key, data, encrypt=1)


def aes128_ecb_decrypt(key: bytes, data: bytes) -> bytes:
    """`data` (a multiple of 16 bytes) decrypted under the 16-byte `key`, without padding."""
    return _ecb(key, data, encrypt=0)


def aes256_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    """`data`, of any size, encrypted or decrypted under the 32-byte `key`; `iv` is the first counter block, big-endian."""
    if len(key) != 2 * BLOCK or len(iv) != BLOCK:
        raise ValueError("AES-256-CTR takes a 32-byte key and a 16-byte counter")
    return _run(b"AES-256-CTR", key, iv, data, encrypt=1)


def _ecb(key: bytes, data: bytes, *, encrypt: int) -> bytes:
    """ValueError for wrong sizes."""
    if len(key) != BLOCK or len(data) % BLOCK:
        raise ValueError("AES-128-ECB takes a 16-byte key and whole blocks")
    return _run(b"AES-128-ECB", key, None, data, encrypt=encrypt)


def _run(algorithm: bytes, key: bytes, iv: bytes | None, data: bytes, *, encrypt: int) -> bytes:
    """One cipher context from beginning to end; StorageError if libcrypto refuses."""
    pointer, integer, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    context = libcrypto.function("EVP_CIPHER_CTX_new", pointer)()
    start = libcrypto.function("EVP_CipherInit_ex", integer, pointer, pointer, pointer, text, text, integer)
    pad = libcrypto.function("EVP_CIPHER_CTX_set_padding", integer, pointer, integer)
    update = libcrypto.function("EVP_CipherUpdate", integer, pointer, text, ctypes.POINTER(integer), text, integer)
    output, size = ctypes.create_string_buffer(len(data) + BLOCK), integer(0)
    try:
        cipher = libcrypto.fetch("CIPHER", algorithm)
        if start(context, cipher, None, key, iv, encrypt) != 1 or pad(context, 0) != 1:
            raise StorageError("OpenSSL", f"{algorithm.decode()} did not start")
        if update(context, output, ctypes.byref(size), data, len(data)) != 1 or size.value != len(data):
            raise StorageError("OpenSSL", f"{algorithm.decode()} failed")
        return output.raw[: size.value]
    finally:
        libcrypto.function("EVP_CIPHER_CTX_free", None, pointer)(context)
