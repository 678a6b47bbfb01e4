"""Copies of one mount, without what is mounted in it, see open_tree(2): to look below mounts, and to show a directory elsewhere."""

from __future__ import annotations

import ctypes
import os
import struct

from pam_pyhome.kernel.libc import check, proto

AT_FDCWD = -100
OPEN_TREE_CLONE = 1
READ_ONLY, NO_SUID, NO_DEVICES, NO_EXEC = 1, 2, 4, 8  # MOUNT_ATTR_…

_AT_EMPTY_PATH = 0x1000
_MOVE_FROM_DESCRIPTOR, _MOVE_TO_DESCRIPTOR = 4, 0x40
_ATTRIBUTES = struct.Struct("=QQQQ")  # to set, to clear, propagation, user name space


def open_below(path: str) -> int:
    """O_PATH descriptor of `path` in a copy of its mount that nobody else sees and that ends with the descriptor.

    OSError, with ENOSYS from a kernel older than 5.2.
    """
    call = proto(None, "open_tree", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return check(call(AT_FDCWD, os.fsencode(path), OPEN_TREE_CLONE | os.O_CLOEXEC), "open_tree")


def show(directory: int, target: int, wanted: int) -> None:
    """Mount the directory open as `directory` on the one open as `target`, from the first moment with these attributes.

    OSError, with ENOSYS from a kernel older than 5.12.
    """
    text, integer, unsigned = ctypes.c_char_p, ctypes.c_int, ctypes.c_uint
    open_tree = proto(None, "open_tree", integer, integer, text, unsigned)
    set_attributes = proto(None, "mount_setattr", integer, integer, text, unsigned, text, ctypes.c_size_t)
    move = proto(None, "move_mount", integer, integer, text, integer, text, unsigned)
    tree = check(open_tree(directory, b"", OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH), "open_tree")
    try:
        packed = _ATTRIBUTES.pack(wanted, 0, 0, 0)
        check(set_attributes(tree, b"", _AT_EMPTY_PATH, packed, len(packed)), "mount_setattr")
        check(move(tree, b"", target, b"", _MOVE_FROM_DESCRIPTOR | _MOVE_TO_DESCRIPTOR), "move_mount")
    finally:
        os.close(tree)
