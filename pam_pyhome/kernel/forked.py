"""Work on file systems that may be slow or hostile: done by a child process, which its caller waits for so long and no longer."""

from __future__ import annotations

import os
import select
import time

from pam_pyhome.kernel.process import alarm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIGKILL = 9
_BURIAL_SECONDS = 0.05
_WRITER = 3


def said_by(work: Callable[[int], None], *, seconds: float, most: int) -> bytes:
    """What `work`, run in a child, writes to the descriptor that it is given: at most `most` bytes, and what comes in `seconds`.

    The child has nothing else open: no lock or socket of its parent lives on in one that hangs in the kernel. Nobody waits for such
    a one to end. OSError if there is no room for a process.
    """
    deadline = time.monotonic() + seconds
    reader, writer = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        raise
    if pid == 0:
        _run(work, writer, seconds)
    os.close(writer)
    try:
        return _read(reader, deadline, most)
    finally:
        os.close(reader)
        _end(pid)


def _run(work: Callable[[int], None], writer: int, seconds: float) -> None:
    """The child. It never comes back."""
    try:
        os.dup2(writer, _WRITER)
        os.closerange(_WRITER + 1, 1 << 20)
        alarm(int(seconds) + 1)
        work(_WRITER)
    except BaseException:  # noqa: BLE001 - whatever it was, the parent sees that the rest is missing
        os._exit(1)
    os._exit(0)


def _read(reader: int, deadline: float, most: int) -> bytes:
    """Everything until the end of the pipe, of the time, or of the patience."""
    poll = select.poll()
    poll.register(reader, select.POLLIN | select.POLLHUP)
    content = b""
    while len(content) < most and poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        chunk = os.read(reader, min(65536, most - len(content)))
        if not chunk:
            break
        content += chunk
    return content


def _end(pid: int) -> None:
    """End the child, and bury it if it can be ended. Where dead children are ignored, it may be gone already."""
    try:
        end = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        os.kill(pid, SIGKILL)
        poll = select.poll()
        poll.register(end, select.POLLIN)
        if poll.poll(_BURIAL_SECONDS * 1000):
            os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return
    finally:
        os.close(end)
