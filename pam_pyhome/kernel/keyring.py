"""Kernel keyrings through libkeyutils. Each function is one call; all raise OSError. See keyctl(2), add_key(2)."""

from __future__ import annotations

import ctypes

from pam_pyhome.kernel.libc import check, proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KEY_SPEC_PROCESS_KEYRING = -2
KEY_SPEC_SESSION_KEYRING = -3
KEY_SPEC_USER_KEYRING = -4

KEY_POS_ALL = 0x3F000000
KEY_POS_VIEW = 0x01000000
KEY_POS_READ = 0x02000000
KEY_POS_WRITE = 0x04000000
KEY_POS_SEARCH = 0x08000000
KEY_USR_VIEW = 0x00010000
KEY_USR_READ = 0x00020000
KEY_USR_SEARCH = 0x00080000
KEY_USR_SETATTR = 0x00200000

LARGEST_PAYLOAD = 32767
_LIBRARY = "libkeyutils.so.1"
_SERIAL = ctypes.c_int32


def _function(name: str, *argtypes: object) -> Callable[..., int]:
    """Libkeyutils' `name`; all answer a long that is -1 on failure."""
    return proto(_LIBRARY, name, ctypes.c_long, *argtypes)


def add_key(kind: str, description: str, payload: bytes, ring: int) -> int:
    """Create or update the key `kind`;`description` in `ring`; its serial."""
    call = _function("add_key", ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, _SERIAL)
    call.restype = _SERIAL  # type: ignore[attr-defined]  # a ctypes function is a Callable with attributes
    return check(call(kind.encode(), description.encode(), payload, len(payload), ring), f"add_key {description}")


def search(ring: int, kind: str, description: str) -> int:
    """The serial of `kind`;`description` in `ring` or a keyring in it. OSError with ENOKEY if there is none."""
    call = _function("keyctl_search", _SERIAL, ctypes.c_char_p, ctypes.c_char_p, _SERIAL)
    return check(call(ring, kind.encode(), description.encode(), 0), f"search {description}")


def read(serial: int) -> bytes:
    """The payload of a key that may be read."""
    buffer = ctypes.create_string_buffer(LARGEST_PAYLOAD)
    call = _function("keyctl_read", _SERIAL, ctypes.c_char_p, ctypes.c_size_t)
    size = check(call(serial, buffer, LARGEST_PAYLOAD), f"read key {serial}")
    return buffer.raw[:size]


def set_timeout(serial: int, seconds: int) -> None:
    """Let the key expire `seconds` from now."""
    check(_function("keyctl_set_timeout", _SERIAL, ctypes.c_uint)(serial, seconds), f"timeout of key {serial}")


def set_permissions(serial: int, permissions: int) -> None:
    """Replace the key's permission mask."""
    check(_function("keyctl_setperm", _SERIAL, ctypes.c_uint32)(serial, permissions), f"permissions of key {serial}")


def revoke(serial: int) -> None:
    """Make the key unusable wherever it is linked."""
    check(_function("keyctl_revoke", _SERIAL)(serial), f"revoke key {serial}")


def link(serial: int, ring: int) -> None:
    """Link a key or keyring into `ring`."""
    check(_function("keyctl_link", _SERIAL, _SERIAL)(serial, ring), f"link key {serial}")


def unlink(serial: int, ring: int) -> None:
    """Take a key or keyring out of `ring`."""
    check(_function("keyctl_unlink", _SERIAL, _SERIAL)(serial, ring), f"unlink key {serial}")
