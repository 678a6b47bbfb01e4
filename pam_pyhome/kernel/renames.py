"""Two paths that change places in one step, see renameat2(2)."""

from __future__ import annotations

import ctypes
import os

from pam_pyhome.kernel.libc import check, proto

AT_FDCWD = -100
RENAME_EXCHANGE = 2


def exchange(first: str, second: str) -> None:
    """Let what is at `first` and what is at `second`, on the same file system, change places at once.

    OSError, with EINVAL from a file system that cannot do that.
    """
    integer, text = ctypes.c_int, ctypes.c_char_p
    call = proto(None, "renameat2", integer, integer, text, integer, text, ctypes.c_uint)
    check(call(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE), f"{first}, {second}")
