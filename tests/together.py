"""Runs all tests in four processes at the same time; every line says of which it is, and the last ones how they ended.

One for the machines of each Debian release; one for the suites that give keys of homes to the kernel, of which it lets a user
have only so many, so that they run one after the other; and one for the rest.

Four at a time leave each of them half a processor, and some tests wait for things that have to happen within seconds. What has
failed runs once more when all have ended, each run by itself, and is named; more than one test in a hundred of those is a failure
whatever comes of it.
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
PYTEST = [sys.executable, "-u", "-m", "pytest", "-p", "tests.no_skips", "-v", "--durations=10"]
CACHES = HERE.parent / "build/pytest"
KEYLESS = ("unit", "fuzz", "doctor", "packaging", "sshd")
SOME_FAILED = 1  # pytest's status when it has run to its end
AGAIN_AT_MOST = 0.01
FAULT_LINES, FAULT_WIDTH = 20, 400
#: What pytest's summary says of a test that failed, and what a failed one has shown.
_FAULTS = ("FAILED ", "ERROR ", "SKIPPED, and", "E   ")
_CLOSING = re.compile(r"^=+ (.*) in [0-9.]+s.* =+$")
_COUNT = re.compile(r"([0-9]+) (passed|failed|errors?)\b")


class Run:
    """One pytest: what it is to run, and how it ended. Which tests failed, pytest keeps in a cache of its own for each name."""

    def __init__(self, name: str, arguments: list[str], note: str = "") -> None:
        """Start it. `note` is added to the name where it is printed."""
        self.name, self.arguments = name + note, arguments
        self.closing = "no end"
        self.faults: list[str] = []
        self.seconds = 0.0
        self._began = time.monotonic()
        pipe, none = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(
            [*PYTEST, "-o", f"cache_dir={CACHES / name}", *arguments],
            stdin=none,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
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

    def count(self, *words: str) -> int:
        """How many tests `passed`, `failed` or ended in an `error`."""
        return sum(int(number) for number, word in _COUNT.findall(self.closing) if word.startswith(words))


def main() -> int:
    """0 if all tests passed. Arguments are an expression for pytest's -k, and then only the machines' tests are run."""
    chosen = f" and ({' '.join(sys.argv[1:])})" if sys.argv[1:] else ""
    runs = [Run(suite, [str(HERE / "vm"), "-k", suite + chosen]) for suite in SUITES]
    if not chosen:
        suites = sorted({path.parent.name for path in HERE.glob("*/test_*.py")} - {"vm"} | {"unit"})
        runs.append(Run("homes", [str(HERE / name) for name in suites if name not in KEYLESS]))
        runs.append(Run("parts", [str(HERE / name) for name in KEYLESS]))
    codes = [run.wait() for run in runs]
    failed = sum(run.count("failed", "error") for run in runs)
    passed = sum(run.count("passed") for run in runs)
    seconds, better = [], 0
    for number, run in enumerate(runs):
        if codes[number] == SOME_FAILED and failed <= max(1, AGAIN_AT_MOST * (passed + failed)):
            again = ["--last-failed", "--last-failed-no-failures=none", *run.arguments]
            seconds.append(second := Run(run.name, again, ", again"))
            codes[number] = second.wait()
            better += second.count("passed") if codes[number] == 0 else 0
    for run in (*runs, *seconds):
        # Once more: what one run has printed in the middle is far above the end of the others.
        for line in run.faults[-FAULT_LINES:]:
            print(f"{run.name}: {line[:FAULT_WIDTH]}")
    for run in (*runs, *seconds):
        print(f"{run.name}: {run.closing}; {run.seconds / 60:.0f} minutes")
    print(f"all: {passed + better} passed, {better} of them when they ran again; {failed - better} failed")
    return int(any(codes))  # a run that was killed has a negative one


if __name__ == "__main__":
    sys.exit(main())
