"""The broker's side of a conversation with one login-shell stub, or with one command line, in a process of its own.

The kernel says whose process the peer is (SO_PEERCRED), and that decides whose home it is about; the peer is never asked. What the
packets mean is in `formats/broker.py`.
"""

from __future__ import annotations

import time

from pam_pyhome import events
from pam_pyhome.backends import registry
from pam_pyhome.errors import FormatError, NoHomeError, PyhomeError, SharedUidError, WrongPassphraseError
from pam_pyhome.formats import broker
from pam_pyhome.host.packets import ANSWER_SECONDS, LOOK_SECONDS, PeerGoneError, Room, receive, send, send_text
from pam_pyhome.host.requests import serve
from pam_pyhome.kernel.argon2 import machine_memory
from pam_pyhome.kernel.process import be_expendable, protect_memory
from pam_pyhome.policy import messages, sessions, users
from pam_pyhome.policy.asking import WRONG_SECONDS, note_wrong
from pam_pyhome.policy.handle import Handle
from pam_pyhome.policy.leases import GATE_SECONDS, UserState
from pam_pyhome.policy.telling import note_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from pam_pyhome.backends.base import Account, Backend
    from pam_pyhome.formats.opened import OpenedHome

SERVICE = "pyhome-shell"
HELLO_SECONDS = 5.0
MOST_MEMORY = 3 * 1024 * 1024  # KiB, beside what a derivation may ask for: the stacks of its threads, which are not really used


def converse(connection: socket.socket, account: Account, pid: int, room: Room) -> None:
    """Hold the whole conversation with process `pid`. PeerGoneError if it leaves early, or has to."""
    protect_memory()
    # What a key costs to derive is the user's choice, within bounds; should the machine run out of memory, this process ends.
    be_expendable(MOST_MEMORY + machine_memory() // 4)
    connection.settimeout(HELLO_SECONDS)
    kind, body = receive(connection)
    if kind == broker.REQUEST:
        serve(connection, account, pid, body, room)
        return
    if kind != broker.ASK:
        raise PeerGoneError("the first packet was not a question")
    kind, text = _answer(connection, Handle(account, SERVICE, pid, _no_pam), room)
    _send(connection, kind, text)


def _no_pam(_frame: bytes) -> tuple[int, bytes]:
    """There is no PAM process behind this handle: whatever is asked of it cannot be had."""
    return Handle.PAM_SYSTEM_ERR, b""


def _answer(connection: socket.socket, pamh: Handle, room: Room) -> tuple[int, str]:
    """The last word to the stub, after as many prompts as it takes."""
    user = pamh.account.name
    try:
        users.check(pamh.account)
    except NoHomeError:
        return broker.NONE, ""
    except SharedUidError as error:
        pamh.log(events.NOT_UNLOCKED, str(error))
        return broker.REFUSED, messages.shared_uid(user, error.reason)
    backend = registry.find(pamh.account)
    if backend is None:
        return broker.NONE, ""
    if backend.mounted(pamh.account) is not None:
        return broker.OPEN, ""
    if not backend.wishes(pamh.account).open_at_login:
        return broker.NONE, ""  # 'pyhome unlock' is how its owner opens it
    if not _has_session(pamh.account.uid):
        pamh.log(events.NOT_UNLOCKED, "no PAM session of pyhome holds it, so it would be locked at once")
        return broker.REFUSED, messages.no_session(user)
    try:
        return _ask_until_open(connection, pamh, backend, room)
    except (FormatError, OSError, PyhomeError) as error:
        if isinstance(error, PeerGoneError):
            raise
        pamh.log(events.NOT_UNLOCKED, str(error))
        return broker.REFUSED, messages.damaged(user) if isinstance(error, FormatError) else messages.not_opened(user)


def _has_session(uid: int) -> bool:
    """Whether a session of the user holds a lease, which will lock the home when it ends."""
    with UserState(uid) as state:
        return state.close_gate(GATE_SECONDS) and state.is_held()


def _ask_until_open(connection: socket.socket, pamh: Handle, backend: Backend, room: Room) -> tuple[int, str]:
    """Prompt at most three times; wrong answers are slowed down and logged."""
    user = pamh.account.name
    own = backend.wishes(pamh.account).own_passphrase
    for _ in range(broker.PROMPTS):
        _send(connection, broker.PROMPT, messages.OWN_PASSPHRASE_PROMPT if own else messages.PASSWORD_PROMPT)
        answer = _wait_for_answer(connection, pamh, backend, room)
        if answer is None:
            return broker.OPEN, ""
        opened = _try(pamh, backend, answer)
        if opened is not None:
            is_open = sessions.open_with(pamh, backend, opened, "none")
            return (broker.OPEN, "") if is_open else (broker.REFUSED, messages.not_opened(user))
        _send(connection, broker.SAY, messages.wrong_password(user))
    return broker.REFUSED, messages.too_many_tries(user)


def _try(pamh: Handle, backend: Backend, answer: bytes) -> OpenedHome | None:
    """The home as `answer` opens it; None, after a pause, if it does not."""
    try:
        opened = backend.unlock(pamh.account, answer, exact=True)
    except WrongPassphraseError:
        note_wrong(pamh)
        time.sleep(WRONG_SECONDS)
        return None
    note_key(pamh, opened, answer)
    return opened


def _wait_for_answer(connection: socket.socket, pamh: Handle, backend: Backend, room: Room) -> bytes | None:
    """What the person at the stub typed, or None as soon as another session has opened the home. PeerGoneError."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        if room.wait(connection, LOOK_SECONDS):
            kind, body = receive(connection)
            if kind != broker.ANSWER or not body:
                raise PeerGoneError("a packet that is no answer")
            return body
        if backend.mounted(pamh.account) is not None:
            return None
    raise PeerGoneError("no answer for too long")


def _send(connection: socket.socket, kind: int, text: str) -> None:
    """One packet, with a text or without. PeerGoneError if nobody takes it."""
    if text:
        send_text(connection, kind, text)
    else:
        send(connection, kind)
