"""What every login and every command pays for: the modules that are loaded although the home is open."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.unit.architecture import SLOW

ROOT = Path(__file__).parents[3]
CODE = "import sys; sys.path.insert(0, sys.argv[1]); import pam_pyhome.shell_stub.main; print(*sys.modules)"


def test_an_open_home_costs_few_modules() -> None:
    command = ["/usr/bin/python3", "-ISB", "-c", CODE, str(ROOT)]
    loaded = set(subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout.split())
    assert "pam_pyhome.shell_stub.decide" in loaded
    assert loaded & (SLOW | {"ctypes", "signal", "select", "termios", "hashlib", "pam_pyhome.shell_stub.opening"}) == set()
    assert {name for name in loaded if name.startswith("pam_pyhome.formats.")} == {
        "pam_pyhome.formats.escape", "pam_pyhome.formats.mountinfo", "pam_pyhome.formats.shells",
    }  # fmt: skip
