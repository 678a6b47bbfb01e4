"""The password phase: the home's key file follows the login password, and neither changes without the other."""

from __future__ import annotations

from pam_pyhome.backends import kept, registry
from pam_pyhome.errors import PyhomeError, WrongPassphraseError
from pam_pyhome.formats.opened import parse_opened
from pam_pyhome.policy import handover, messages
from pam_pyhome.policy.telling import report, was_told

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
    _apply_pending(pamh, backend)
    try:
        verdict = _check_old(pamh, backend, old, may_refuse=not expired)
    except (PyhomeError, OSError) as error:
        report(pamh, error)
        return pamh.PAM_IGNORE
    return pamh.PAM_IGNORE if expired else verdict


def _backend(pamh: Handle) -> Backend | None:
    """The backend of a home that follows the login password, or None."""
    backend = registry.find(pamh.account)
    return None if backend is None or backend.wishes(pamh.account).own_passphrase else backend


def _apply_pending(pamh: Handle, backend: Backend) -> None:
    """Write the key file that the auth phase of this same login prepared, if it did: the change builds on it."""
    content = pamh.get_data(handover.DATA)
    if content is None:
        return
    try:
        opened = parse_opened(content)
        if opened.rewrite is not None and backend.rewrite(pamh.account, opened.rewrite):
            pamh.log_notice("the key file was renewed")
            handover.settle(pamh, opened)
    except (PyhomeError, OSError) as error:
        pamh.log_warning(f"the key file could not be renewed: {error}")


def _check_old(pamh: Handle, backend: Backend, old: bytes, *, may_refuse: bool) -> int:
    """Find the password that opens the home, which after a reset is another one, and keep it for the update."""
    try:
        backend.unlock(pamh.account, old, exact=False)
    except WrongPassphraseError:
        asked = _ask_home_password(pamh, backend, old) if may_refuse else None
        if asked is None:
            return pamh.PAM_AUTHTOK_RECOVERY_ERR
        old = asked
    return _check_room(pamh, backend, old, may_refuse=may_refuse)


def _ask_home_password(pamh: Handle, backend: Backend, old: bytes) -> bytes | None:
    """Ask once for the password that the home still has; None, and a sentence, if it was not given."""
    user = pamh.account.name
    answer = pamh.ask(messages.OLD_PASSWORD_PROMPT, explanation=messages.ask_old(user))
    try:
        if answer is not None and answer != old:
            backend.unlock(pamh.account, answer, exact=False)
            return answer
    except WrongPassphraseError:
        pass
    pamh.log_warning("password change refused: the home would not follow")
    pamh.tell(messages.old_does_not_open(user))
    return None


def _check_room(pamh: Handle, backend: Backend, old: bytes, *, may_refuse: bool) -> int:
    """Whether a new key file will fit in the place of the one that `old` opens."""
    try:
        backend.reserve(pamh.account, old)
    except (PyhomeError, OSError) as error:
        pamh.log_error(f"no new key file can be written: {error}")
        if may_refuse:
            pamh.tell(messages.cannot_write(pamh.account.name))
        return pamh.PAM_AUTHTOK_ERR
    pamh.set_data(HOME_PASSWORD, old)
    return pamh.PAM_SUCCESS


def update(pamh: Handle, *, expired: bool) -> int:
    """After the login password was changed: the same for the home."""
    backend = _backend(pamh)
    new = pamh.authtok
    if backend is None or not new:
        return pamh.PAM_IGNORE
    checked = pamh.get_data(HOME_PASSWORD)
    pamh.set_data(HOME_PASSWORD, None)
    old = checked or pamh.oldauthtok
    if not old:
        _note_reset(pamh, backend, new)
        return pamh.PAM_IGNORE
    if _change(pamh, backend, old, new):
        return pamh.PAM_SUCCESS
    return pamh.PAM_AUTHTOK_ERR if checked and not expired else pamh.PAM_IGNORE


def _note_reset(pamh: Handle, backend: Backend, new: bytes) -> None:
    """Say, and write down for whoever asks later, that the home waits for the old password, unless it is the same."""
    try:
        backend.unlock(pamh.account, new, exact=True)
    except WrongPassphraseError:
        pamh.log_warning("the login password was reset; the home still opens with the old one only")
        pamh.tell(messages.reset_by_root(pamh.account.name))
        try:
            kept.keep(pamh.account, kept.RESET, b"")
        except (PyhomeError, OSError) as error:
            pamh.log_warning(f"that the home waits for the old password could not be noted: {error}")
    except (PyhomeError, OSError) as error:
        report(pamh, error)
    else:
        pamh.log_notice("the login password was reset; the home opens with the new one")


def _change(pamh: Handle, backend: Backend, old: bytes, new: bytes) -> bool:
    """Write the new key file; False, and a sentence unless there was one already, if that fails after all."""
    try:
        left = backend.change_password(pamh.account, old, new)
    except (PyhomeError, OSError) as error:
        pamh.log_error(f"the login password was changed, the home's was not: {error}")
        if not was_told(pamh):
            pamh.tell(messages.rewrap_failed(pamh.account.name))
        return False
    pamh.log_notice("the home opens with the new password")
    if left:
        pamh.tell(messages.others_left(pamh.account.name))
    return True
