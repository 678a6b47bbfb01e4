"""Run `pyhome` as far as a point, and end it there with SIGKILL: ``stopped.py POINT NUMBER ARGUMENT...``.

POINT says what NUMBER counts: `step` what it is about to change, from its beginning; `after` the same, from where it begins to
verify; `copying` and `verifying` the files that are done. With `time` it is killed when it begins to verify, and prints how many
seconds it took to get there.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGING = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chown", "os.chmod", "os.symlink", "os.truncate", "fcntl.ioctl"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
VERIFYING = "verifying"


class Point:
    """Where the process ends."""

    def __init__(self, name: str, number: int) -> None:
        self._name = name
        self._left = number
        self._number = number
        self._pid = os.getpid()
        self._armed = name == "step"
        self._began = time.monotonic()

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        """Called by the interpreter before whatever it does."""
        if not self._armed or os.getpid() != self._pid:
            return
        opens = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING and arguments[0] != os.devnull
        exchanges = event == "ctypes.dlsym" and arguments[1] == "renameat2"
        if opens or exchanges or event in CHANGING:
            self._left -= 1
            if self._left == 0:
                self._end()

    def watch(self, show: Callable[..., None]) -> Callable[..., None]:
        """The method that shows progress, watched."""

        def watched(bars: object, part: str, done: int, files: int) -> None:
            if part == VERIFYING and self._name == "after":
                self._armed = True
            if part == VERIFYING and self._name == "time":
                print(f"seconds={time.monotonic() - self._began:.3f}", flush=True)
                self._end()
            if part == self._name and files >= self._number:
                self._end()
            show(bars, part, done, files)

        return watched

    def _end(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        time.sleep(60)  # in a thread, the signal takes its time


def main() -> None:
    point = Point(sys.argv[1], int(sys.argv[2]))
    sys.path[:0] = ["/usr/lib/pyhome"]
    from pam_pyhome.cli.main import run  # noqa: PLC0415 - of the machine, not of the repository
    from pam_pyhome.cli.progress import Bars  # noqa: PLC0415 - as above

    sys.addaudithook(point.audit)
    setattr(Bars, "show", point.watch(Bars.show))  # noqa: B010 - what is shown is how far it is
    sys.exit(run(sys.argv[3:]))


if __name__ == "__main__":
    main()
