"""Work where others may keep one waiting: done by a child process, which its caller waits for so long and no longer."""

from __future__ import annotations

import os
import select
import time

from pam_pyhome.kernel.process import alarm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SIGKILL = 9
_BURIAL_SECONDS = 0.5
_WRITER = 0
_END = b"\0"
_MOST_SAID = 1 << 20


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


def lines_of(work: Callable[[], Iterable[bytes]], *, seconds: float) -> tuple[tuple[bytes, ...], bool]:
    """The lines, without LF and NUL in them, that `work` yields in a child in `seconds`; and whether it came to its end."""

    def say(out: int) -> None:
        for line in work():
            _write(out, line + b"\n")
        _write(out, _END)

    said = said_by(say, seconds=seconds, most=_MOST_SAID)
    whole, end, _ = said.rpartition(_END)
    return tuple((whole if end else said).split(b"\n")[:-1]), bool(end)


def _write(out: int, text: bytes) -> None:
    while text:
        text = text[os.write(out, text) :]


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
