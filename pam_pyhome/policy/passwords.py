"""The password phase: the home's key file follows the login password, and neither changes without the other."""

from __future__ import annotations

from pam_pyhome import events
from pam_pyhome.backends import kept, registry
from pam_pyhome.errors import PyhomeError, WrongPassphraseError
from pam_pyhome.formats.opened import parse_opened
from pam_pyhome.policy import handover, messages
from pam_pyhome.policy.telling import note_key, report, report_absence, was_told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Backend
    from pam_pyhome.policy.handle import Handle

HOME_PASSWORD = "home-password"


def check(pamh: Handle, *, expired: bool) -> int:
    """See, before any module changes anything, that the present password opens the home and a new key file would fit.

    Where a login depends on the change (`expired`), a home that is out of step does not prevent it.
    """
    old = pamh.oldauthtok
    try:
        found = registry.find(pamh.account)
        if found is None:
            return _stay_together(pamh, may_refuse=not expired and bool(old))
        backend = _following(pamh, found)
        if backend is None or not old:
            return pamh.PAM_IGNORE
        _apply_pending(pamh, backend)
        verdict = _check_old(pamh, backend, old, may_refuse=not expired)
    except (PyhomeError, OSError) as error:
        report(pamh, error)
        return _stay_together(pamh, may_refuse=not expired and bool(old))
    return pamh.PAM_IGNORE if expired else verdict


def _stay_together(pamh: Handle, *, may_refuse: bool) -> int:
    """Refuse a change that a home could not follow which is not there, or another's; root's resets and logins go on."""
    if not report_absence(pamh) or not may_refuse:
        return pamh.PAM_IGNORE
    pamh.tell(messages.cannot_follow(pamh.account.name))
    return pamh.PAM_AUTHTOK_ERR


def _following(pamh: Handle, backend: Backend | None) -> Backend | None:
    """The backend of a home that follows the login password, or None."""
    return None if backend is None or backend.wishes(pamh.account).own_passphrase else backend


def _apply_pending(pamh: Handle, backend: Backend) -> None:
    """Write the key file that the auth phase of this same login prepared, if it did: the change builds on it."""
    content = pamh.get_data(handover.DATA)
    if content is None:
        return
    try:
        opened = parse_opened(content)
        done = backend.rewrite(pamh.account, opened.rewrite) if opened.rewrite is not None else None
        if done is not None:
            pamh.log(done)
            handover.settle(pamh, opened)
    except (PyhomeError, OSError) as error:
        pamh.log(events.KEY_FILE_AS_IT_WAS, str(error))


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
            note_key(pamh, backend.unlock(pamh.account, answer, exact=False), answer)
            return answer
    except WrongPassphraseError:
        pass
    pamh.log(events.PASSWORD_NOT_CHANGED, "the present password was not given")
    pamh.tell(messages.old_does_not_open(user))
    return None


def _check_room(pamh: Handle, backend: Backend, old: bytes, *, may_refuse: bool) -> int:
    """Whether a new key file will fit in the place of the one that `old` opens."""
    try:
        backend.reserve(pamh.account, old)
    except (PyhomeError, OSError) as error:
        pamh.log(events.PASSWORD_NOT_CHANGED, f"no new key file can be written: {error}")
        if may_refuse:
            pamh.tell(messages.cannot_write(pamh.account.name))
        return pamh.PAM_AUTHTOK_ERR
    pamh.set_data(HOME_PASSWORD, old)
    return pamh.PAM_SUCCESS


def update(pamh: Handle, *, expired: bool) -> int:
    """After the login password was changed: the same for the home."""
    found = registry.find(pamh.account)
    backend = _following(pamh, found)
    new = pamh.authtok
    if found is None and new:
        _tell_beside(pamh)
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


def _tell_beside(pamh: Handle) -> None:
    """Without a home that is there: what is known to have the old password still."""
    if was_told(pamh):
        pamh.tell(messages.reset_by_root(pamh.account.name))
        return
    from pam_pyhome.backends import fscrypt_protectors  # noqa: PLC0415 - only where somebody has protectors and no home

    for protector, _ in fscrypt_protectors.of_login(pamh.account):
        pamh.tell(messages.beside(pamh.account.name, protector.descriptor))


def _note_reset(pamh: Handle, backend: Backend, new: bytes) -> None:
    """Say, and write down for whoever asks later, that the home waits for the old password, unless it is the same."""
    try:
        backend.unlock(pamh.account, new, exact=True)
    except WrongPassphraseError:
        pamh.log(events.PASSWORD_RESET)
        pamh.tell(messages.reset_by_root(pamh.account.name))
        try:
            kept.keep(pamh.account, kept.RESET, b"")
        except (PyhomeError, OSError) as error:
            pamh.log(events.NOT_NOTED, f"that the home waits for the old password: {error}")
    except (PyhomeError, OSError) as error:
        report(pamh, error)
    else:
        pamh.log(events.PASSWORD_CHANGED)


def _change(pamh: Handle, backend: Backend, old: bytes, new: bytes) -> bool:
    """Write the new key file; False, and a sentence unless there was one already, if that fails after all."""
    try:
        left = backend.change_password(pamh.account, old, new)
    except (PyhomeError, OSError) as error:
        pamh.log(events.PASSWORD_NOT_CHANGED, f"the login password was: {error}")
        if not was_told(pamh):
            pamh.tell(messages.rewrap_failed(pamh.account.name))
        return False
    pamh.log(events.PASSWORD_CHANGED)
    if left:
        pamh.tell(messages.others_left(pamh.account.name))
    return True
