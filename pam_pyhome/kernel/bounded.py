"""Looking where others may keep one waiting: in a process of its own, which is given up when its time is over."""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

_SIGKILL = 9
_END = b"\0"
_MOST_DESCRIPTORS = 1 << 20
_BURY_SECONDS = 0.5


def look(work: Callable[[], Iterable[bytes]], seconds: float) -> tuple[tuple[bytes, ...], bool]:
    """The lines that `work` yields in `seconds`, in which there is no line feed or NUL; and whether it came to its end.

    The child has none of this process's descriptors, so what it waits for keeps nothing locked, and nobody else waiting.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(work, writer)
    os.close(writer)
    said = _read(reader, seconds)
    os.close(reader)
    _bury(pid)
    whole, end, _ = said.rpartition(_END)
    lines = (whole if end else said).split(b"\n")
    return tuple(lines[:-1]), bool(end)


def _child(work: Callable[[], Iterable[bytes]], writer: int) -> NoReturn:
    """The life of the child. No exception leaves it."""
    try:
        os.dup2(writer, 0)
        os.closerange(1, _MOST_DESCRIPTORS)
        for line in work():
            _write(line + b"\n")
        _write(_END)
    finally:
        os._exit(0)


def _write(text: bytes) -> None:
    while text:
        text = text[os.write(0, text) :]


def _read(reader: int, seconds: float) -> bytes:
    """All that is said until the other end is closed, or the time is over."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    deadline = time.monotonic() + seconds
    said = b""
    while (left := deadline - time.monotonic()) > 0 and poll.poll(left * 1000):
        chunk = os.read(reader, 65536)
        if not chunk:
            break
        said += chunk
    return said


def _bury(pid: int) -> None:
    """End the child; one that cannot even be killed is left to itself."""
    os.kill(pid, _SIGKILL)
    deadline = time.monotonic() + _BURY_SECONDS
    while os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.005)
