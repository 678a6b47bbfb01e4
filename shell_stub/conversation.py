"""The conversation with the broker, which unlocks the home of whoever has connected; `formats.broker` is the protocol."""

from __future__ import annotations

import socket
import struct
import time

from pam_pyhome.errors import WireError
from pam_pyhome.formats import broker
from pam_pyhome.shell_stub.line import wipe
from pam_pyhome.shell_stub.terminal import LeftError, Terminal

ASK_SECONDS = 20.0
ANSWER_SECONDS = 120.0
CONNECTIONS = 4
PAUSE_SECONDS = 1.0


class Unavailable(Exception):  # noqa: N818 - a state of affairs, and nobody's error
    """The home cannot be unlocked, whatever is answered; the text says why."""


class _Gone(Exception):  # noqa: N818 - as above
    """The broker has hung up, or is not there; the text says how."""


def converse(terminal: Terminal) -> None:
    """Return when the home is open, or turns out to be none. LeftError if it stays locked, Unavailable if it must, SilentError.

    A broker that goes away in the middle, as one that is restarted, or that is busy with too many others, is asked again.
    """
    reason = ""
    for attempt in range(CONNECTIONS):
        terminal.wait(seconds=PAUSE_SECONDS if attempt else 0)
        try:
            _talk(terminal)
            return
        except _Gone as error:
            reason = str(error)
        except WireError as error:
            raise Unavailable(str(error)) from None
    raise Unavailable(reason)


def _talk(terminal: Terminal) -> None:
    """One connection, to its end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        _connect(peer, terminal)
        try:
            peer.settimeout(ASK_SECONDS)
            peer.send(broker.packet(broker.ASK), socket.MSG_NOSIGNAL)
        except OSError as error:
            raise _Gone(f"{broker.SOCKET}: {error.strerror or error}") from None
        prompts = 0
        while True:
            kind, text = _receive(peer, terminal, ANSWER_SECONDS if prompts else ASK_SECONDS)
            if kind in (broker.OPEN, broker.NONE):
                return
            if kind == broker.SAY:
                terminal.say(text)
            elif kind == broker.PROMPT and prompts < broker.PROMPTS:
                prompts += 1
                _answer(peer, terminal, text)
            elif kind == broker.REFUSED:
                raise LeftError(text) if prompts else Unavailable(text)
            else:
                raise WireError(f"pyhomed sent a packet of kind {kind} out of turn")


def _connect(peer: socket.socket, terminal: Terminal) -> None:
    """Wait in the queue, as long as for the first word. _Gone if there is none, or no end of it."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, broker.CONNECT_MICROSECONDS))
    deadline = time.monotonic() + ASK_SECONDS
    while True:
        try:
            peer.connect(broker.SOCKET)
            return
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise _Gone(f"{broker.SOCKET}: {error.strerror or error}") from None
        except OSError as error:
            raise _Gone(f"{broker.SOCKET}: {error.strerror or error}") from None
        terminal.wait(seconds=0)


def _receive(peer: socket.socket, terminal: Terminal, seconds: float) -> tuple[int, str]:
    """The next packet: its kind, and its text if it has one. WireError for what is none, _Gone if the broker is silent."""
    if not terminal.wait(peer.fileno(), seconds=seconds):
        raise _Gone("pyhomed does not answer")
    try:
        data = peer.recv(broker.MAX_PACKET + 1)
    except OSError as error:
        raise _Gone(f"pyhomed: {error.strerror or error}") from None
    if not data:
        raise _Gone("pyhomed has hung up")
    kind, body = broker.parse_packet(data)
    return kind, broker.parse_text(body) if body else ""


def _answer(peer: socket.socket, terminal: Terminal, prompt: str) -> None:
    """Ask until there is something to send, but not for ever; nothing if the broker speaks first."""
    for _ in range(broker.PROMPTS):
        answer = terminal.ask(prompt, peer.fileno())
        if answer is None:
            return
        if answer:
            _send(peer, answer)
            return
    raise LeftError


def _send(peer: socket.socket, answer: bytearray) -> None:
    """Send the answer, and overwrite it."""
    data = bytearray((broker.ANSWER,)) + answer
    try:
        peer.send(data, socket.MSG_NOSIGNAL)
    except OSError as error:
        raise _Gone(f"pyhomed: {error.strerror or error}") from None
    finally:
        wipe(data)
        wipe(answer)
