"""What root says to pyhomed: `watch UID`, one message on each connection, for which nobody waits."""

from __future__ import annotations

import time

from pam_pyhome import events
from pam_pyhome.host.guests import accept
from pam_pyhome.kernel.log import log
from pam_pyhome.policy.leases import has_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pam_pyhome.host.children import Loop

MESSAGE_SECONDS = 1.0
_MOST_AT_ONCE = 64
_LONGEST_MESSAGE = 64


class Messages:
    """The connections on which no message has come yet."""

    def __init__(self, listener: socket.socket, loop: Loop, watch: Callable[[int], None]) -> None:
        """`watch` is called with the uid that a message names, if its home is open."""
        self._listener = listener
        self._loop = loop
        self._watch = watch
        self._silent: dict[int, socket.socket] = {}
        loop.on(listener.fileno(), self._accept)

    def _accept(self) -> None:
        """One connection of root's. It usually has its message in it already."""
        accepted = accept(self._listener)
        if accepted is None:
            return
        connection, _, uid = accepted
        if uid != 0 or len(self._silent) >= _MOST_AT_ONCE:
            connection.close()
            log(events.GUEST_REFUSED, f"a message from uid {uid} on the socket of root's")
            return
        connection.settimeout(0)
        fd = connection.fileno()
        self._silent[fd] = connection
        self._loop.on(fd, lambda: self._read(fd))
        self._loop.at(time.monotonic() + MESSAGE_SECONDS, f"message {fd}", lambda: self._end(fd, connection))

    def _read(self, fd: int) -> None:
        try:
            message = self._silent[fd].recv(_LONGEST_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        self._end(fd, self._silent[fd])
        verb, _, argument = message.decode("ascii", "replace").strip().partition(" ")
        is_uid = argument.isascii() and argument.isdigit() and argument == str(int(argument))
        if verb == "watch" and is_uid and has_record(int(argument)):
            self._watch(int(argument))
        elif message:  # who only looks whether somebody listens, as doctor does, says nothing
            log(events.GUEST_REFUSED, "a message from uid 0 that says nothing")

    def _end(self, fd: int, connection: socket.socket) -> None:
        """Close it, unless that was done, and the number may be another connection's."""
        if self._silent.get(fd) is connection:
            del self._silent[fd]
            self._loop.off(fd)
            connection.close()
