"""Asking pyhomed to do something with one's own home; `formats/broker.py` is the protocol."""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING

from pam_pyhome.errors import DaemonError, NoAnswerError, PyhomeError, WireError, WrongPassphraseError
from pam_pyhome.formats import broker
from pam_pyhome.formats.facts import MAX_FACTS, parse_facts, parse_failure

if TYPE_CHECKING:
    from pam_pyhome.formats.broker import Request
    from pam_pyhome.formats.facts import Failure, HomeFacts
    from pam_pyhome.policy.verbs import Talk

#: What pyhomed may take beyond the time that it was told to wait: locking and unlocking have their own limits, all of them shorter.
SECONDS = 60.0
#: How long the first word may take, when there are too many who want one.
CONNECT_SECONDS = 20.0
PAUSE_SECONDS = 0.2
_SHOWN = b"shown"


class RefusedError(PyhomeError):
    """Pyhomed did not do it; the `failure` says why, and has the exit code."""

    def __init__(self, failure: Failure) -> None:
        """Keep the failure."""
        super().__init__(failure.reason)
        self.failure = failure


class HungUpError(DaemonError):
    """It closed the connection without a word."""


def perform(request: Request, talk: Talk) -> tuple[bool, HomeFacts]:
    """Have pyhomed do it; whether anything changed, and how the home is now.

    RefusedError, DaemonError, or for an answer that is not given NoAnswerError or WrongPassphraseError.
    """
    body = _perform(request, talk, broker.FACTS)
    return bool(body[0]), parse_facts(body[1:])


def sync(talk: Talk) -> bool:
    """Have pyhomed carry one's SSH keys to where sshd finds them; whether they were others. Errors as of `perform`."""
    return _perform(broker.Request(broker.SYNC), talk, broker.SYNCED) == b"\1"


def _perform(request: Request, talk: Talk, last: int) -> bytes:
    """The body of the `last` packet, after whatever comes before it."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
            first = _ask(peer, request, deadline)
            if first is not None:
                try:
                    return _converse(peer, talk, last, *first)
                except WireError as error:
                    raise DaemonError(str(error)) from None
        time.sleep(PAUSE_SECONDS)


def _ask(peer: socket.socket, request: Request, deadline: float) -> tuple[int, bytes] | None:
    """The first packet of the answer; None if it is worth asking again: pyhomed was too busy, or has just ended. DaemonError."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, broker.CONNECT_MICROSECONDS))
    try:
        peer.connect(broker.SOCKET)
        peer.settimeout(SECONDS + request.seconds)
        peer.send(broker.request_packet(request), socket.MSG_NOSIGNAL)
        return _receive(peer)
    except OSError as error:
        if isinstance(error, (BlockingIOError, BrokenPipeError)) and time.monotonic() < deadline:
            return None
        raise DaemonError(f"{broker.SOCKET}: {error.strerror or error}") from None
    except HungUpError:
        if time.monotonic() < deadline:
            return None
        raise
    except WireError as error:
        raise DaemonError(str(error)) from None


def _converse(peer: socket.socket, talk: Talk, last: int, kind: int, body: bytes) -> bytes:
    prompts = 0
    while True:
        if kind == last:
            return body
        if kind == broker.FAILED:
            raise RefusedError(parse_failure(body))
        if kind == broker.SAY:
            talk.say(broker.parse_text(body))
        elif kind == broker.SHOW_KEY:
            talk.show_key(broker.parse_text(body))
            _answer(peer, _SHOWN, "sign")
        elif kind in (broker.PROMPT, broker.ASK_NEW):
            prompts += 1
            is_new = kind == broker.ASK_NEW
            answer = talk.ask(broker.parse_text(body), new=is_new)
            if not answer and prompts > 1 and not is_new:
                raise WrongPassphraseError  # who is asked for the same again has given a wrong one before
            _answer(peer, answer, "new password" if is_new else "password")
        else:
            raise WireError(f"a packet of kind {kind} out of turn")
        kind, body = _receive(peer)


def _answer(peer: socket.socket, answer: bytes | None, what: str) -> None:
    """Send it. NoAnswerError if there is none, or one that fits into no packet."""
    if not answer:
        raise NoAnswerError(f"no {what} was given")
    if len(answer) > broker.MAX_SECRET:
        raise NoAnswerError(f"the password has more than {broker.MAX_SECRET} bytes")
    try:
        peer.send(broker.packet(broker.ANSWER, answer), socket.MSG_NOSIGNAL)
    except OSError:
        return  # what was sent before it hung up says why


def _receive(peer: socket.socket) -> tuple[int, bytes]:
    try:
        data = peer.recv(MAX_FACTS + 2)
    except ConnectionResetError:
        data = b""
    except OSError as error:
        raise DaemonError(error.strerror or str(error)) from None
    if not data:
        raise HungUpError("has hung up")
    return broker.parse_packet(data)
