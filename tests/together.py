"""Runs all tests in four processes at the same time; every line says of which it is, and the last ones how they ended.

One for the machines of each Debian release; one for the suites that give keys of homes to the kernel, of which it lets a user
have only so many, so that they run one after the other; and one for the rest.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from tests.vm.image import SUITES

HERE = Path(__file__).parent
PYTEST = [sys.executable, "-u", "-m", "pytest", "-p", "tests.no_skips", "-p", "no:cacheprovider", "-v", "--durations=10"]
FAULT_LINES, FAULT_WIDTH = 20, 400
KEYLESS = ("unit", "fuzz", "doctor", "packaging", "sshd")
#: What pytest's summary says of a test that failed, and what a failed one has shown.
_FAULTS = ("FAILED ", "ERROR ", "SKIPPED, and", "E   ")
_CLOSING = re.compile(r"^=+ (.*) in [0-9.]+s.* =+$")
_COUNT = re.compile(r"([0-9]+) (passed|failed|errors?)\b")


class Run:
    """One pytest: what it is to run, and how it ended."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        """Start it."""
        self.name = name
        self.closing = "no end"
        self.faults: list[str] = []
        self.seconds = 0.0
        self._began = time.monotonic()
        pipe, none = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(
            [*PYTEST, *arguments], stdin=none, stdout=pipe, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        assert self._process.stdout is not None
        self._thread = threading.Thread(target=self._relay, args=(self._process.stdout,))
        self._thread.start()

    def _relay(self, lines: IO[str]) -> None:
        """Print what it says, as it says it."""
        for line in lines:
            print(f"{self.name}: {line}", end="", flush=True)
            if line.startswith(_FAULTS):
                self.faults.append(line.rstrip())
            closing = _CLOSING.match(line)
            self.closing = closing[1] if closing else self.closing
        self.seconds = time.monotonic() - self._began

    def wait(self) -> int:
        """Its exit status, when it has ended."""
        self._thread.join()
        return self._process.wait()

    def count(self, what: str) -> int:
        """How many tests `passed`, `failed` or ended in an `error`."""
        return sum(int(number) for number, word in _COUNT.findall(self.closing) if word.startswith(what))


def main() -> int:
    """0 if all tests passed. Arguments are an expression for pytest's -k, and then only the machines' tests are run."""
    chosen = f" and ({' '.join(sys.argv[1:])})" if sys.argv[1:] else ""
    runs = [Run(suite, [str(HERE / "vm"), "-k", suite + chosen]) for suite in SUITES]
    if not chosen:
        suites = sorted({path.parent.name for path in HERE.glob("*/test_*.py")} - {"vm"} | {"unit"})
        runs.append(Run("homes", [str(HERE / name) for name in suites if name not in KEYLESS]))
        runs.append(Run("parts", [str(HERE / name) for name in KEYLESS]))
    code = max(run.wait() for run in runs)
    for run in runs:
        # Once more: what one run has printed in the middle is far above the end of the others.
        for line in run.faults[-FAULT_LINES:]:
            print(f"{run.name}: {line[:FAULT_WIDTH]}")
    for run in runs:
        print(f"{run.name}: {run.closing}; {run.seconds / 60:.0f} minutes")
    passed, failed = (sum(run.count(what) for run in runs for what in words) for words in (("passed",), ("failed", "error")))
    print(f"all: {passed} passed, {failed} failed")
    return code


if __name__ == "__main__":
    sys.exit(main())
