"""pyhomed: locks each open home when its last lease is gone, and unlocks homes for the login-shell stub.

It keeps no state of its own: what is open is in `/run/pyhome`, and a lease is a lock that the kernel drops when its holder
dies. So it may be restarted, killed or upgraded at any time. Root tells it `watch UID` on a socket of root's when a home is
opened; on a second socket, which is everybody's, each user can unlock their own home. Under systemd it is socket-activated and
ends when nothing is open; otherwise it makes the sockets itself and stays.
"""

from __future__ import annotations

import os
import pwd
import select
import socket
import struct
import syslog

from pam_pyhome.backends.base import Account
from pam_pyhome.errors import PyhomeError
from pam_pyhome.formats import broker
from pam_pyhome.host.broker import converse
from pam_pyhome.host.packets import PeerGoneError
from pam_pyhome.host.watching import watch
from pam_pyhome.kernel.process import protect_memory
from pam_pyhome.policy.leases import users_with_records
from pam_pyhome.policy.sessions import DAEMON_SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

FIRST_PASSED_SOCKET = 3
IDLE_SECONDS = 10.0
MESSAGE_SECONDS = 1.0
MOST_CONVERSATIONS = 16
MOST_CHILDREN = 256
_LONGEST_MESSAGE = 64
_CREDENTIALS = struct.Struct("3i")


