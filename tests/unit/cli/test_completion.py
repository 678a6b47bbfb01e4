"""Completion in a real shell: what the packaged file for bash makes of words that are half typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: Calls the completion as bash does, with the words so far, the last of which is to be completed; prints what it offers.
ASK = """
compopt() { :; }
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_pyhome
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A search path with the command in it."""
    program = tmp_path / "pyhome"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path[:0] = [{str(ROOT)!r}]\nfrom pam_pyhome.cli.main import main\nmain()\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["pyhome", "s"], {"sessions", "setup", "shell", "sshd", "status"}),
        (["pyhome", "un"], {"unlock"}),
        (["pyhome", "e"], {"ecryptfs", "encrypt"}),
        (["pyhome", "encrypt", "--backend", ""], {"fscrypt", "ecryptfs"}),
        (["pyhome", "encrypt", "--res"], {"--resume"}),
        (["pyhome", "decrypt", "--d"], {"--dry-run"}),
        (["pyhome", "ecryptfs", "re"], {"rewrap"}),
        (["pyhome", "create", "--backend", ""], {"fscrypt", "ecryptfs"}),
        (["pyhome", "doctor", "--"], {"--json", "--help"}),
        (["pyhome", "rec"], {"recover"}),
        (["pyhome", "recover", "--w"], {"--writable"}),
        (["pyhome", "recover", "--c"], {"--close"}),
        (["pyhome", "create", "--recovery"], {"--recovery-file"}),
        (["pyhome", "encrypt", "--q"], {"--qr"}),
        (["pyhome", "rollback", ""], {"setup", "sshd"}),
        (["pyhome", "rollback", "--d"], {"--dry-run"}),
        (["pyhome", "lock", "--f"], {"--force"}),
        (["pyhome", "passwd", "--"], {"--home-only", "--password-file", "--json", "--help"}),
        (["pyhome", "rec"], {"recovery"}),
        (["pyhome", "recovery", ""], {"test", "new", "backups", "restore"}),
        (["pyhome", "recovery", "restore", "--"], {"--yes", "--json", "--help"}),
        (["pyhome", "status", "nosuchusershere"], set()),
        (["pyhome", "$(touch evil)", "`touch evil`"], set()),
    ],
)
def test_what_bash_offers(path: str, tmp_path: Path, words: list[str], offered: set[str]) -> None:
    completion = str(ROOT / "packaging/files/completion.bash")
    command = ["bash", "-c", ASK, "bash", completion, *words]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path, env={"PATH": path, "LC_ALL": "C.UTF-8"}
    )
    assert set(ran.stdout.split()) == offered
    assert ran.stderr == ""
    assert not (tmp_path / "evil").exists()
