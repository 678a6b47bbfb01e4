"""The processes that do pyhomed's work: one for each open home, one for each conversation.

Not threads: locking and unlocking take the owner's file-system rights and change the working directory, and both belong to a
process as a whole.
"""

from __future__ import annotations

import os
import select

from pam_pyhome import events
from pam_pyhome.errors import PyhomeError
from pam_pyhome.kernel.child import SIGKILL
from pam_pyhome.kernel.log import log
from pam_pyhome.policy import users

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import NoReturn


class Loop:
    """What pyhomed waits for: descriptors that become readable, and moments. epoll, because there may be thousands."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._epoll = select.epoll()
        self._actions: dict[int, Callable[[], None]] = {}
        self._moments: dict[str, tuple[float, Callable[[], None]]] = {}

    def on(self, fd: int, action: Callable[[], None]) -> None:
        """Do this whenever `fd` is readable."""
        self._actions[fd] = action
        self._epoll.register(fd, select.EPOLLIN)

    def off(self, fd: int) -> None:
        """No longer."""
        del self._actions[fd]
        self._epoll.unregister(fd)

    def at(self, moment: float, name: str, action: Callable[[], None]) -> None:
        """Do this once, at a moment of the monotonic clock, in the place of what is to be done under the same name."""
        self._moments[name] = (moment, action)

    def wait(self, now: float, longest: float) -> bool:
        """Wait for what comes first, and do it; whether a descriptor was readable."""
        seconds = min([longest, *(moment - now for moment, _ in self._moments.values())])
        ready = self._epoll.poll(max(seconds, 0.0))
        for fd, _ in ready:
            # What was done before it may have settled this one as well.
            if fd in self._actions:
                self._actions[fd]()
        return bool(ready)

    def do_what_is_due(self, now: float) -> None:
        """Do what a moment was given for."""
        for name, (moment, action) in list(self._moments.items()):
            if moment <= now:
                del self._moments[name]
                action()


class Children:
    """All of them."""

    def __init__(self, loop: Loop, listeners: tuple[socket.socket, ...]) -> None:
        """There are none yet; each will close its copies of `listeners`."""
        self._loop = loop
        self._listeners = listeners
        self._count = 0

    def start(self, task: Callable[[], int | None], uid: int, ended: Callable[[int], None]) -> None:
        """Run `task` on behalf of `uid` in a child; `ended` gets what it gave, as the exit status. OSError if there is no room."""
        pid = os.fork()
        if pid == 0:
            for listener in self._listeners:
                listener.close()
            _run_and_exit(task, uid)
        try:
            end = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._count += 1
        self._loop.on(end, lambda: self._bury(pid, end, ended))

    def _bury(self, pid: int, end: int, ended: Callable[[int], None]) -> None:
        self._loop.off(end)
        _, status = os.waitpid(pid, 0)
        os.close(end)
        self._count -= 1
        ended(os.waitstatus_to_exitcode(status))

    def are_none(self) -> bool:
        """Whether nothing is going on."""
        return self._count == 0


def _run_and_exit(task: Callable[[], int | None], uid: int) -> NoReturn:
    """The life of a child. No exception leaves it: the parent's loop is not the child's."""
    status = None
    try:
        status = task()
    except (PyhomeError, OSError) as error:
        log(events.DAEMON_TROUBLE, f"{type(error).__name__}: {error}", users.local(uid))
    finally:
        os._exit(status or 0)
