"""Runs the tests of the virtual machines, one pytest for each Debian release at the same time; every line says whose it is."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from tests.vm.image import SUITES

HERE = Path(__file__).parent
PYTEST = [sys.executable, "-u", "-m", "pytest", "-p", "tests.no_skips", "-p", "no:cacheprovider", "-v", "--durations=10"]


def start(suite: str, arguments: list[str]) -> subprocess.Popen[str]:
    """Run the tests of one release."""
    command = [*PYTEST, str(HERE), "-k", suite if not arguments else f"{suite} and ({' '.join(arguments)})"]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def relay(suite: str, lines: IO[str]) -> None:
    """Print what the tests of a release say, as they say it."""
    for line in lines:
        print(f"{suite}: {line}", end="", flush=True)


def main() -> int:
    """0 if the tests of all releases passed. Arguments are an expression for pytest's -k."""
    runs = {suite: start(suite, sys.argv[1:]) for suite in SUITES}
    threads = []
    for suite, run in runs.items():
        assert run.stdout is not None
        threads.append(threading.Thread(target=relay, args=(suite, run.stdout)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return max(run.wait() for run in runs.values())


if __name__ == "__main__":
    sys.exit(main())
