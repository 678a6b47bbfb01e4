"""Running a target for some time or some number of inputs, and saying what it found so that it can be had again."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz import build
from tests.fuzz.one import MODULES
from tests.fuzz.target import TARGETS

REPOSITORY = Path(__file__).parents[2]
for _module in MODULES:
    importlib.import_module(f"tests.fuzz.{_module}")
#: All targets, those in C last.
NAMES = (*TARGETS, *build.NATIVE)

_LONGEST = {"files": 20000, "frames": 70000, "relay": 70000}
#: Seconds for one input: nothing that is parsed here may take so long.
_HANGS = 20
_SANITIZERS = {
    "ASAN_OPTIONS": "allow_addr2line=1:quarantine_size_mb=32:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


class Found(Exception):  # noqa: N818 - what a fuzzer is for
    """An input with which something does not hold, and how to have it again."""


def run(name: str, binaries: Path, corpus: Path, *options: str) -> int:
    """Run a target with libFuzzer's `options` and the inputs in `corpus`, to which it adds. How many inputs it tried; Found."""
    longest = TARGETS[name].longest if name in TARGETS else _LONGEST[name]
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pyhome-fuzz-") as work:
        seeds, found = Path(work, "seeds"), Path(work, "found")
        for directory in (seeds, found):
            directory.mkdir()
        for number, seed in enumerate(TARGETS[name].seeds if name in TARGETS else build.seeds(name)):
            (seeds / str(number)).write_bytes(seed)
        common = [f"-max_len={longest}", f"-timeout={_HANGS}", "-rss_limit_mb=1500", f"-artifact_prefix={found}/"]
        argv = [*_program(name, binaries), *common, *options, str(corpus), str(seeds)]
        done = subprocess.run(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env=os.environ | _SANITIZERS,
            errors="replace",
        )
        inputs = sorted(found.iterdir())
        if done.returncode or inputs:
            raise Found(_report(name, done.stdout, inputs))
    tried = re.findall(r"^Done (\d+) runs", done.stdout, re.MULTILINE)
    return int(tried[-1]) if tried else 0


def _program(name: str, binaries: Path) -> list[str]:
    return [str(binaries / name)] if name in build.NATIVE else [sys.executable, "-m", "tests.fuzz.one", name]


def _report(name: str, output: str, inputs: list[Path]) -> str:
    lines = [output[-6000:], f"The target {name} found something."]
    for path in inputs:
        data = path.read_bytes()
        lines.append(f"The input, {len(data)} bytes ({path.name}):\n{data.hex()}")
        lines.append(f"Run it again:\nbuild/venv/bin/python -m tests.fuzz.run --again {name} {data.hex()}")
    return "\n".join(lines)
