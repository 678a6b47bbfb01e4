"""pyhomed: waits on the leases of open homes and locks each home when its last lease is gone.

It keeps no state of its own: what is open is in `/run/pyhome`, and a lease is a lock that the kernel drops when its holder
dies. So it may be restarted, killed or upgraded at any time. Root tells it `watch UID` on its socket when a home is opened.
Under systemd it is socket-activated and ends when nothing is open; otherwise it makes the socket itself and stays.
"""

from __future__ import annotations

import os
import pwd
import select
import socket
import struct
import syslog
import time

from pam_pyhome.backends.base import Account
from pam_pyhome.errors import HomeBusyError, PyhomeError
from pam_pyhome.kernel.process import protect_memory
from pam_pyhome.policy import locking
from pam_pyhome.policy.leases import GATE_SECONDS, UserState, users_with_records
from pam_pyhome.policy.sessions import DAEMON_SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

FIRST_PASSED_SOCKET = 3
IDLE_SECONDS = 10.0
MESSAGE_SECONDS = 1.0
FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 15.0
REPEAT_LOG_SECONDS = 600.0
_LONGEST_MESSAGE = 64
_CREDENTIALS = struct.Struct("3i")


def main() -> None:
    """Serve until nothing is open (socket-activated) or for ever."""
    syslog.openlog("pyhomed", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    protect_memory()
    activated = _is_activated()
    listener = _passed_socket() if activated else _make_socket()
    watches = Watches(listener)
    for uid in users_with_records():
        watches.start(uid)
    _serve(listener, watches, stay=not activated)


def _is_activated() -> bool:
    """Whether a service manager passed a listening socket to this very process (sd_listen_fds(3))."""
    return os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1"


def _passed_socket() -> socket.socket:
    """The socket that the service manager made."""
    return socket.socket(fileno=FIRST_PASSED_SOCKET)


def _make_socket() -> socket.socket:
    """A listening socket for root only, in the place of one that a dead pyhomed left."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        os.unlink(DAEMON_SOCKET)
    except FileNotFoundError:
        pass
    old_mask = os.umask(0o177)
    listener.bind(DAEMON_SOCKET)
    os.umask(old_mask)
    listener.listen(64)
    return listener


def _serve(listener: socket.socket, watches: Watches, *, stay: bool) -> None:
    """Take messages until `stay` is false and nothing has been open for a while."""
    listener.settimeout(0)
    while True:
        ready, _, _ = select.select([listener.fileno(), *watches.ends()], [], [], IDLE_SECONDS)
        if listener.fileno() in ready:
            _take_message(listener, watches)
        watches.settle(ready)
        if not ready and not stay and watches.are_idle():
            return


def _take_message(listener: socket.socket, watches: Watches) -> None:
    """One connection, one message, from root only; anything else is dropped and logged."""
    try:
        connection, _ = listener.accept()
    except OSError:
        return
    with connection:
        connection.settimeout(MESSAGE_SECONDS)
        try:
            _, uid, _ = _CREDENTIALS.unpack(
                connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
            message = connection.recv(_LONGEST_MESSAGE)
        except OSError:
            return
    verb, _, argument = message.decode("ascii", "replace").strip().partition(" ")
    home = next((home for home in users_with_records() if argument == str(home)), None)
    if uid == 0 and verb == "watch" and home is not None:
        watches.start(home)
    else:
        syslog.syslog(syslog.LOG_WARNING, f"dropped a message from uid {uid}")


class Watches:
    """One child process for each open home.

    Not a thread: locking a home takes its owner's file-system rights and changes the working directory, and both belong to a
    process as a whole.
    """

    def __init__(self, listener: socket.socket) -> None:
        """Nothing is watched yet; children will close `listener`."""
        self._listener = listener
        self._ends: dict[int, int] = {}
        self._again: set[int] = set()

    def start(self, uid: int) -> None:
        """Watch the home of `uid`; if that is being done already, look once more when it ends."""
        if uid in self._ends.values():
            self._again.add(uid)
            return
        pid = os.fork()
        if pid == 0:
            self._listener.close()
            _watch_and_exit(uid)
        self._ends[os.pidfd_open(pid)] = uid

    def ends(self) -> tuple[int, ...]:
        """Descriptors that become readable when a child has ended."""
        return tuple(self._ends)

    def settle(self, ready: list[int]) -> None:
        """Bury the children among `ready`, and start again those that were asked for meanwhile."""
        for end in [end for end in self._ends if end in ready]:
            os.waitid(os.P_PIDFD, end, os.WEXITED)
            os.close(end)
            uid = self._ends.pop(end)
            if uid in self._again:
                self._again.discard(uid)
                self.start(uid)

    def are_idle(self) -> bool:
        """Whether no home is being watched."""
        return not self._ends


def _watch_and_exit(uid: int) -> NoReturn:
    """The life of a child. No exception leaves it: the parent's loop is not the child's."""
    try:
        watch(uid)
    except (PyhomeError, OSError) as error:
        syslog.syslog(syslog.LOG_ERR, f"uid {uid}: no longer watching the home: {error}")
    finally:
        os._exit(0)


def watch(uid: int) -> None:
    """Wait for the last lease to go, lock the home, and return when it is locked or is to stay open."""
    busy = BusyLog(uid)
    while True:
        with UserState(uid) as state:
            state.wait_until_free()
        try:
            outcome = locking.lock_if_unused(uid, find_account, seconds=GATE_SECONDS)
        except HomeBusyError as error:
            busy.report(error)
            time.sleep(busy.next_delay())
            continue
        if outcome == locking.LOCKED:
            syslog.syslog(syslog.LOG_NOTICE, f"uid {uid}: the last session has ended, locked the home")
        if outcome not in (locking.IN_USE, locking.ELSEWHERE):
            return


def find_account(name: str) -> Account | None:
    """The account called `name`, or None if it is gone."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


class BusyLog:
    """Says who keeps a home busy: at once, when that changes, and every ten minutes; and how long to wait for them."""

    def __init__(self, uid: int) -> None:
        """Nothing said yet."""
        self._uid = uid
        self._said: tuple[str, ...] | None = None
        self._said_at = 0.0
        self._delay = FIRST_RETRY_SECONDS

    def report(self, error: HomeBusyError) -> None:
        """Log the holders, unless they were logged lately."""
        now = time.monotonic()
        if error.holders == self._said and now - self._said_at < REPEAT_LOG_SECONDS:
            return
        self._said, self._said_at = error.holders, now
        for holder in error.holders or ("no holder found",):
            syslog.syslog(
                syslog.LOG_NOTICE, f"uid {self._uid}: {error.mountpoint} stays open while it is busy: {holder}"
            )

    def next_delay(self) -> float:
        """Seconds until the next try: short at first, because most holders are about to end."""
        delay = self._delay
        self._delay = min(2 * delay, LONGEST_RETRY_SECONDS)
        return delay
