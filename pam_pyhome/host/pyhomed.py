"""pyhomed: locks each open home when its last lease is gone, and unlocks homes for the login-shell stub.

It keeps no state of its own: what is open is in `/run/pyhome`, and a lease is a lock that the kernel drops when its holder
dies. So it may be restarted, killed or upgraded at any time. Root tells it `watch UID` on a socket of root's when a home is
opened; on a second socket, which is everybody's, each user can unlock their own home. Under systemd it is socket-activated and
ends when nothing is open; otherwise it makes the sockets itself and stays.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import time

from pam_pyhome import events
from pam_pyhome.formats import broker
from pam_pyhome.host.children import Children, Loop
from pam_pyhome.host.guests import BACKLOG, Guests
from pam_pyhome.host.messages import Messages
from pam_pyhome.host.watching import watch
from pam_pyhome.kernel.log import begin, log
from pam_pyhome.kernel.process import join_first_mount_namespace, protect_memory
from pam_pyhome.policy import users
from pam_pyhome.policy.leases import users_with_records
from pam_pyhome.policy.sessions import DAEMON_SOCKET

FIRST_PASSED_SOCKET = 3
IDLE_SECONDS = 10.0
AGAIN_SECONDS = 1.0
_WRONG_CONFIGURATION = 78
_CURE = "take what gives it one, such as PrivateTmp=, out of pyhomed.service: 'systemctl cat pyhomed.service' shows it"


def main() -> None:
    """Serve until nothing is open (socket-activated) or for ever."""
    begin("pyhomed")
    try:
        join_first_mount_namespace()
    except OSError as error:
        # What is unmounted in another one stays mounted where people are, and its keys would be gone.
        log(events.DAEMON_TROUBLE, f"in a mount name space of its own, no home can be locked ({error.strerror}); {_CURE}")
        sys.exit(_WRONG_CONFIGURATION)
    protect_memory()
    # One descriptor for each open home, and no more than the service manager allows.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    passed = _passed_sockets()
    listeners = passed or _make_sockets()
    loop = Loop()
    children = Children(loop, tuple(listeners.values()))
    watches = Watches(loop, children)
    for listener in listeners.values():
        listener.settimeout(0)
    if DAEMON_SOCKET in listeners:
        Messages(listeners[DAEMON_SOCKET], loop, watches.start)
    if broker.SOCKET in listeners:
        Guests(listeners[broker.SOCKET], loop, children)
    for uid in users_with_records():
        watches.start(uid)
    _serve(loop, children, stay=not passed)


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
    listener.listen(BACKLOG)
    return listener


def _serve(loop: Loop, children: Children, *, stay: bool) -> None:
    """Do what comes, until `stay` is false and nothing has been open, or asked for, for a while."""
    busy_at = time.monotonic()
    while True:
        now = time.monotonic()
        if loop.wait(now, IDLE_SECONDS) or not children.are_none():
            busy_at = time.monotonic()
        loop.do_what_is_due(time.monotonic())
        if not stay and time.monotonic() - busy_at >= IDLE_SECONDS:
            return


class Watches:
    """Which homes are watched."""

    def __init__(self, loop: Loop, children: Children) -> None:
        """None yet; `children` will do it."""
        self._loop = loop
        self._children = children
        self._again: dict[int, bool] = {}

    def start(self, uid: int) -> None:
        """Watch the home of `uid`; if that is being done already, look once more when it ends."""
        if uid in self._again:
            self._again[uid] = True
            return
        try:
            self._children.start(lambda: watch(uid), uid, lambda _status: self._ended(uid))
        except OSError as error:
            log(events.NOT_WATCHED, f"no process for it, trying again: {error.strerror}", users.local(uid))
            self._loop.at(time.monotonic() + AGAIN_SECONDS, f"watch {uid}", lambda: self.start(uid))
        else:
            self._again[uid] = False

    def _ended(self, uid: int) -> None:
        """The child that watched is gone: the home is locked, or somebody asked for another look."""
        if self._again.pop(uid):
            self.start(uid)
