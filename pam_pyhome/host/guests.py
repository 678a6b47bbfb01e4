"""Whoever connects to the broker's socket: taken in by a process of their own, or hung up on before they cost anything.

There is one socket and one queue for all users, so the queue is emptied as a whole and at once, whoever is in it: who waits in
connect(2) then has as good a chance as who tries all the time. After a turn in which somebody was hung up on, there is a pause, so
that a flood costs little here.
"""

from __future__ import annotations

import socket
import struct
import time

from pam_pyhome import events
from pam_pyhome.errors import NoUserError
from pam_pyhome.host.broker import converse
from pam_pyhome.host.budget import Budgets
from pam_pyhome.host.packets import PeerGoneError, Room
from pam_pyhome.kernel.log import log
from pam_pyhome.policy import users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.host.children import Children, Loop

BACKLOG = 256
PAUSE_SECONDS = 0.02
MOST_OF_ONE = 16
MOST_OF_ALL = 256
PATIENCE_SECONDS = 20.0
_LEFT = 1
_CREDENTIALS = struct.Struct("3i")


def accept(listener: socket.socket) -> tuple[socket.socket, int, int] | None:
    """A connection with the process and user at its other end, as the kernel knows them; None if there is none (any more)."""
    try:
        connection, _ = listener.accept()
    except OSError:
        return None
    pid, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return connection, pid, uid


class _Guest:
    """One conversation: who pays for it, since when it goes on, and how to ask it for its place."""

    def __init__(self, payer: int, since: float) -> None:
        self.payer = payer
        self.since = since
        self.room = Room()


class Guests:
    """All conversations."""

    def __init__(self, listener: socket.socket, loop: Loop, children: Children) -> None:
        """Nobody is there yet."""
        self._listener = listener
        self._loop = loop
        self._children = children
        self._budgets = Budgets()
        self._guests: list[_Guest] = []
        self._open()

    def _open(self) -> None:
        self._loop.on(self._listener.fileno(), self._take_all)

    def _take_all(self) -> None:
        """Take in or hang up on as many as the queue holds, with one look at each user's budget."""
        refused: set[int] = set()
        for _ in range(BACKLOG):
            accepted = accept(self._listener)
            if accepted is None:
                break
            connection, pid, uid = accepted
            with connection:
                if uid not in refused and not self._take(connection, pid, uid, time.monotonic()):
                    refused.add(uid)
        if refused:
            self._loop.off(self._listener.fileno())
            self._loop.at(time.monotonic() + PAUSE_SECONDS, "guests", self._open)

    def _take(self, connection: socket.socket, pid: int, uid: int, now: float) -> bool:
        """Whether somebody talks to them from now on."""
        payer = self._budgets.whose(uid)
        why = f"too many conversations, refused one more of pid {pid}"
        if self._has_room(payer, now) and self._budgets.spend(payer, now):
            try:
                self._start(connection, pid, uid, _Guest(payer, now))
            except OSError as error:
                why = f"no process for a conversation with pid {pid}: {error.strerror}"
            else:
                return True
        self._say("refused", payer, why)
        return False

    def _say(self, kind: str, payer: int, what: str) -> None:
        """One line in the log, unless there was one of the kind about this user within a minute."""
        times = self._budgets.to_say(payer, kind, time.monotonic())
        if times:
            often = f"; {times} such since the last record" if times > 1 else ""
            strange = " of users who are not known here" if payer < 0 else ""
            log(events.GUEST_REFUSED, what + strange + often, users.local(payer))

    def _has_room(self, payer: int, now: float) -> bool:
        """Whether there may be one more. If not, the oldest is asked to make room for the next, as far as it only waits."""
        theirs = [guest for guest in self._guests if guest.payer == payer]
        if len(theirs) < MOST_OF_ONE:
            return len(self._guests) < MOST_OF_ALL
        if theirs[0].since < now - PATIENCE_SECONDS:
            theirs[0].room.ask_for_it()
        return False

    def _start(self, connection: socket.socket, pid: int, uid: int, guest: _Guest) -> None:
        def ended(status: int) -> None:
            self._guests.remove(guest)
            guest.room.close()
            if status == _LEFT:
                self._say("left", guest.payer, f"the conversation with pid {pid} ended early")

        try:
            self._children.start(lambda: _converse(connection, pid, uid, guest.room), uid, ended)
        except OSError:
            guest.room.close()
            raise
        self._guests.append(guest)


def _converse(connection: socket.socket, pid: int, uid: int, room: Room) -> int:
    """The life of a child that talks to one of them; its exit status."""
    try:
        converse(connection, users.account_of(uid), pid, room)
    except (PeerGoneError, NoUserError):
        return _LEFT
    return 0
