"""A bound on the memory that several processes use at the same time, kept by locks that a dying process gives up.

Also how often something may happen, whoever makes it happen.

In a directory of root's: `turn`, held by the one process that waits for memory now, so that nobody is overtaken; and `share.0` to
`share.7`, each standing for one eighth of the bound, held while that memory is used.
"""

from __future__ import annotations

import os
import time

from pam_pyhome.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

SHARES = 8
_POLL_SECONDS = 0.01


class MemoryTurn:
    """The right to use `shares` eighths of the bound. Use as a context manager; TimeoutError if it is not had in `seconds`.

    `own`: the name of a lock that allows one turn at a time to those who give the same name.
    """

    def __init__(self, directory: str, shares: int, own: str, seconds: float) -> None:
        """Nothing is locked yet."""
        self._path = directory
        self._wanted = min(max(shares, 1), SHARES)
        self._own = own
        self._deadline = time.monotonic() + seconds
        self._held: list[int] = []

    def __enter__(self) -> Self:
        """Wait in the order of arrival."""
        directory = _open_locks(self._path)
        try:
            self._lock(directory, self._own)
            turn = self._lock(directory, "turn")
            self._collect(directory)
            self._held.remove(turn)
            os.close(turn)
        except BaseException:
            self._release()
            raise
        finally:
            os.close(directory)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give everything back."""
        self._release()

    def _release(self) -> None:
        while self._held:
            os.close(self._held.pop())

    def _lock(self, directory: int, name: str) -> int:
        """Hold one lock that others give back sooner or later; its descriptor."""
        fd = _open_lock(directory, name)
        self._held.append(fd)
        if not files.try_lock(fd, exclusive=True, seconds=max(self._deadline - time.monotonic(), 0.0)):
            raise TimeoutError(f"{self._path}/{name} was not free in time")
        return fd

    def _collect(self, directory: int) -> None:
        """Hold as many shares as are wanted. Only one process does this at a time, so what it has found free stays free."""
        free = [_open_lock(directory, f"share.{number}") for number in range(SHARES)]
        self._held += free
        taken = 0
        while True:
            for fd in list(free):
                if taken < self._wanted and files.try_lock(fd, exclusive=True):
                    free.remove(fd)
                    taken += 1
            if taken == self._wanted:
                break
            if time.monotonic() >= self._deadline:
                raise TimeoutError(f"{self._path}: no memory was free in time")
            time.sleep(_POLL_SECONDS)
        for fd in free:
            self._held.remove(fd)
            os.close(fd)


def keep_turn(directory: str, name: str, *, wait: float, keep: float) -> None:
    """Hold the lock `name` for `keep` seconds: no more pass here in a time than that allows. Nobody waits longer than `wait`."""
    place = _open_locks(directory)
    try:
        lock = _open_lock(place, name)
    finally:
        os.close(place)
    try:
        files.try_lock(lock, exclusive=True, seconds=wait)
        time.sleep(keep)
    finally:
        os.close(lock)


def _open_locks(path: str) -> int:
    """The directory of root's with the locks, which is made if need be."""
    for each in (os.path.dirname(path), path):
        try:
            os.mkdir(each, 0o700)
        except FileExistsError:
            continue
    return files.open_directory(path, owners=(0,))


def _open_lock(directory: int, name: str) -> int:
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
