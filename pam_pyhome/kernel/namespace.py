"""A mount namespace of this process's own: what it mounts, nobody else sees, and it is gone when the process is."""

from __future__ import annotations

import ctypes

from pam_pyhome.kernel.libc import check, proto
from pam_pyhome.kernel.process import CLONE_NEWNS

_MS_REC, _MS_PRIVATE = 0x4000, 0x40000


def leave_mounts() -> None:
    """Have own mounts from now on, and those of before as they are. OSError."""
    text = ctypes.c_char_p
    check(proto(None, "unshare", ctypes.c_int, ctypes.c_int)(CLONE_NEWNS), "unshare")
    mount = proto(None, "mount", ctypes.c_int, text, text, text, ctypes.c_ulong, text)
    check(mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount")