def main() -> None:
    """Serve until nothing is open (socket-activated) or for ever."""
    syslog.openlog("pyhomed", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    protect_memory()
    passed = _passed_sockets()
    listeners = passed or _make_sockets()
    children = Children(tuple(listeners.values()))
    watches = Watches(children)
    for uid in users_with_records():
        watches.start(uid)
    _serve(listeners, watches, children, stay=not passed)


def _passed_sockets() -> dict[str, socket.socket]:
    """By path, the listening sockets that a service manager passed to this very process (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(os.environ.get("LISTEN_FDS", "0"))
    passed = [socket.socket(fileno=FIRST_PASSED_SOCKET + number) for number in range(count)]
    return {listener.getsockname(): listener for listener in passed}


def _make_sockets() -> dict[str, socket.socket]:
    """The same, made by ourselves in the place of those that a dead pyhomed left."""
    return {DAEMON_SOCKET: _make_socket(DAEMON_SOCKET, 0o600), broker.SOCKET: _make_socket(broker.SOCKET, 0o666)}


def _make_socket(path: str, mode: int) -> socket.socket:
    """One listening socket."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    old_mask = os.umask(0o777 & ~mode)
    listener.bind(path)
    os.umask(old_mask)
    listener.listen(64)
    return listener


def _serve(listeners: dict[str, socket.socket], watches: Watches, children: Children, *, stay: bool) -> None:
    """Take messages until `stay` is false and nothing has been open for a while."""
    by_descriptor = {listener.fileno(): path for path, listener in listeners.items()}
    while True:
        ready, _, _ = select.select([*by_descriptor, *children.ends()], [], [], IDLE_SECONDS)
        for path in [by_descriptor[end] for end in ready if end in by_descriptor]:
            if path == DAEMON_SOCKET:
                _take_message(listeners[path], watches)
            else:
                _take_stub(listeners[path], children)
        for uid in children.settle(ready):
            watches.ended(uid)
        if not ready and not stay and children.are_none():
            return


def _accept(listener: socket.socket) -> tuple[socket.socket, int, int] | None:
    """A connection with the process and user at its other end, as the kernel knows them; None if it is gone already."""
    try:
        listener.settimeout(0)
        connection, _ = listener.accept()
    except OSError:
        return None
    pid, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return connection, pid, uid


def _take_stub(listener: socket.socket, children: Children) -> None:
    """Start a conversation with a login-shell stub, unless its user has too many of them already."""
    accepted = _accept(listener)
    if accepted is None:
        return
    connection, pid, uid = accepted
    with connection:
        if children.count(uid) >= MOST_CONVERSATIONS or children.count() >= MOST_CHILDREN:
            syslog.syslog(syslog.LOG_WARNING, f"uid {uid}: too many conversations, refused one more of pid {pid}")
            return
        children.start(lambda: _converse(connection, pid, uid), uid)


def _converse(connection: socket.socket, pid: int, uid: int) -> None:
    """The life of a child that talks to a stub."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return
    account = Account(entry.pw_name, uid, entry.pw_gid, entry.pw_dir)
    try:
        converse(connection, account, pid)
    except PeerGoneError as error:
        syslog.syslog(syslog.LOG_INFO, f"uid {uid}: the conversation with pid {pid} ended early: {error}")


def _take_message(listener: socket.socket, watches: Watches) -> None:
    """One connection, one message, from root only; anything else is dropped and logged."""
    accepted = _accept(listener)
    if accepted is None:
        return
    connection, _, uid = accepted
    with connection:
        connection.settimeout(MESSAGE_SECONDS)
        try:
            message = connection.recv(_LONGEST_MESSAGE)
        except OSError:
            return
    verb, _, argument = message.decode("ascii", "replace").strip().partition(" ")
    home = next((home for home in users_with_records() if argument == str(home)), None)
    if uid == 0 and verb == "watch" and home is not None:
        watches.start(home)
    else:
        syslog.syslog(syslog.LOG_WARNING, f"dropped a message from uid {uid}")


class Children:
    """The processes that do the work: one for each open home, one for each conversation.

    Not threads: locking and unlocking take the owner's file-system rights and change the working directory, and both belong to
    a process as a whole.
    """

    def __init__(self, listeners: tuple[socket.socket, ...]) -> None:
        """There are none yet; each will close its copies of `listeners`."""
        self._listeners = listeners
        self._ends: dict[int, tuple[int, int, bool]] = {}

    def start(self, task: Callable[[], None], uid: int, *, watches: bool = False) -> None:
        """Run `task` on behalf of `uid` in a child."""
        pid = os.fork()
        if pid == 0:
            for listener in self._listeners:
                listener.close()
            _run_and_exit(task, uid)
        self._ends[os.pidfd_open(pid)] = (pid, uid, watches)

    def ends(self) -> tuple[int, ...]:
        """Descriptors that become readable when a child has ended."""
        return tuple(self._ends)

    def settle(self, ready: list[int]) -> list[int]:
        """Bury the children among `ready`; the uids whose homes they watched."""
        watched = []
        for end in [end for end in self._ends if end in ready]:
            pid, uid, watches = self._ends.pop(end)
            os.waitpid(pid, 0)
            os.close(end)
            if watches:
                watched.append(uid)
        return watched

    def count(self, uid: int | None = None) -> int:
        """How many children hold conversations, of one user or in all."""
        return sum(not watches and uid in (None, of) for _, of, watches in self._ends.values())

    def are_none(self) -> bool:
        """Whether nothing is going on."""
        return not self._ends


def _run_and_exit(task: Callable[[], None], uid: int) -> NoReturn:
    """The life of a child. No exception leaves it: the parent's loop is not the child's."""
    try:
        task()
    except (PyhomeError, OSError) as error:
        syslog.syslog(syslog.LOG_ERR, f"uid {uid}: {type(error).__name__}: {error}")
    finally:
        os._exit(0)


class Watches:
    """Which homes are watched."""

    def __init__(self, children: Children) -> None:
        """None yet; `children` will do it."""
        self._children = children
        self._again: dict[int, bool] = {}

    def start(self, uid: int) -> None:
        """Watch the home of `uid`; if that is being done already, look once more when it ends."""
        if uid in self._again:
            self._again[uid] = True
            return
        self._again[uid] = False
        self._children.start(lambda: watch(uid), uid, watches=True)

    def ended(self, uid: int) -> None:
        """The child that watched is gone: the home is locked, or somebody asked for another look."""
        if self._again.pop(uid):
            self.start(uid)
