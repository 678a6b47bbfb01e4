"""Packets over the broker's connections."""

from __future__ import annotations

import socket

from pam_pyhome.errors import PyhomeError, WireError
from pam_pyhome.formats import broker

ANSWER_SECONDS = 300.0
LOOK_SECONDS = 0.5


class PeerGoneError(PyhomeError):
    """The other end went away, was silent for too long or broke the protocol."""

    exit_code = 30


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
