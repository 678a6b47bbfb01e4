"""The auth phase: from a password to an opened home."""

from __future__ import annotations

from pam_pyhome import events
from pam_pyhome.backends import kept, registry
from pam_pyhome.errors import PyhomeError, WrongPassphraseError
from pam_pyhome.policy import handover, messages
from pam_pyhome.policy.telling import note_key, report, report_absence, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Backend
    from pam_pyhome.formats.opened import OpenedHome
    from pam_pyhome.policy.handle import Handle

_OLD_TRIES = 3
_WRONG_DELAY_MICROSECONDS = 2_000_000


def open_along(pamh: Handle, repair: str, *, ask: bool) -> int:
    """Open the home with a password that another module verified. Never anything but PAM_IGNORE: this verifies nobody.

    `repair` and `ask`: the settings of these names.
    """
    backend = registry.find(pamh.account)
    if backend is None:
        report_absence(pamh)
    elif backend.mounted(pamh.account) is None:
        wishes = backend.wishes(pamh.account)
        if wishes.open_at_login:
            if ask and not wishes.own_passphrase and not pamh.authtok:
                return _open_untyped(pamh, backend)
            opened = _open_with_own(pamh, backend) if wishes.own_passphrase else _open_with_login(pamh, backend, repair)
            if opened is not None:
                handover.hand_over(pamh, opened.with_vouched())
    return pamh.PAM_IGNORE


def _open_with_login(pamh: Handle, backend: Backend, repair: str) -> OpenedHome | None:
    """Open with the login password; if the home still has an older one, ask for that and prepare the repair."""
    password = pamh.authtok
    if not password:
        return None
    try:
        opened = backend.unlock(pamh.account, password, exact=False)
        if kept.was_reset(pamh.account):
            kept.remove(pamh.account, kept.RESET)  # to one that opens the home after all
    except WrongPassphraseError:
        pamh.log(events.OUT_OF_STEP, "it was changed without the home's")
        return _open_with_old(pamh, backend, password, repair)
    except (PyhomeError, OSError) as error:
        report(pamh, error)
        return None
    return opened


def _open_with_old(pamh: Handle, backend: Backend, password: bytes, repair: str) -> OpenedHome | None:
    """Ask once for the password that the home still has; a recovery key that is mistyped may be typed again."""
    from pam_pyhome.formats.recovery import mistyped  # noqa: PLC0415 - few logins come here
    from pam_pyhome.policy import repairing  # noqa: PLC0415 - as above

    user = pamh.account.name
    old = pamh.ask(messages.OLD_PASSWORD_PROMPT, explanation=messages.ask_old(user))
    # sshd's password method answers every prompt with the password that was typed before: that is no conversation.
    if old is None or old == password:
        tell(pamh, messages.cannot_ask(user))
        return None
    for left in range(_OLD_TRIES - 1, -1, -1):
        try:
            opened = repairing.unlock(pamh, backend, old, password, repair)
        except WrongPassphraseError:
            pamh.log(events.WRONG_PASSWORD, "as the old one")
        except (PyhomeError, OSError) as error:
            report(pamh, error)
            return None
        else:
            note_key(pamh, opened, old)
            return opened
        defect = mistyped(old)
        again = pamh.ask(messages.OLD_PASSWORD_PROMPT, explanation=messages.key_again(defect)) if defect and left else None
        if not again or again in (old, password):
            break  # nobody is there, or a program that has one answer
        old = again
    tell(pamh, messages.old_wrong(user))
    return None


def _open_with_own(pamh: Handle, backend: Backend) -> OpenedHome | None:
    """Ask for the passphrase of the home, which its owner keeps apart from the login password.

    Or it is what is left to ask for, because the login protector is another uid's: that is said first.
    """
    report_absence(pamh)
    passphrase = pamh.ask(messages.OWN_PASSPHRASE_PROMPT)
    if passphrase is None:
        return None
    try:
        opened = backend.unlock(pamh.account, passphrase, exact=False)
    except WrongPassphraseError:
        pamh.log(events.WRONG_PASSWORD, "as the passphrase of its own")
        tell(pamh, messages.own_passphrase_wrong(pamh.account.name))
    except (PyhomeError, OSError) as error:
        report(pamh, error)
    else:
        note_key(pamh, opened, passphrase)
        return opened
    return None


