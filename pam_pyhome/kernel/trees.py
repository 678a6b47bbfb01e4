"""Looking below mounts: a private copy of one mount, without what is mounted in it, see open_tree(2)."""

from __future__ import annotations

import ctypes
import os

from pam_pyhome.kernel.libc import check, proto

AT_FDCWD = -100
OPEN_TREE_CLONE = 1


def open_below(path: str) -> int:
    """O_PATH descriptor of `path` in a copy of its mount that nobody else sees and that ends with the descriptor.

    OSError, with ENOSYS from a kernel older than 5.2.
    """
    call = proto(None, "open_tree", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return check(call(AT_FDCWD, os.fsencode(path), OPEN_TREE_CLONE | os.O_CLOEXEC), "open_tree")
