"""Programs as children: they end or are ended, and get nothing of their caller that they should not have."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pam_pyhome.kernel import child


def shell(directory: Path, script: str) -> str:
    """A program that does this."""
    program = directory / "program"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program)


def test_the_status_of_a_program_that_ends(tmp_path: Path) -> None:
    assert child.run(shell(tmp_path, 'exit "$1"'), "7", seconds=20) == 7
    assert child.run(shell(tmp_path, "kill -SEGV $$"), seconds=20) == -signal.SIGSEGV


def test_a_program_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    began = time.monotonic()
    program = shell(tmp_path, f"echo $$ > {tmp_path}/pid; trap '' TERM INT HUP; while :; do sleep 0.1; done")
    assert child.run(program, seconds=0.5) is None
    assert time.monotonic() - began < 5
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_what_a_program_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/evil")
    monkeypatch.setenv("SECRET", "x")
    out = tmp_path / "out"
    facts = f"exec > {out}; env | sort; readlink /proc/self/fd/0 /proc/$$/fd/2; echo $(ps -o pid=,sid= -p $$) $$"
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        assert child.run(shell(tmp_path, f"{facts}; grep SigBlk /proc/self/status"), seconds=20) == 0
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    *variables, stdin, stderr, ids, blocked = out.read_text().splitlines()
    assert {line.partition("=")[0] for line in variables} <= {"LC_ALL", "PATH", "PWD", "_"}
    assert (stdin, stderr) == (os.devnull, os.devnull)
    assert len(set(ids.split())) == 1
    assert int(blocked.split()[1], 16) == 0


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        child.run(str(tmp_path / "none"), seconds=1)
    assert os.listdir("/proc/self/fd") == before
