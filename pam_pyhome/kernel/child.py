"""A program as a child process, for as long as its caller can wait and no longer."""

from __future__ import annotations

import os
import select

SIGKILL = 9
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_BURIAL_SECONDS = 1.0


def run(program: str, *arguments: str, seconds: float) -> int | None:
    """Run `program` to its end; its exit status as `os.waitstatus_to_exitcode` has it, None if it was killed after `seconds`.

    It gets a fixed environment, a session of its own, default signals, and /dev/null for its standard streams. What the caller has
    open without close-on-exec, it inherits. OSError if it cannot be started.
    """
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)
    streams = [null, (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
    pid = os.posix_spawn(program, [program, *arguments], _ENVIRONMENT, file_actions=streams, setsid=True, setsigmask=())
    end = os.pidfd_open(pid)
    try:
        if _has_ended(end, seconds):
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.kill(pid, SIGKILL)
        # A process that hangs in the kernel dies when the kernel lets it go; nobody waits for that.
        if _has_ended(end, _BURIAL_SECONDS):
            os.waitpid(pid, 0)
        return None
    finally:
        os.close(end)


def _has_ended(end: int, seconds: float) -> bool:
    """Whether the process behind a pidfd ends within `seconds`."""
    look = select.poll()
    look.register(end, select.POLLIN)
    return bool(look.poll(seconds * 1000))
