"""The PAM module proper, written as for pam_python: six functions of handle, flags and arguments.

The shim calls them only for users who have an encrypted home; what it decides by itself is in docs/design.md, section 4. Each
runs in a process that lives for one phase, so each imports for itself what its phase needs, and no more.
"""

from __future__ import annotations

from pam_pyhome import events
from pam_pyhome.errors import PyhomeError, WireError
from pam_pyhome.formats.settings import parse_tokens
from pam_pyhome.policy.telling import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pam_pyhome.policy.handle import Handle


def pam_sm_authenticate(pamh: Handle, _flags: int, argv: Sequence[bytes]) -> int:
    """Open the home with the password that was typed, and leave the keys for the session."""
    from pam_pyhome.policy import login

    settings = parse_tokens(argv)
    for token in settings.unknown:
        pamh.log(events.SETTING_IGNORED, f"{token} is not known")
    if settings.ssh_unlock:
        return _guarded(pamh, lambda: login.unlock_over_ssh(pamh), pamh.PAM_IGNORE)
    if settings.authenticate:
        return _guarded(pamh, lambda: login.verify(pamh), pamh.PAM_AUTHINFO_UNAVAIL)
    return _guarded(pamh, lambda: login.open_along(pamh, settings.repair, ask=settings.ask), pamh.PAM_IGNORE)


def pam_sm_setcred(pamh: Handle, _flags: int, _argv: Sequence[bytes]) -> int:
    """Nothing: the shim answers as it answered authenticate."""
    return pamh.PAM_IGNORE


def pam_sm_acct_mgmt(pamh: Handle, _flags: int, argv: Sequence[bytes]) -> int:
    """Refuse a job on a locked home, where the administrator chose so."""
    if parse_tokens(argv).jobs != "refuse":
        return pamh.PAM_IGNORE
    from pam_pyhome.policy import sessions

    return _guarded(pamh, lambda: sessions.admit_job(pamh), pamh.PAM_IGNORE)


def pam_sm_open_session(pamh: Handle, _flags: int, argv: Sequence[bytes]) -> int:
    """Mount the home with the keys that authenticate left."""
    from pam_pyhome.policy import sessions

    return _guarded(pamh, lambda: sessions.open_home(pamh, parse_tokens(argv).keyring), pamh.PAM_SUCCESS)


def pam_sm_close_session(pamh: Handle, _flags: int, _argv: Sequence[bytes]) -> int:
    """Lock the home, if no session holds it any more."""
    from pam_pyhome.policy import sessions

    return _guarded(pamh, lambda: sessions.close_home(pamh), pamh.PAM_SUCCESS)


def pam_sm_chauthtok(pamh: Handle, flags: int, _argv: Sequence[bytes]) -> int:
    """Let the new password open the home instead of the old one."""
    from pam_pyhome.policy import passwords

    expired = bool(flags & pamh.PAM_CHANGE_EXPIRED_AUTHTOK)
    phase = passwords.check if flags & pamh.PAM_PRELIM_CHECK else passwords.update
    return _guarded(pamh, lambda: phase(pamh, expired=expired), pamh.PAM_IGNORE)


def _guarded(pamh: Handle, phase: Callable[[], int], otherwise: int) -> int:
    """What `phase` answers; `otherwise` if the home's files are in a state in which nothing can be decided about it."""
    try:
        return phase()
    except WireError:
        raise
    except (PyhomeError, OSError) as error:
        report(pamh, error)
        return otherwise
