"""Whether a password is the one that somebody logs in with, as far as this machine can tell by itself."""

from __future__ import annotations

import os

from pam_pyhome.kernel import child

_HELPERS = ("/usr/sbin/unix_chkpwd", "/usr/bin/unix_chkpwd", "/sbin/unix_chkpwd")
_SECONDS = 20.0
_RIGHT, _WRONG = 0, 7  # PAM_SUCCESS, PAM_AUTH_ERR


def is_wrong(user: str, password: bytes) -> bool:
    """Whether it is certainly not the login password; where that is kept elsewhere, nothing is certain. OSError."""
    return _ask(user, password) == _WRONG


def is_right(user: str, password: bytes) -> bool:
    """Whether it certainly is the login password. OSError."""
    return bool(password) and _ask(user, password) == _RIGHT


def _ask(user: str, password: bytes) -> int | None:
    """What the helper of pam_unix answers; None without it."""
    helper = next((path for path in _HELPERS if os.path.exists(path)), None)
    if helper is None:
        return None
    return child.run(helper, user, "nullok", seconds=_SECONDS, said=password + b"\0")
