"""The password phase: the home's key file follows the login password, and neither changes without the other."""

from __future__ import annotations

from pam_pyhome.backends import registry
from pam_pyhome.errors import FormatError, PyhomeError, WrongPassphraseError
from pam_pyhome.formats.opened import parse_opened
from pam_pyhome.policy import handover, messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Backend
    from pam_pyhome.policy.handle import Handle

HOME_PASSWORD = "home-password"


def check(pamh: Handle, *, expired: bool) -> int:
    """See, before any module changes anything, that the present password opens the home and a new key file would fit.

    Where a login depends on the change (`expired`), a home that is out of step does not prevent it.
    """
    backend = _backend(pamh)
    old = pamh.oldauthtok
    if backend is None or not old:
        return pamh.PAM_IGNORE
    verdict = _check_old(pamh, backend, old)
    if verdict == pamh.PAM_SUCCESS:
        verdict = _check_room(pamh, backend)
    return pamh.PAM_IGNORE if expired or verdict == pamh.PAM_SUCCESS else verdict


def _backend(pamh: Handle) -> Backend | None:
    """The backend of a home that follows the login password, or None."""
    backend = registry.find(pamh.account)
    return None if backend is None or backend.wishes(pamh.account).own_passphrase else backend


def _check_old(pamh: Handle, backend: Backend, old: bytes) -> int:
    """Whether the present password, or one that is asked for, opens the home."""
    _apply_pending(pamh, backend)
    try:
        backend.unlock(pamh.account, old, exact=False)
    except WrongPassphraseError:
        return _ask_home_password(pamh, backend, old)
    except (PyhomeError, OSError) as error:
        pamh.log_error(f"the home's key file is not usable, changing the login password without it: {error}")
        return pamh.PAM_IGNORE
    return pamh.PAM_SUCCESS


def _apply_pending(pamh: Handle, backend: Backend) -> None:
    """Write the key file that the auth phase of this same login prepared, if it did: the change builds on it."""
    content = pamh.get_data(handover.DATA)
    if content is None:
        return
    try:
        change = parse_opened(content).rewrite
        if change is not None and backend.rewrite(pamh.account, change):
            pamh.log_notice("the key file was renewed")
    except (PyhomeError, OSError) as error:
        pamh.log_warning(f"the key file could not be renewed: {error}")


def _ask_home_password(pamh: Handle, backend: Backend, old: bytes) -> int:
    """Ask once for the password that the home still has after a reset, and keep it for the update."""
    user = pamh.account.name
    answer = pamh.ask(messages.OLD_PASSWORD_PROMPT, explanation=messages.ask_old(user))
    try:
        if answer is None or answer == old:
            raise WrongPassphraseError
        backend.unlock(pamh.account, answer, exact=False)
    except (PyhomeError, OSError) as error:
        pamh.log_warning(f"password change refused, the home would not follow: {error}")
        pamh.tell(messages.old_does_not_open(user))
        return pamh.PAM_AUTHTOK_RECOVERY_ERR
    pamh.set_data(HOME_PASSWORD, answer)
    return pamh.PAM_SUCCESS


def _check_room(pamh: Handle, backend: Backend) -> int:
    """Whether a new key file will fit."""
    try:
        backend.reserve(pamh.account)
    except (PyhomeError, OSError) as error:
        pamh.log_error(f"password change refused, no new key file can be written: {error}")
        pamh.tell(messages.cannot_write(pamh.account.name))
        return pamh.PAM_AUTHTOK_ERR
    return pamh.PAM_SUCCESS


def update(pamh: Handle) -> int:
    """After the login password was changed: the same for the home."""
    backend = _backend(pamh)
    new = pamh.authtok
    if backend is None or not new:
        return pamh.PAM_IGNORE
    old = pamh.get_data(HOME_PASSWORD) or pamh.oldauthtok
    if not old:
        pamh.log_warning("the login password was reset; the home still opens with the old one only")
        pamh.tell(messages.reset_by_root(pamh.account.name))
        return pamh.PAM_IGNORE
    return _change(pamh, backend, old, new)


def _change(pamh: Handle, backend: Backend, old: bytes, new: bytes) -> int:
    """Write the new key file; PAM_AUTHTOK_ERR and a plain sentence if that fails after all."""
    try:
        backend.change_password(pamh.account, old, new)
    except (PyhomeError, OSError) as error:
        if isinstance(error, FormatError):
            return pamh.PAM_IGNORE
        pamh.log_error(f"the login password was changed, the home's was not: {error}")
        pamh.tell(messages.rewrap_failed(pamh.account.name))
        return pamh.PAM_AUTHTOK_ERR
    pamh.log_notice("the home opens with the new password")
    return pamh.PAM_SUCCESS
