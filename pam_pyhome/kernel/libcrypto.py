"""The libcrypto that this Python's own `_hashlib` is linked with: always there, always of one version with Python."""

from __future__ import annotations

import ctypes

from pam_pyhome.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_POINTER = ctypes.c_void_p


def function(name: str, restype: Any, *argtypes: Any) -> Callable[..., Any]:
    """Libcrypto's `name`, found through the extension module: dlsym on its handle searches what it is linked with."""
    import _hashlib  # noqa: PLC0415 - loading libcrypto takes 3 ms, and most phases need none of it

    handle = ctypes.CDLL(getattr(_hashlib, "__file__", None))
    found = handle[name]
    found.restype = restype
    found.argtypes = argtypes
    return found


def fetch(kind: str, algorithm: bytes) -> int:
    """The `EVP_CIPHER` or `EVP_MD` (`kind`) called `algorithm`; StorageError if this OpenSSL has none."""
    pointer = function(f"EVP_{kind}_fetch", _POINTER, _POINTER, ctypes.c_char_p, ctypes.c_char_p)(None, algorithm, None)
    if not pointer:
        raise StorageError("OpenSSL", f"{algorithm.decode()} is not available")
    return int(pointer)
