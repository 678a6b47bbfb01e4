"""``make fuzz``: all targets, or those that FUZZ_TARGETS names, for FUZZ_SECONDS seconds in all; inputs that led further are kept.

``python -m tests.fuzz.run --again NAME HEX`` runs one target with one input, as a report says.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz import build, campaign
from tests.fuzz.campaign import NAMES, REPOSITORY, Found

KEPT = REPOSITORY / "build/fuzz"


def main() -> int:
    """Run them, as many at a time as there are processors. 1 if anything was found."""
    if sys.argv[1:2] == ["--again"]:
        return again(*sys.argv[2:])
    names = os.environ.get("FUZZ_TARGETS", "").split() or list(NAMES)
    at_a_time = os.cpu_count() or 1
    each = max(1, int(os.environ.get("FUZZ_SECONDS", "600")) * at_a_time // len(names))
    options = [f"-runs={runs}"] if (runs := os.environ.get("FUZZ_RUNS")) else [f"-max_total_time={each}"]
    KEPT.mkdir(parents=True, exist_ok=True)
    build.build(KEPT)
    with ThreadPoolExecutor(at_a_time) as pool:
        return int(any(list(pool.map(lambda name: _one(name, options), names))))


def _one(name: str, options: list[str]) -> bool:
    """Run one target and say what came of it. True: something was found."""
    began = time.monotonic()
    try:
        tried = campaign.run(name, KEPT, KEPT / "corpus" / name, *options)
    except Found as found:
        print(f"{name}: {found}", flush=True)
        return True
    print(f"{name}: {tried} inputs in {time.monotonic() - began:.0f} s, nothing found", flush=True)
    return False


def again(name: str, data: str) -> int:
    """One input."""
    if name not in build.NATIVE:
        return subprocess.run(
            [sys.executable, "-m", "tests.fuzz.one", name, "--again", data], cwd=REPOSITORY
        ).returncode
    with tempfile.TemporaryDirectory(prefix="pyhome-fuzz-") as directory:
        build.build(Path(directory))
        (Path(directory) / "input").write_bytes(bytes.fromhex(data))
        return subprocess.run([str(Path(directory) / name), f"{directory}/input"]).returncode


if __name__ == "__main__":
    sys.exit(main())
