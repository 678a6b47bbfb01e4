"""The worker: phases of one PAM transaction, run as root in a process of its own, each answered with one reply frame.

It runs one phase and ends. Only after authentication does it wait, for as long as the shim keeps its end of the socket open and
no longer than a minute, because a session that follows then finds Python running.
"""

from __future__ import annotations

import os
import sys

from pam_pyhome import events
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import WireError
from pam_pyhome.formats import wire
from pam_pyhome.kernel.log import begin, log
from pam_pyhome.kernel.process import alarm, protect_memory
from pam_pyhome.policy import module
from pam_pyhome.policy.handle import Handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Phase = Callable[[Handle, int, Sequence[bytes]], int]

SOCKET = 3
SECONDS = 120
WAITING_SECONDS = 60

_PHASES: dict[int, Phase] = {
    wire.PHASE_AUTHENTICATE: module.pam_sm_authenticate,
    wire.PHASE_SETCRED: module.pam_sm_setcred,
    wire.PHASE_ACCT_MGMT: module.pam_sm_acct_mgmt,
    wire.PHASE_OPEN_SESSION: module.pam_sm_open_session,
    wire.PHASE_CLOSE_SESSION: module.pam_sm_close_session,
    wire.PHASE_CHAUTHTOK: module.pam_sm_chauthtok,
}


def main() -> None:
    """Run the phase that the shim asks for. No exception leaves this function; without a reply the shim knows what to do."""
    begin("pam_pyhome")
    try:
        protect_memory()
        if _run(_receive()) == wire.PHASE_AUTHENTICATE:
            _wait_for_session()
    except BaseException as error:  # noqa: BLE001 - the one place where everything is caught: a traceback helps nobody at a login
        _log_crash(error)
    # Nothing is left to be cleaned up, and the interpreter would take milliseconds over it while a person waits.
    os._exit(0)


def _run(frame: tuple[int, bytes]) -> int:
    """Run the phase that START asks for and send REPLY; the phase."""
    kind, body = frame
    if kind != wire.START:
        raise WireError(f"a frame of kind {kind} where a phase should start")
    start = wire.parse_start(body)
    account = Account(start.user, start.uid, start.gid, start.home)
    handle = Handle(account, start.service, start.pid, _exchange)
    code = _PHASES[start.phase](handle, start.flags, start.tokens)
    _send(wire.emit_reply(code))
    return start.phase


def _wait_for_session() -> None:
    """Run one more phase if the shim asks for it. Usually it soon closes its end: there was nothing to open."""
    alarm(WAITING_SECONDS)
    from pam_pyhome.policy import sessions  # noqa: F401, PLC0415 - the PAM process has its own work to do meanwhile

    if "pam_pyhome.backends.fscrypt_unlock" in sys.modules:
        from pam_pyhome.backends import fscrypt_keys, fscrypt_others  # noqa: F401, PLC0415 - as above

    beginning = os.read(SOCKET, wire.HEADER_SIZE)
    if beginning:
        alarm(SECONDS)
        _run(_receive(beginning))


def _exchange(frame: bytes) -> tuple[int, bytes]:
    """Send a verb and read its answer. A person may be typing meanwhile, so the clock starts again afterwards."""
    alarm(0)
    _send(frame)
    kind, body = _receive()
    alarm(SECONDS)
    if kind != wire.ANSWER:
        raise WireError(f"a frame of kind {kind} instead of an answer")
    return wire.parse_answer(body)


def _send(frame: bytes) -> None:
    """Write a whole frame."""
    view = memoryview(frame)
    while view:
        view = view[os.write(SOCKET, view) :]


def _receive(beginning: bytes = b"") -> tuple[int, bytes]:
    """Kind and body of the next frame, of whose header `beginning` has been read already."""
    kind, size = wire.parse_header(_read(wire.HEADER_SIZE, beginning))
    return kind, _read(size)


def _read(size: int, content: bytes = b"") -> bytes:
    """`content` and what follows it, `size` bytes in all. WireError if the shim has gone."""
    while len(content) < size:
        chunk = os.read(SOCKET, size - len(content))
        if not chunk:
            raise WireError("the PAM process went away")
        content += chunk
    return content


def _log_crash(error: BaseException) -> None:
    """One line on what went wrong and where, without any value that could be a secret."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "nowhere"
    log(events.NO_WORKER, f"{type(error).__name__} at {place}")
