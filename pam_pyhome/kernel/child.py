"""A program as a child process, for as long as its caller can wait and no longer."""

from __future__ import annotations

import os
import select

SIGKILL = 9
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_BURIAL_SECONDS = 1.0


def run(program: str, *arguments: str, seconds: float, said: bytes = b"", out: int | None = None) -> int | None:
    """Run `program` to its end; its exit status as `os.waitstatus_to_exitcode` has it, None if it was killed after `seconds`.

    It gets a fixed environment, a session of its own, default signals, and /dev/null for its standard streams. If they are
    given, `said`, of at most 4096 bytes, is its standard input, and the descriptor `out` its standard output. What the caller
    has open without close-on-exec, it inherits. OSError if it cannot be started.
    """
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)
    streams = [null, (os.POSIX_SPAWN_DUP2, 0 if out is None else out, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
    reader = _pipe_with(said) if said else -1
    if said:
        streams.append((os.POSIX_SPAWN_DUP2, reader, 0))
    try:
        pid = os.posix_spawn(program, [program, *arguments], _ENVIRONMENT, file_actions=streams, setsid=True, setsigmask=())
    finally:
        if said:
            os.close(reader)
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


def _pipe_with(said: bytes) -> int:
    """The end to read from of a pipe with so many bytes in it, which a pipe holds without anybody reading."""
    reader, writer = os.pipe()
    try:
        os.write(writer, said)
    finally:
        os.close(writer)
    return reader


def _has_ended(end: int, seconds: float) -> bool:
    """Whether the process behind a pidfd ends within `seconds`."""
    look = select.poll()
    look.register(end, select.POLLIN)
    return bool(look.poll(seconds * 1000))
