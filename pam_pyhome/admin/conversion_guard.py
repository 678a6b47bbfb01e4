"""What is open for a conversion is closed again, also if the process that converts is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, NoReturn

from pam_pyhome.errors import HomeBusyError, HomeElsewhereError, HomeInUseError, PyhomeError
from pam_pyhome.kernel.process import protect_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DONE = b"."
#: Until processes that were killed are gone; and until the lease of the one that converted is.
_SECONDS, _LEASE_SECONDS = 30.0, 5.0
_PAUSE = 0.2


@contextlib.contextmanager
def guarded(lock: int, close: Callable[[], object]) -> Iterator[None]:
    """If this process is killed meanwhile, another one calls `close`; until that has ended, too, the `lock` is held. OSError."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _guard(reader, lock, close)
    os.close(reader)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.write(writer, _DONE)
        os.close(writer)
        os.waitpid(pid, 0)


def _guard(reader: int, lock: int, close: Callable[[], object]) -> NoReturn:
    """The other process."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _let_go(reader, lock)
        with contextlib.suppress(OSError):
            protect_memory()
        if not os.read(reader, 1):
            _close(close)
    finally:
        os._exit(0)


def _let_go(*kept: int) -> None:
    """Hold nothing open that others wait for: leases, pipes, terminals."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in (0, 1, 2, *kept):
            with contextlib.suppress(OSError):
                os.close(int(name))


def _close(close: Callable[[], object]) -> None:
    """Once more and again, until what was killed with that process has let go of the home."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < _SECONDS:
        try:
            close()
        except (HomeBusyError, HomeElsewhereError, HomeInUseError) as error:
            if isinstance(error, HomeInUseError) and waited > _LEASE_SECONDS:
                return  # a session holds it, which has it locked at its end
            time.sleep(_PAUSE)
        except (PyhomeError, OSError):
            return  # it is locked already, or not there any more
        else:
            return
