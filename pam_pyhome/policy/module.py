"""The PAM module proper, written as for pam_python: six functions of handle, flags and arguments.

The shim calls them only for users who have an encrypted home; what it decides by itself is in docs/design.md, section 4.
"""

from __future__ import annotations

from pam_pyhome.formats.settings import parse_tokens
from pam_pyhome.policy import login, passwords, sessions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pam_pyhome.policy.handle import Handle


def pam_sm_authenticate(pamh: Handle, _flags: int, argv: Sequence[bytes]) -> int:
    """Open the home with the password that was typed, and leave the keys for the session."""
    settings = parse_tokens(argv)
    for token in settings.unknown:
        pamh.log_warning(f"module argument {token} is not known, ignoring")
    return login.verify(pamh) if settings.authenticate else login.open_along(pamh)


def pam_sm_setcred(pamh: Handle, _flags: int, _argv: Sequence[bytes]) -> int:
    """Nothing: the shim answers as it answered authenticate."""
    return pamh.PAM_IGNORE


def pam_sm_acct_mgmt(pamh: Handle, _flags: int, argv: Sequence[bytes]) -> int:
    """Refuse a job on a locked home, where the administrator chose so."""
    return sessions.admit_job(pamh) if parse_tokens(argv).jobs == "refuse" else pamh.PAM_IGNORE


def pam_sm_open_session(pamh: Handle, _flags: int, argv: Sequence[bytes]) -> int:
    """Mount the home with the keys that authenticate left."""
    sessions.open_home(pamh, parse_tokens(argv).keyring)
    return pamh.PAM_SUCCESS


def pam_sm_close_session(pamh: Handle, _flags: int, _argv: Sequence[bytes]) -> int:
    """Lock the home, if no session holds it any more."""
    sessions.close_home(pamh)
    return pamh.PAM_SUCCESS


def pam_sm_chauthtok(pamh: Handle, flags: int, _argv: Sequence[bytes]) -> int:
    """Let the new password open the home instead of the old one."""
    if flags & pamh.PAM_PRELIM_CHECK:
        return passwords.check(pamh, expired=bool(flags & pamh.PAM_CHANGE_EXPIRED_AUTHTOK))
    return passwords.update(pamh)
