"""Argon2id, by the reference implementation's own library. Its Python bindings would take longer to import."""

from __future__ import annotations

import ctypes
import os

from pam_pyhome.errors import StorageError
from pam_pyhome.kernel.libc import proto

_LIBRARY = "libargon2.so.1"


def argon2id(password: bytes, salt: bytes, *, time: int, memory: int, parallelism: int, size: int) -> bytes:
    """`size` bytes from `time` passes over `memory` KiB in `parallelism` lanes. StorageError if the library fails or is missing."""
    number, text, length = ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t
    try:
        call = proto(
            _LIBRARY, "argon2id_hash_raw", ctypes.c_int, number, number, number, text, length, text, length, text, length
        )
    except OSError as error:
        raise StorageError(_LIBRARY, str(error)) from None
    out = ctypes.create_string_buffer(size)
    code = call(time, memory, parallelism, password, len(password), salt, len(salt), out, size)
    if code != 0:
        raise StorageError("Argon2", f"error {code} with {time} passes over {memory} KiB in {parallelism} lanes")
    return out.raw


def machine_memory() -> int:
    """The machine's memory in KiB."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
