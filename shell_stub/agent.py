"""The forwarded ssh agent, whose socket may be in the home: what is mounted there hides it.

OpenSSH from 10.1 on makes the socket in ``~/.ssh/agent`` before the home is open. A descriptor of that directory, held by the
shell and everything that it starts, still leads there, and keeps nothing busy but the file system below.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = b"SSH_AUTH_SOCK"
LOWEST = 100  # above what shells use for themselves, and what people write in scripts
STALE_SECONDS = 60.0


class Agent:
    """The directory of a socket, or nothing: then there is nothing to do."""

    def __init__(self, directory: int | None = None, name: bytes = b"") -> None:
        """Keep the descriptor."""
        self._directory = directory
        self._name = name

    def reach(self, environment: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """The environment with a path that leads to the socket. The pid stays the same when this process becomes the shell."""
        if self._directory is None or os.path.exists(environment[VARIABLE]):
            return environment
        return {**environment, VARIABLE: b"/proc/%d/fd/%d/%s" % (os.getpid(), self._directory, self._name)}


def hold(environment: Mapping[bytes, bytes], home: bytes) -> Agent:
    """Open the directory of the agent's socket if it is in the home, or below it in the working directory."""
    path = environment.get(VARIABLE, b"")
    if not home or not path.startswith(home + b"/"):
        return Agent()
    for directory, name in map(os.path.split, (path, path[len(home) + 1 :])):
        try:
            os.stat(os.path.join(directory, name))
            fd = os.open(directory or b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            _sweep(fd)
            return Agent(fcntl.fcntl(fd, fcntl.F_DUPFD, LOWEST), name)
        finally:
            os.close(fd)
    return Agent()


def _sweep(directory: int) -> None:
    """Remove what earlier sessions left: sshd cannot remove a socket whose path leads into the open home by then."""
    place = b"/proc/self/fd/%d" % directory
    try:
        for name in os.listdir(place):
            status = os.lstat(place + b"/" + name)
            if stat.S_ISSOCK(status.st_mode) and time.time() - status.st_mtime > STALE_SECONDS and _is_dead(place + b"/" + name):
                os.unlink(place + b"/" + name)
    except OSError:
        pass


def _is_dead(path: bytes) -> bool:
    """Whether nobody listens on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
