"""Run `pyhome` until it is about to change a file for the Nth time, then kill it: `killed.py N ARGUMENT...`.

Prints how many times it was about to, if it comes to its end.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from pam_pyhome.cli.main import run

CHANGING = ("mkdir", "rename", "unlink", "rmdir", "write", "fsync", "fchmod", "fchown")


class Steps:
    """Counts the steps, and does not let the last one happen."""

    def __init__(self, last: int) -> None:
        self.count = 0
        self._last = last

    def watch(self, name: str) -> None:
        """Count the calls of a function of `os`."""
        original = getattr(os, name)

        def counted(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - stands for any function of os
            self.count += 1
            if self.count == self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        setattr(os, name, counted)


def main() -> None:
    steps = Steps(int(sys.argv[1]))
    for name in CHANGING:
        steps.watch(name)
    status = run(sys.argv[2:])
    print(f"steps={steps.count}")
    sys.exit(status)


if __name__ == "__main__":
    main()
