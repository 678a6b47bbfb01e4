"""What the linters say is a test like any other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    "arguments",
    [
        ["ruff", "check", "--no-cache", "."],
        ["mypy", "--cache-dir", "build/mypy", "pam_pyhome", "tests"],
    ],
    ids=["ruff", "mypy"],
)
def test_linter(arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, check=False, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
