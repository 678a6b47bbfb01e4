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
import threading
import time

from pam_pyhome.backends.base import Account
from pam_pyhome.errors import HomeBusyError, PyhomeError
from pam_pyhome.kernel.process import protect_memory
from pam_pyhome.policy import locking
from pam_pyhome.policy.leases import GATE_SECONDS, UserState, users_with_records
from pam_pyhome.policy.sessions import DAEMON_SOCKET

FIRST_PASSED_SOCKET = 3
IDLE_SECONDS = 10.0
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
    watches = Watches()
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
    listener.setblocking(False)
    while True:
        ready, _, _ = select.select([listener], [], [], IDLE_SECONDS)
        if ready:
            _take_message(listener, watches)
        elif not stay and watches.are_idle():
            return


def _take_message(listener: socket.socket, watches: Watches) -> None:
    """One connection, one message, from root only; anything else is dropped and logged."""
    try:
        connection, _ = listener.accept()
    except OSError:
        return
    with connection:
        connection.settimeout(1.0)
        try:
            _, uid, _ = _CREDENTIALS.unpack(
                connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
            message = connection.recv(_LONGEST_MESSAGE)
        except OSError:
            return
    verb, _, argument = message.decode("ascii", "replace").strip().partition(" ")
    if uid == 0 and verb == "watch" and argument.isascii() and argument.isdigit():
        watches.start(int(argument))
    else:
        syslog.syslog(syslog.LOG_WARNING, f"dropped a message from uid {uid}")


class Watches:
    """One thread for each open home."""

    def __init__(self) -> None:
        """Nothing is watched yet."""
        self._lock = threading.Lock()
        self._again: dict[int, bool] = {}

    def start(self, uid: int) -> None:
        """Watch the home of `uid`; if that is being done already, look once more before giving up."""
        with self._lock:
            running = uid in self._again
            self._again[uid] = running
        if not running:
            threading.Thread(target=self._run, args=(uid,), daemon=True).start()

    def are_idle(self) -> bool:
        """Whether no home is being watched."""
        with self._lock:
            return not self._again

    def _run(self, uid: int) -> None:
        """Watch until the home is locked and nobody asked again meanwhile."""
        while True:
            try:
                watch(uid)
            except (PyhomeError, OSError) as error:
                syslog.syslog(syslog.LOG_ERR, f"uid {uid}: no longer watching the home: {error}")
            with self._lock:
                if not self._again[uid]:
                    del self._again[uid]
                    return
                self._again[uid] = False


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
