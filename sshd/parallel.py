"""The same work on many things, divided among processes: one per processor."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

Thing = TypeVar("Thing")
Result = TypeVar("Result")

_WORTH_IT = 1000


def divided(work: Callable[[Sequence[Thing]], Result], things: Sequence[Thing]) -> list[Result]:
    """What `work` makes of each share of `things`, in their order. OSError if a process fails, or what `work` raises here.

    The shares are worked on in forks of this process, which must have no threads; what comes back is pickled. A process whose
    share is the first is this one.
    """
    count = len(os.sched_getaffinity(0)) if len(things) >= _WORTH_IT else 1
    size = -(-len(things) // count) or 1
    first, *others = [things[at : at + size] for at in range(0, len(things), size)] or [things]
    forks = [_Fork(work, share) for share in others]
    try:
        return [work(first), *(fork.result() for fork in forks)]
    finally:
        for fork in forks:
            fork.end()


class _Fork(Generic[Thing, Result]):
    """One process with its share, and the pipe through which the result comes."""

    def __init__(self, work: Callable[[Sequence[Thing]], Result], share: Sequence[Thing]) -> None:
        reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(reading)
            _work_and_exit(work, share, writing)
        os.close(writing)
        self._pipe: IO[bytes] = os.fdopen(reading, "rb")

    def result(self) -> Result:
        """What the work came to."""
        data = self._pipe.read()
        if not data:
            raise ChildProcessError(f"process {self._pid} has failed")
        result: Result = pickle.loads(data)
        return result

    def end(self) -> None:
        """Wait for the process, which ends when it cannot write any more."""
        self._pipe.close()
        os.waitpid(self._pid, 0)


def _work_and_exit(work: Callable[[Sequence[Thing]], Result], share: Sequence[Thing], writing: int) -> None:
    """The life of the other process. It must not come back to what this one was doing."""
    status = 1
    try:
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(work(share), pipe, pickle.HIGHEST_PROTOCOL)
        status = 0
    finally:
        os._exit(status)
