"""Many files made durable at once."""

from __future__ import annotations

import ctypes

from pam_pyhome.kernel.libc import check, proto


def sync_file_system(fd: int) -> None:
    """Write everything of the file system that `fd` is on to disk. OSError if that fails."""
    check(proto(None, "syncfs", ctypes.c_int, ctypes.c_int)(fd), "syncfs")
