"""The broker's side of a request of the command line: one verb, in a process of its own, about the home of whoever asks."""

from __future__ import annotations

import time

from pam_pyhome.errors import PyhomeError
from pam_pyhome.formats import broker
from pam_pyhome.formats.facts import emit_facts, emit_failure
from pam_pyhome.host.packets import ANSWER_SECONDS, LOOK_SECONDS, PeerGoneError, Room, receive, send, send_text
from pam_pyhome.policy import own_keys, users
from pam_pyhome.policy.failures import failure_of
from pam_pyhome.policy.verbs import perform

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account


def serve(connection: socket.socket, account: Account, pid: int, body: bytes, room: Room) -> None:
    """Do what the request in `body` asks for. PeerGoneError if the peer leaves early: then nobody waits for it any more."""
    request = broker.parse_request(body)
    try:
        users.check(account)
        if request.verb == broker.SYNC:
            send(connection, broker.SYNCED, bytes((own_keys.sync(account.name, Peer(connection, room).say),)))
            return
        changed, facts = perform(account, request, pid, Peer(connection, room))
    except PeerGoneError:
        raise
    except (PyhomeError, OSError) as error:
        send(connection, broker.FAILED, emit_failure(failure_of(error)))
        return
    send(connection, broker.FACTS, bytes((changed,)) + emit_facts(facts))


class Peer:
    """The `policy.verbs.Talk` with the command line at the other end of a connection."""

    def __init__(self, connection: socket.socket, room: Room) -> None:
        """Nothing is sent yet."""
        self._connection = connection
        self._room = room

    def ask(self, prompt: str, *, new: bool = False, until: Callable[[], bool] | None = None) -> bytes | None:
        """See `Talk.ask`. PeerGoneError if there is no answer for too long."""
        return self._ask(broker.ASK_NEW if new else broker.PROMPT, prompt, until)

    def show_key(self, key: str) -> None:
        """See `Talk.show_key`. PeerGoneError if nobody says that it was shown."""
        self._ask(broker.SHOW_KEY, key, None)

    def _ask(self, packet: int, text: str, until: Callable[[], bool] | None) -> bytes | None:
        send_text(self._connection, packet, text)
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline:
            if self._room.wait(self._connection, LOOK_SECONDS):
                kind, body = receive(self._connection)
                if kind != broker.ANSWER:
                    raise PeerGoneError("a packet that is no answer")
                return body
            if until is not None and until():
                return None
        raise PeerGoneError("no answer for too long")

    def say(self, line: str) -> None:
        """See `Talk.say`. PeerGoneError if nobody listens any more."""
        send_text(self._connection, broker.SAY, line)

    def pause(self, seconds: float) -> None:
        """See `Talk.pause`. PeerGoneError if the peer is gone, or says something while it is not its turn."""
        if self._room.wait(self._connection, seconds):
            raise PeerGoneError("the peer did not wait for the answer")
