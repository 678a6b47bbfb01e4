"""What tells a file and its file system from all others, also after a reboot: device numbers do not, and inodes are used again."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct

from pam_pyhome.kernel.filesystems import uuid_of
from pam_pyhome.kernel.libc import check, proto
from pam_pyhome.kernel.mounts import filesystem_magic
from pam_pyhome.record import Record

_GET_GENERATION = 0x80087601  # FS_IOC_GETVERSION
#: ext2 to ext4 and btrfs make their `f_fsid` of the UUID; others make it of the device number.
_LASTING_FSID = frozenset({0xEF53, 0x9123683E})

_AT_EMPTY_PATH = 0x1000
_STATX_BTIME = 0x800
_STATX_SIZE = 256
_BIRTH = struct.Struct("qI")
_BIRTH_OFFSET = 80


class Identity(Record):
    """Of the file system `uuid` and `fsid`, empty if it has none that lasts; of the file the `inode`, its `generation` and birth.

    The last two count how often the inode was used before, and are "" where the file system does not know.
    """

    uuid: str
    fsid: str
    inode: int
    generation: str
    born: str


def identity_of(fd: int) -> Identity:
    """The identity of the directory or file open as `fd`, which must not be O_PATH. OSError."""
    magic = filesystem_magic(fd)
    fsid = f"{os.fstatvfs(fd).f_fsid:x}" if magic in _LASTING_FSID else ""
    return Identity(uuid_of(fd) or "", fsid, os.fstat(fd).st_ino, _generation(fd), _birth(fd))


def _generation(fd: int) -> str:
    argument = bytearray(8)
    try:
        fcntl.ioctl(fd, _GET_GENERATION, argument)
    except OSError:
        return ""
    return argument[:4].hex()


def _birth(fd: int) -> str:
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    integer, unsigned, text = ctypes.c_int, ctypes.c_uint, ctypes.c_char_p
    statx = proto(None, "statx", integer, integer, text, integer, unsigned, text)
    check(statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, buffer), "statx")
    if not int.from_bytes(buffer.raw[:4], "little") & _STATX_BTIME:
        return ""
    seconds, rest = _BIRTH.unpack_from(buffer, _BIRTH_OFFSET)
    return f"{seconds}.{rest:09}"
