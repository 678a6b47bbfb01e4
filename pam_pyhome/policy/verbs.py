"""What people ask for outside of logins: how a home is, unlocking and locking it, changing its password.

The same for a user, on whose behalf pyhomed does it, and for root, who does it in a process of their own.
"""

from __future__ import annotations

from pam_pyhome import events
from pam_pyhome.backends import registry, update_facts
from pam_pyhome.errors import HomeBusyError, NoAnswerError, NoHomeError, StorageError, UpdateError, WrongPassphraseError
from pam_pyhome.formats import broker
from pam_pyhome.kernel.notify import send_once
from pam_pyhome.policy import absent, messages, sessions, users
from pam_pyhome.policy.asking import WRONG_SECONDS, checked, given, note_wrong, slow_down, verified
from pam_pyhome.policy.by_hand import Locker
from pam_pyhome.policy.describing import describe
from pam_pyhome.policy.handle import Handle
from pam_pyhome.policy.telling import note_key
from pam_pyhome.policy.updating import update

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from pam_pyhome.backends.base import Account, Backend
    from pam_pyhome.formats.broker import Request
    from pam_pyhome.formats.facts import HomeFacts
    from pam_pyhome.formats.opened import OpenedHome
else:
    Protocol = object

SERVICE = "pyhome"


class Talk(Protocol):
    """Whoever asked, to be asked back."""

    def ask(self, prompt: str, *, new: bool = False, until: Callable[[], bool] | None = None) -> bytes | None:
        """The answer to a prompt; None if there is none, or if `until` came true first. `new`: to be typed twice."""

    def say(self, line: str) -> None:
        """Show a line."""

    def show_key(self, key: str) -> None:
        """Show a new recovery key; PyhomeError or OSError if it has not been shown."""

    def pause(self, seconds: float) -> None:
        """Let time pass; PyhomeError if nobody waits any more."""


def perform(
    account: Account, request: Request, caller: int, talk: Talk, *, vouched: bool = False
) -> tuple[bool, HomeFacts]:
    """Do what process `caller` asks for; whether anything changed, and how the home is now.

    `vouched`: it is root who asks, which approves the key files that are proved. PyhomeError or OSError if it could not be done.
    """
    if request.verb == broker.SHOW:
        return False, describe(account)
    users.check(account)
    backend = registry.find(account)
    if backend is None:
        absence = absent.explain(account)
        raise NoHomeError(account.name) if absence is None else StorageError(f"the home of {account.name}", absence.reason(account))
    pamh = Handle(account, SERVICE, caller, _no_pam)
    if request.verb == broker.UNLOCK:
        changed = _unlock(pamh, backend, talk, vouched=vouched)
    elif request.verb == broker.LOCK:
        changed = _lock(pamh, backend, request, talk)
    elif request.verb == broker.UPDATE:
        changed = _update(pamh, backend, request, talk)
    elif request.verb == broker.PASSWD:
        changed = _change_password(pamh, backend, talk, vouched=vouched)
    else:
        changed = _recovery(pamh, backend, request, talk, vouched=vouched)
    return changed, describe(account)


def _recovery(pamh: Handle, backend: Backend, request: Request, talk: Talk, *, vouched: bool) -> bool:
    """Try a recovery key, or make a new one."""
    from pam_pyhome.policy import recovery  # noqa: PLC0415 - nothing else needs it

    if request.verb == broker.TEST_KEY:
        return recovery.try_key(pamh, backend, talk)
    return recovery.replace_key(pamh, backend, talk, vouched=vouched)


def _no_pam(_frame: bytes) -> tuple[int, bytes]:
    """There is no PAM process behind this handle: whatever is asked of it cannot be had."""
    return Handle.PAM_SYSTEM_ERR, b""


def _unlock(pamh: Handle, backend: Backend, talk: Talk, *, vouched: bool) -> bool:
    """Ask until the home is open; whether it was locked."""
    if backend.mounted(pamh.account) is not None:
        return False
    opened = _ask_until_opened(pamh, backend, talk)
    if opened is None:
        return False
    return sessions.open_by_hand(pamh, backend, opened.with_vouched() if vouched else opened)


def _ask_until_opened(pamh: Handle, backend: Backend, talk: Talk) -> OpenedHome | None:
    """The home as an answer opens it; None as soon as another session has opened it. Only the current key file counts."""
    prompt = _prompt(pamh, backend)
    wrong: WrongPassphraseError | None = None
    for _ in range(broker.PROMPTS):
        answer = checked(talk.ask(prompt, until=lambda: backend.mounted(pamh.account) is not None))
        if answer is None and backend.mounted(pamh.account) is not None:
            return None
        if not answer:
            break
        try:
            opened = backend.unlock(pamh.account, answer, exact=True)
        except WrongPassphraseError as error:
            wrong = error
            slow_down(pamh, talk)
        else:
            note_key(pamh, opened, answer)
            return opened
    raise wrong or NoAnswerError("no password was given")


def _prompt(pamh: Handle, backend: Backend) -> str:
    own = backend.wishes(pamh.account).own_passphrase
    return messages.OWN_PASSPHRASE_PROMPT if own else messages.PASSWORD_PROMPT


def _lock(pamh: Handle, backend: Backend, request: Request, talk: Talk) -> bool:
    """Lock it; whether it was open. What could be locked in part only, or is open without sessions, pyhomed goes on with."""
    try:
        changed = Locker(pamh.account, backend, pamh.pid, talk).lock(request.seconds, force=request.force)
    except HomeBusyError:
        _leave_to_daemon(pamh)
        raise
    if changed:
        pamh.log(events.LOCKED, f"as asked by pid {pamh.pid}")
    return changed


def _leave_to_daemon(pamh: Handle) -> None:
    try:
        send_once(sessions.DAEMON_SOCKET, f"watch {pamh.account.uid}\n".encode("ascii"))
    except OSError:
        pamh.log(events.NOT_WATCHED, "it does not answer; the home is not locked when it is free")


def _change_password(pamh: Handle, backend: Backend, talk: Talk, *, vouched: bool) -> bool:
    """Let a new password open the home in the place of the present one."""
    account = pamh.account
    old = verified(pamh, backend, talk, given(talk.ask(messages.PRESENT_PROMPT)))
    new = given(talk.ask(messages.NEW_PROMPT, new=True), "no new password was given")
    if vouched:
        backend.approve(account, old)
    backend.reserve(account, old)
    left = backend.change_password(account, old, new)
    pamh.log(events.PASSWORD_CHANGED)
    if left:
        talk.say(messages.others_left(account.name))
    return True


def _update(pamh: Handle, backend: Backend, request: Request, talk: Talk) -> bool:
    """Change how the home is."""
    try:
        changed = update(pamh.account, backend, request.changes, talk.ask, lambda answer: verified(pamh, backend, talk, answer))
    except UpdateError as error:
        if error.reason == update_facts.WRONG_LOGIN:
            note_wrong(pamh)
            talk.pause(WRONG_SECONDS)
        raise
    if changed:
        pamh.log(events.SETTINGS_CHANGED)
    return changed