def verify(pamh: Handle) -> int:
    """Open the home *as* the verification of the password."""
    backend = registry.find(pamh.account)
    if backend is None:
        return pamh.PAM_USER_UNKNOWN
    password = _password_to_verify(pamh, own=backend.wishes(pamh.account).own_passphrase)
    if password is None:
        return pamh.PAM_AUTHINFO_UNAVAIL
    return _open_verified(pamh, backend, password, broken=pamh.PAM_AUTHINFO_UNAVAIL, proved=True)


def _open_verified(pamh: Handle, backend: Backend, password: bytes, *, broken: int, proved: bool = False) -> int:
    """Open with a password that nobody else verifies: no copy of the key file counts, and with `proved` only an approved one."""
    try:
        opened = backend.unlock(pamh.account, password, exact=True, proved=proved)
    except WrongPassphraseError:
        pamh.log(events.WRONG_PASSWORD)
        pamh.fail_delay(_WRONG_DELAY_MICROSECONDS)
        return pamh.PAM_AUTH_ERR
    except (PyhomeError, OSError) as error:
        report(pamh, error)
        return broken
    note_key(pamh, opened, password)
    handover.hand_over(pamh, opened)
    return pamh.PAM_SUCCESS


def _open_untyped(pamh: Handle, backend: Backend) -> int:
    """Ask for the password after a login that went without, as with a fingerprint: PAM_IGNORE, whatever it is.

    Nobody has verified what is typed, so it proves no key file. Modules behind this one find it if it has opened the home.
    """
    answer = pamh.ask(messages.PASSWORD_PROMPT, explanation=messages.ask_to_unlock(pamh.account.name))
    if answer:
        code = _open_verified(pamh, backend, answer, broken=pamh.PAM_IGNORE)
        if code == pamh.PAM_SUCCESS:
            pamh.authtok = answer
        elif code == pamh.PAM_AUTH_ERR:
            tell(pamh, messages.wrong_at_login(pamh.account.name))
    return pamh.PAM_IGNORE


def unlock_over_ssh(pamh: Handle) -> int:
    """Ask for what opens the home, on a connection that has passed a public key, as the shim has seen.

    PAM_SUCCESS for a home that is open or opened now. PAM_AUTH_ERR for an answer that does not open it: the next rule finds it as
    the password, in case it is the login password and only the home has another; if not, sshd asks again. Where nothing can be
    opened, PAM_IGNORE leaves the connection to the next rule. Where the owner wishes that logins open nothing, the key is enough.
    """
    backend = registry.find(pamh.account)
    if backend is None or backend.mounted(pamh.account) is not None:
        return pamh.PAM_SUCCESS
    wishes = backend.wishes(pamh.account)
    if not wishes.open_at_login:
        return pamh.PAM_SUCCESS
    own = wishes.own_passphrase
    prompt = messages.OWN_PASSPHRASE_PROMPT if own else messages.PASSWORD_PROMPT
    answer = pamh.ask(prompt, explanation=messages.ask_to_unlock(pamh.account.name))
    if answer is None:
        return pamh.PAM_IGNORE
    if not own:
        pamh.authtok = answer
    return _open_verified(pamh, backend, answer, broken=pamh.PAM_IGNORE)


def _password_to_verify(pamh: Handle, *, own: bool) -> bytes | None:
    """The password typed so far, or an answer to a prompt, which later modules will then find as well."""
    if own:
        return pamh.ask(messages.OWN_PASSPHRASE_PROMPT)
    password = pamh.authtok
    if not password:
        password = pamh.ask(messages.PASSWORD_PROMPT)
        if password is not None:
            pamh.authtok = password
    return password
