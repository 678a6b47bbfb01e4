"""What a file system says of a file besides stat(2): whether it can be changed at all, whether it is encrypted. See statx(2)."""

from __future__ import annotations

import ctypes
import struct

from pam_pyhome.kernel.libc import check, proto

IMMUTABLE, APPEND, ENCRYPTED = 0x10, 0x20, 0x800

_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_NO_AUTOMOUNT = 0x800
_SIZE = 256
_ATTRIBUTES = struct.Struct("Q")
_OFFSET = 8


class Reader:
    """Asks for the attributes of one file after another."""

    def __init__(self) -> None:
        """Prepare the call once: there may be millions of files."""
        integer, unsigned, text = ctypes.c_int, ctypes.c_uint, ctypes.c_char_p
        self._statx = proto(None, "statx", integer, integer, text, integer, unsigned, text)
        self._buffer = ctypes.create_string_buffer(_SIZE)

    def read(self, path: bytes, within: int = _AT_FDCWD) -> int:
        """The attributes of the file at `path`, which is not followed if it is a link. OSError."""
        check(self._statx(within, path, _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT, 0, self._buffer), "statx")
        found: int = _ATTRIBUTES.unpack_from(self._buffer, _OFFSET)[0]
        return found
