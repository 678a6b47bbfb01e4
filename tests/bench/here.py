"""The bench's test machine: pyhome as the packages install it, and the timing run inside it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.bench.cases import PASSWORD, order
from tests.pam.harness import ENVIRONMENT, MODULES, REPOSITORY, Machine


def install(machine: Machine) -> None:
    """Everything where the packages install it, byte-compiled as they do."""
    places = [f"DESTDIR={machine.path('/')}", f"PAMDIR={MODULES}", f"SHIM={machine.build.module}"]
    make = ["make", "-s", "-f", "packaging/install.mk", "install", *places]
    subprocess.run(make, cwd=REPOSITORY, check=True)
    machine.run(["/usr/bin/python3", "-m", "compileall", "-q", "/usr/lib/pyhome"])


def cheap_hash() -> str:
    """What /etc/shadow keeps of the password, so that verifying it takes next to no time."""
    command = ["openssl", "passwd", "-1", PASSWORD]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def time_here(machine: Machine, rounds: int, cases: list[dict[str, object]]) -> dict[str, list[float]]:
    """Run the timing in the test machine."""
    script = str(Path(__file__).with_name("timing.py"))
    done = subprocess.run(
        machine.enter(["/usr/bin/python3", script], ENVIRONMENT),
        input=order(rounds, cases),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    took: dict[str, list[float]] = json.loads(done.stdout)
    return took
