"""Completion in real shells: what the packaged files for bash, zsh and fish make of words that are half typed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from tests.pam.harness import eventually

ROOT = Path(__file__).parents[3]
#: Calls the completion as bash does, with the words so far, the last of which is to be completed; prints what it offers.
ASK = """
compopt() { :; }
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_pyhome
printf '%s\\n' "${COMPREPLY[@]}"
"""

#: Gives what is offered, a line each, to the file $HITS, and says there as well when it was asked at all.
ZSH = """
PROMPT='ready> '
fpath=("$COMPLETIONS" $fpath)
autoload -Uz compinit && compinit -u -D
compadd() {
    if (( ${@[(I)-[OAD]*]} )); then builtin compadd "$@"; return; fi
    local -a hits
    builtin compadd -A hits "$@"
    print -l -- $hits >> $HITS
}
finished() { print -- finished >> $HITS; zle kill-whole-line }
zle -N finished
bindkey '^I' complete-word
bindkey '^X' finished
"""
CASES = [
    (["pyhome", "s"], {"sessions", "setup", "shell", "sshd", "status"}),
    (["pyhome", "un"], {"unlock"}),
    (["pyhome", "t"], {"trust"}),
    (["pyhome", "update", "--no"], {"--no-open-at-login", "--no-lock-at-logout"}),
    (["pyhome", "update", "--passphrase", ""], {"login", "own"}),
    (["pyhome", "remove", "--k"], {"--keep-account"}),
    (["pyhome", "remove", "ro"], set()),
    (["pyhome", "sshd", "plan", "--layout", ""], {"directory", "suffix"}),
    (["pyhome", "e"], {"ecryptfs", "encrypt"}),
    (["pyhome", "encrypt", "--backend", ""], {"fscrypt", "ecryptfs"}),
    (["pyhome", "encrypt", "--r"], {"--recovery-file", "--resume"}),
    (["pyhome", "decrypt", "--d"], {"--dry-run"}),
    (["pyhome", "ecryptfs", "re"], {"rewrap"}),
    (["pyhome", "create", "--backend", ""], {"fscrypt", "ecryptfs"}),
    (["pyhome", "doctor", "--"], {"--json", "--help", "--quiet", "--verbose"}),
    (["pyhome", "rec"], {"recover", "recovery"}),
    (["pyhome", "recover", "--w"], {"--writable"}),
    (["pyhome", "create", "--recovery"], {"--recovery-file"}),
    (["pyhome", "encrypt", "--q"], {"--qr"}),
    (["pyhome", "recovery", ""], {"test", "new", "backups", "restore"}),
    (["pyhome", "recovery", "restore", "--"], {"--yes", "--json", "--help"}),
    (["pyhome", "rollback", ""], {"setup", "sshd"}),
    (["pyhome", "rollback", "--d"], {"--dry-run"}),
    (["pyhome", "lock", "--f"], {"--force"}),
    (["pyhome", "passwd", "--"], {"--home-only", "--password-file", "--json", "--help"}),
    (["pyhome", "status", "nosuchusershere"], set()),
    (["pyhome", "$(touch evil)", "`touch evil`"], set()),
]
#: The shells differ in how they hand over words and offer files; what is offered is the same.
FILES = (["pyhome", "unlock", "--password-file", "a-f"], {"a-file"})
SOME = [*CASES[1::4], CASES[-1], FILES]


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


@pytest.mark.parametrize(("words", "offered"), CASES)
def test_what_bash_offers(path: str, tmp_path: Path, words: list[str], offered: set[str]) -> None:
    completion = str(ROOT / "packaging/files/completion.bash")
    command = ["bash", "-c", ASK, "bash", completion, *words]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path, env={"PATH": path, "LC_ALL": "C.UTF-8"}
    )
    assert set(ran.stdout.split()) == offered
    assert ran.stderr == ""
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(("words", "offered"), SOME)
def test_what_fish_offers(path: str, tmp_path: Path, words: list[str], offered: set[str]) -> None:
    (tmp_path / "a-file").touch()
    completion = str(ROOT / "packaging/files/completion.fish")
    command = ["fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", completion, " ".join(words)]
    environment = {"PATH": path, "LC_ALL": "C.UTF-8", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path, env=environment)
    assert {line.partition("\t")[0] for line in ran.stdout.splitlines()} == offered
    assert ran.stderr == ""
    assert not (tmp_path / "evil").exists()


def test_what_zsh_offers(path: str, tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    (tmp_path / "completions").mkdir()
    shutil.copy(ROOT / "packaging/files/completion.zsh", tmp_path / "completions/_pyhome")
    (tmp_path / "setup").write_text(ZSH, encoding="ascii")
    hits = tmp_path / "hits"
    environment = {
        "PATH": path, "LC_ALL": "C.UTF-8", "HOME": str(tmp_path), "TERM": "dumb", "HITS": str(hits),
        "COMPLETIONS": str(tmp_path / "completions"),
    }  # fmt: skip
    with pexpect.spawn("zsh", ["-f"], env=environment, cwd=str(tmp_path), timeout=60) as shell:
        shell.sendline("source ./setup")
        shell.expect("ready> ")
        for words, offered in SOME:
            hits.write_text("", encoding="ascii")
            shell.send(" ".join(words) + "\t\x18")
            assert eventually(lambda: "finished" in hits.read_text(encoding="utf-8").split())
            assert set(hits.read_text(encoding="utf-8").split()) - {"finished"} == offered, words
    assert not (tmp_path / "evil").exists()
