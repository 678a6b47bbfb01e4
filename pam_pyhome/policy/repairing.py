"""Whether a home whose password is not that of the login gets it. Not every password that lets somebody in will do so again.

What was typed may have a code behind it, or be one, or a card's number. So a key file is wrapped anew only for a password that
lasts: the account's own on this machine, as the helper of pam_unix says, or one that is typed at a second login.
"""

from __future__ import annotations

from pam_pyhome import events
from pam_pyhome.errors import PyhomeError
from pam_pyhome.kernel import chkpwd
from pam_pyhome.policy import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Backend
    from pam_pyhome.formats.opened import OpenedHome
    from pam_pyhome.policy.handle import Handle

NEVER, ASK = "no", "ask"


def unlock(pamh: Handle, backend: Backend, old: bytes, password: bytes, repair: str) -> OpenedHome:
    """Open with `old`; the session phase will write the key file for `password` if it lasts and the setting `repair` allows it.

    Where both are valid, the home keeps the one of this machine, and the other opens it as well. Errors as of `Backend.unlock`.
    """
    account = pamh.account
    if repair == NEVER:
        return backend.unlock(account, old, exact=False)
    is_own = _is_own(pamh, password)
    if not is_own and not backend.was_typed(account, password):
        opened = backend.unlock(account, old, exact=False)
        _note(pamh, lambda: backend.note_typed(account, password))
        pamh.log(events.KEY_FILE_AS_IT_WAS, "the password of this login is not the account's own on this machine")
        return opened
    if repair == ASK and not _agrees(pamh):
        return backend.unlock(account, old, exact=False)
    if is_own or not _is_own(pamh, old):
        return backend.unlock(account, old, exact=False, rewrap=password)
    opened = backend.unlock(account, old, exact=False)
    if _note(pamh, lambda: backend.add_second(account, old, password)):
        pamh.log(events.SECOND_PASSWORD)
    return opened


def _is_own(pamh: Handle, password: bytes) -> bool:
    """Whether it certainly is the account's own password on this machine."""
    try:
        return chkpwd.is_right(pamh.account.name, password)
    except OSError as error:
        pamh.log(events.NOT_NOTED, f"the password cannot be compared with that of the account: {error}")
        return False


def _note(pamh: Handle, keep: Callable[[], None]) -> bool:
    """Keep something for the next login, which is no worse off without it than this one; whether that was possible."""
    try:
        keep()
    except (PyhomeError, OSError) as error:
        pamh.log(events.NOT_NOTED, f"for the next login: {error}")
        return False
    return True


def _agrees(pamh: Handle) -> bool:
    answer = pamh.ask(messages.REPAIR_PROMPT, explanation=messages.ask_repair(pamh.account.name))
    return (answer or b"").strip().lower() in (b"y", b"yes")
