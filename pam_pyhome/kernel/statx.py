"""What is known of a file without asking anybody for it: the server of somebody's file system may be made never to answer."""

from __future__ import annotations

import ctypes
import os
import struct

from pam_pyhome.kernel.libc import check, proto
from pam_pyhome.record import Record

AT_FDCWD = -100
_SYMLINK_NOFOLLOW = 0x100
_NO_AUTOMOUNT = 0x800
_DONT_SYNC = 0x4000
_ATTR_ENCRYPTED = 0x800
_SIZE = 256
_FIELDS = struct.Struct("=8xQ4xI8xQ96xII")


class Known(Record):
    """Some of it. The `device` is sure; of a file system that must be asked, the rest is what was known last."""

    device: str
    inode: int
    uid: int
    is_encrypted: bool


def look(path: str | bytes, *, within: int = AT_FDCWD, follow: bool = True) -> Known:
    """What is known of the file at `path`. OSError."""
    buffer = ctypes.create_string_buffer(_SIZE)
    integer, unsigned = ctypes.c_int, ctypes.c_uint
    statx = proto(None, "statx", integer, integer, ctypes.c_char_p, integer, unsigned, ctypes.c_char_p)
    flags = _DONT_SYNC | _NO_AUTOMOUNT | (0 if follow else _SYMLINK_NOFOLLOW)
    check(statx(within, os.fsencode(path), flags, 0, buffer), os.fsdecode(path))
    attributes, uid, inode, major, minor = _FIELDS.unpack_from(buffer)
    return Known(f"{major}:{minor}", inode, uid, bool(attributes & _ATTR_ENCRYPTED))
