"""Many files made durable at once."""

from __future__ import annotations

import ctypes
import os

from pam_pyhome.kernel.libc import check, proto


def sync_file_system(fd: int) -> None:
    """Write everything of the file system that `fd` is on to disk. OSError if that fails."""
    check(proto(None, "syncfs", ctypes.c_int, ctypes.c_int)(fd), "syncfs")


def sync_below(directory: str) -> None:
    """The same for the file system that a directory is on. A file system that is stacked on another one is not enough. OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        sync_file_system(fd)
    finally:
        os.close(fd)
