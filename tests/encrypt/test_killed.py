"""Killed at any step, asked to end, or out of space: the home is there and can be used, and the next run goes on."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.create import killed
from tests.create.machine import PASSWORD, PYHOME
from tests.encrypt.machine import EncryptMachine, State, state
from tests.login.homes import kill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pam.harness import Build

pytestmark = pytest.mark.root

SCRIPT = str(Path(killed.__file__))
KILLED = (-9, 137)
LIMITED = '#!/bin/sh\nexec /usr/bin/rsync.real --bwlimit=1500 "$@"\n'


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, build: Build, tree: Path, image: Path) -> Iterator[EncryptMachine]:
    """One for all: every test leaves a plain home as it found it."""
    with EncryptMachine(tmp_path_factory.mktemp("killed"), build) as machine:
        machine.furnish(tree)
        machine.furnish_fscrypt(image=image)
        machine.furnish_create()
        machine.add_plain()
        yield machine


def interrupted(machine: EncryptMachine, how: str, step: int, *arguments: str) -> tuple[int, str]:
    """A run that something happens to at a step; status and output, when all that it started has ended, too."""
    command = ("/usr/bin/python3", "-I", "-B", SCRIPT, how, str(step))
    done = machine.ran(*command, *arguments, "--yes", "--password-file", "-")
    machine.run(["flock", "/var/lib/pyhome/converting/.lock.ada", "true"], status=None)
    return done.returncode, (done.stdout + done.stderr).decode()


def steps_of(machine: EncryptMachine, verb: str) -> int:
    status, said = interrupted(machine, "kill", 0, verb, "ada")
    assert status == 0, said
    return int(said.rpartition("steps=")[2])


def present(machine: EncryptMachine) -> State:
    """The home, opened if it is encrypted."""
    return machine.open_state() if machine.is_encrypted() else state(machine.path("/home/ada"))


def go_on(machine: EncryptMachine, verb: str) -> None:
    """What somebody would do who follows what is said."""
    said = machine.convert(verb, "--resume", "ada", status=None)
    if "begin without --resume" in said:
        said = machine.convert(verb, "ada", status=None)
    is_done = f"after '{verb}', the copy from before is still kept" in said
    assert is_done or "until 'pyhome confirm ada'" in said or "then run 'pyhome confirm ada'" in said, said


def chosen(steps: int) -> list[int]:
    """All of the last steps, where the copies change places, and some of the others."""
    return [*range(1, steps - 12, max((steps - 12) // 5, 1)), *range(max(steps - 12, 1), steps + 1)]


@pytest.mark.guarantee(16)
def test_killed_at_any_step_there_and_back(machine: EncryptMachine) -> None:
    before = state(machine.path("/home/ada"))
    steps = {}
    for verb in ("encrypt", "decrypt"):
        steps[verb] = steps_of(machine, verb)
        present(machine)
        machine.pyhome("confirm", "--yes", "ada")
    assert steps["encrypt"] > 30
    pairs = itertools.zip_longest(*(chosen(steps[verb]) for verb in ("encrypt", "decrypt")), fillvalue=0)
    for pair in pairs:
        for verb, step in zip(("encrypt", "decrypt"), pair):
            if step:
                status, said = interrupted(machine, "kill", step, verb, "ada")
                assert status in KILLED, said
                assert present(machine) == before, f"{verb}, step {step}"
            go_on(machine, verb)
            assert machine.is_encrypted() == (verb == "encrypt"), f"{verb}, step {step}"
            assert present(machine) == before, f"{verb}, step {step}"
            machine.pyhome("confirm", "--yes", "ada")
        assert machine.remains() == [], pair
    assert machine.metadata()["/.fscrypt/protectors"] == machine.metadata()["/home/.fscrypt/policies"] == []


@pytest.mark.parametrize("how", ["term", "fail"])
def test_ended_or_out_of_space(machine: EncryptMachine, how: str) -> None:
    before = state(machine.path("/home/ada"))
    failed = 0
    for step in itertools.count(2, 9):
        status, said = interrupted(machine, how, step, "encrypt", "ada")
        assert "Traceback" not in said
        if status == 0:
            machine.convert("decrypt", "ada")
            machine.pyhome("confirm", "--yes", "ada")
            if int(said.rpartition("steps=")[2]) < step:
                break
            continue  # it can do without this one
        failed += 1
        if machine.is_encrypted():
            assert "interrupted when all was done but tidying up" in said
            machine.convert("decrypt", "ada")
            machine.pyhome("confirm", "--yes", "ada")
        assert state(machine.path("/home/ada")) == before, f"step {step}: {said}"
        if machine.place().exists():
            assert "is begun and not finished" not in said
            assert "what 'pyhome encrypt' had begun is taken back" in machine.convert("decrypt", "ada")
            told = machine.records("conversion-taken-back")[-1]
            assert (told["USER"], told["PYHOME_WHY"]) == ("ada", "by 'pyhome encrypt'")
        assert machine.remains() == [], f"step {step}: {said}"
        assert machine.metadata()["/home/.fscrypt/policies"] == [], f"step {step}: {said}"
    assert failed > 5
    assert state(machine.path("/home/ada")) == before


@pytest.mark.guarantee(16)
def test_confirming_is_killed(machine: EncryptMachine) -> None:
    before = state(machine.path("/home/ada"))
    machine.convert("encrypt", "ada")
    present(machine)
    for step in itertools.count(1, 3):
        command = ("/usr/bin/python3", "-I", "-B", SCRIPT, "kill", str(step), "confirm", "--yes", "ada")
        if machine.ran(*command).returncode == 0:
            break
    assert machine.remains() == []
    machine.convert("decrypt", "ada")
    machine.pyhome("confirm", "--yes", "ada")
    assert state(machine.path("/home/ada")) == before


def test_killed_while_rsync_copies(machine: EncryptMachine) -> None:
    """The copying ends as well, and the next one takes what is there."""
    home = machine.path("/home/ada")
    before = state(home)
    for number in range(20):
        (home / f"bulk {number}").write_bytes(os.urandom(100_000))
    bulky = state(home)
    rsync = machine.path("/usr/bin/rsync")
    rsync.rename(rsync.with_name("rsync.real"))
    rsync.write_text(LIMITED, encoding="ascii")
    rsync.chmod(0o755)
    (machine.path("/root") / "password").write_bytes(PASSWORD)
    command = [PYHOME, "encrypt", "--yes", "--password-file", "/root/password", "ada"]
    with machine.background(command) as process:
        other = machine.place() / "home"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and files_of(other) < 8:
            time.sleep(0.05)
        kill(process)
        process.wait(timeout=10)
    assert 8 <= files_of(other) < len(bulky) - 2
    machine.run(["flock", "--timeout", "5", "/var/lib/pyhome/converting/.lock.ada", "true"])
    assert state(home) == bulky
    assert "To encrypt the home of ada was begun and not finished: 'pyhome encrypt --resume ada' goes on" in machine.pyhome(
        "status", "ada"
    )
    rsync.with_name("rsync.real").rename(rsync)
    assert "'encrypt' was begun and not finished; go on with 'pyhome encrypt --resume ada'" in machine.convert(
        "encrypt", "ada", status=74
    )
    inodes = inodes_of(other)
    assert "The recovery key" not in machine.convert("encrypt", "--resume", "ada")
    assert len(inodes & inodes_of(home)) > 6, "what was copied already is not copied again"
    assert machine.open_state() == bulky
    machine.convert("decrypt", "ada")
    machine.pyhome("confirm", "--yes", "ada")
    for path in home.glob("bulk *"):
        path.unlink()
    os.utime(home, ns=(10**18, 987654321))
    assert state(home) == before


def files_of(directory: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return len(os.listdir(directory))
    return 0


def inodes_of(directory: Path) -> set[int]:
    return {path.lstat().st_ino for path in directory.iterdir()}
