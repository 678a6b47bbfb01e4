"""What the login shell costs: ``pyhome-shell -c true`` beside ``bash -c true``, in a test machine, in turn.

Run as ``python -m tests.bench.stub`` by root. Nothing here passes or fails.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from pathlib import Path

from tests.bench.report import heading
from tests.pam.harness import Build
from tests.stub.place import ADA, PAT, STUB, Place

ROUNDS = 60
SHELLS = {
    "bash -c true": ("/bin/bash", PAT),
    "pyhome-shell, home not encrypted": (STUB, PAT),
    "pyhome-shell, home locked": (STUB, ADA),
}
#: Runs in the machine: prints the milliseconds of each round.
TIMER = """
import os, sys, time
program, uid, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.setgid(uid); os.setuid(uid); os.chdir("/")
null = os.open("/dev/null", os.O_RDWR)
actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
for _ in range(rounds):
    began = time.perf_counter()
    pid = os.posix_spawn(program, [program, "-c", "true"], {"PATH": "/usr/bin:/bin", "SHELL": program}, file_actions=actions)
    os.waitpid(pid, 0)
    print((time.perf_counter() - began) * 1000)
"""


def bench_stub() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as base:
        build = Build(Path(base), sanitized=False)
        with Place(Path(base), build) as place:
            took: dict[str, list[float]] = {name: [] for name in SHELLS}
            for _ in range(ROUNDS // 5):
                for name, (program, uid) in SHELLS.items():
                    took[name] += _time(place, program, uid)
    heading("The login shell, whole process; milliseconds")
    base_line = statistics.median(took["bash -c true"])
    for name, values in took.items():
        median = statistics.median(values)
        print(f"  {name:34} min {min(values):6.1f}  median {median:6.1f}  {median - base_line:+6.1f}")
    print("  at most 20 ms more, with the home open or not encrypted")


def _time(place: Place, program: str, uid: int) -> list[float]:
    """Six rounds, the first of which is not counted."""
    command = place.machine.enter(["/usr/bin/python3", "-I", "-c", TIMER, program, str(uid), "6"], {})
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, text=True)
    return [float(line) for line in done.stdout.split()][1:]


if __name__ == "__main__":
    bench_stub()
