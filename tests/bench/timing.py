"""Times PAM transactions in turn, A B C A B C …, wherever it runs: in a test machine or in a virtual one. Standard library only.

Reads one JSON object: `rounds`, `password`, and `cases`, a list of `name`, `command` (of pamtester) and `between` (a shell
command that undoes the transaction, not timed). A command with `says_itself` prints its milliseconds, and those count. Prints one
JSON object: milliseconds by name, one per round.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time


def transaction(command: list[str], password: bytes) -> float:
    """Milliseconds of one transaction as a whole process. AssertionError if it fails."""
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # not every stack asks for it
            process.stdin.write(password)
            process.stdin.close()
        code = process.wait()  # not with a timeout: that would look for the end at intervals, and those would be what is measured
        took = (time.perf_counter() - began) * 1000
    assert code == 0, f"{command} ended with {code}"
    return took


def said(command: list[str]) -> float:
    """Milliseconds that a command has measured itself. CalledProcessError if it fails."""
    return float(subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout)


def main() -> None:
    """Warm up with one round that is not counted, then time."""
    os.chdir("/")
    signal.alarm(3600)  # a transaction that hangs ends this process
    order = json.load(sys.stdin)
    took: dict[str, list[float]] = {case["name"]: [] for case in order["cases"]}
    for number in range(order["rounds"] + 1):
        for case in order["cases"]:
            if case.get("says_itself"):
                milliseconds = said(case["command"])
            else:
                milliseconds = transaction(case["command"], order["password"].encode() + b"\n")
            subprocess.run(
                ["/bin/sh", "-c", case["between"]], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            if number > 0:
                took[case["name"]].append(milliseconds)
    json.dump(took, sys.stdout)


if __name__ == "__main__":
    main()
