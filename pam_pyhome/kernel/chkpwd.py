"""Whether a password is the one that somebody logs in with, as far as this machine can tell by itself."""

from __future__ import annotations

import os

from pam_pyhome.kernel import child

_HELPERS = ("/usr/sbin/unix_chkpwd", "/usr/bin/unix_chkpwd", "/sbin/unix_chkpwd")
_SECONDS = 20.0
_WRONG = 7  # PAM_AUTH_ERR


def is_wrong(user: str, password: bytes) -> bool:
    """Whether it is certainly not the login password; where that is kept elsewhere, nothing is certain. OSError."""
    helper = next((path for path in _HELPERS if os.path.exists(path)), None)
    if helper is None:
        return False
    return child.run(helper, user, "nullok", seconds=_SECONDS, said=password + b"\0") == _WRONG
