"""Packets over the broker's connections."""

from __future__ import annotations

import os
import select
import socket

from pam_pyhome.errors import PyhomeError, WireError
from pam_pyhome.formats import broker

ANSWER_SECONDS = 300.0
LOOK_SECONDS = 0.5


class PeerGoneError(PyhomeError):
    """The other end went away, was silent for too long or broke the protocol."""

    exit_code = 30


class Room:
    """The place of one conversation, which it is asked to give up when its user needs it for another one."""

    def __init__(self) -> None:
        """Nobody has asked for it."""
        self._asked = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def ask_for_it(self) -> None:
        """The conversation ends as soon as it waits for an answer."""
        os.eventfd_write(self._asked, 1)

    def close(self) -> None:
        """Nobody talks in it any more."""
        os.close(self._asked)

    def wait(self, connection: socket.socket, seconds: float) -> bool:
        """Whether the peer says something, or hangs up, within `seconds`. PeerGoneError if the place is asked for."""
        look = select.poll()
        for fd in (connection.fileno(), self._asked):
            look.register(fd, select.POLLIN)
        ready = {fd for fd, _ in look.poll(seconds * 1000)}
        if self._asked in ready:
            raise PeerGoneError("its user has asked for more conversations than there may be")
        return bool(ready)


def receive(connection: socket.socket) -> tuple[int, bytes]:
    """The next packet. PeerGoneError if there is none, or it is not one."""
    try:
        content = connection.recv(broker.MAX_PACKET + 1)
        return broker.parse_packet(content)
    except (OSError, WireError) as error:
        raise PeerGoneError(str(error)) from None


def send(connection: socket.socket, kind: int, body: bytes = b"") -> None:
    """One packet. PeerGoneError if nobody takes it."""
    _send(connection, broker.packet(kind, body))


def send_text(connection: socket.socket, kind: int, text: str) -> None:
    """One packet with a text. PeerGoneError if nobody takes it."""
    _send(connection, broker.text_packet(kind, text))


def _send(connection: socket.socket, content: bytes) -> None:
    try:
        connection.send(content, socket.MSG_NOSIGNAL)
    except OSError as error:
        raise PeerGoneError(str(error)) from None
