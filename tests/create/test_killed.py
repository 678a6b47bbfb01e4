"""Killed, asked to end, or out of space at any step: no account without a home, no half home; the next run does the rest."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.create.machine import PASSWORD, CreateMachine
from tests.login.homes import crypt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pam.harness import Build

pytestmark = pytest.mark.root

SCRIPT = str(Path(__file__).with_name("killed.py"))
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, build: Build, tree: Path, image: Path) -> Iterator[CreateMachine]:
    """One for all: every run has a user of its own."""
    with CreateMachine(tmp_path_factory.mktemp("killed"), build) as machine:
        machine.furnish(tree)
        machine.furnish_fscrypt(image=image)
        machine.furnish_create()
        yield machine


def new_name() -> str:
    return f"user{next(_numbers)}"


def interrupted(machine: CreateMachine, how: str, step: int, name: str) -> tuple[int, str]:
    """A run that something happens to at a step; status and output, when all that it started has ended, too."""
    command = ("/usr/bin/python3", "-I", "-B", SCRIPT, how, str(step), "create", "--password-file", "-", name)
    done = machine.ran(*command)
    machine.run(["flock", "/var/lib/pyhome/creating/.lock", "true"], status=None)
    return done.returncode, (done.stdout + done.stderr).decode()


def steps_of(machine: CreateMachine, name: str) -> int:
    status, said = interrupted(machine, "kill", 0, name)
    assert status == 0, said
    return int(said.rpartition("steps=")[2])


def check_between(machine: CreateMachine, name: str, *, had_account: bool, step: int) -> None:
    """What holds whenever nothing runs."""
    home = machine.path(f"/home/{name}")
    if machine.has_account(name) and not had_account:
        assert home.is_dir(), f"step {step}: an account without a home"
    if home.is_dir():
        assert len(list(home.iterdir())) == 2, f"step {step}: a home that is not complete"


def check_made(machine: CreateMachine, name: str, step: int) -> None:
    """The home is as if nothing had happened."""
    lines = machine.log_in(PASSWORD, f"sh={name}:cat /home/{name}/.profile", name=name)
    assert lines == ["auth 0", "setcred 0", "open 0", "# from the skeleton", "sh 0", "close 0"], step


def check_metadata(machine: CreateMachine, homes: int) -> None:
    """So many homes have been made, and nothing of any other is left."""
    found = machine.metadata()
    assert len(found["/.fscrypt/protectors"]) == homes
    assert len(found["/home/.fscrypt/policies"]) == homes
    assert len(found["/home/.fscrypt/protectors"]) == 2 * homes


def homes_of(machine: CreateMachine) -> int:
    return len([path for path in machine.path("/home").iterdir() if path.name.startswith("user")])


@pytest.mark.parametrize("kind", ["new", "with an account"])
def test_killed_at_any_step(machine: CreateMachine, kind: str) -> None:
    had_account = kind != "new"
    every = 5 if had_account else 2  # with an account the steps are the same but for the last ones

    def prepare(name: str) -> None:
        if had_account:
            machine.add_user(name, 61000 + int(name[4:]), password=crypt(PASSWORD), encrypted=False)
            machine.path(f"/home/{name}").rmdir()

    name = new_name()
    prepare(name)
    steps = steps_of(machine, name)
    assert steps > 30
    for step in (*range(1, steps - 12, every), *range(max(steps - 12, 1), steps + 1)):
        name = new_name()
        prepare(name)
        status, _ = interrupted(machine, "kill", step, name)
        assert status in (-9, 137)
        check_between(machine, name, had_account=had_account, step=step)
        machine.create(name)
        assert machine.leftovers() == [], step
        if step % 4 == 0 or step > steps - 12:
            check_made(machine, name, step)
    check_metadata(machine, homes_of(machine))


@pytest.mark.parametrize("how", ["term", "fail"])
def test_taken_back_at_once(machine: CreateMachine, how: str) -> None:
    before = machine.state_of_things()
    steps = 0
    for step in itertools.count(1, 4):
        name = new_name()
        ended, said = interrupted(machine, how, step, name)
        assert "Traceback" not in said
        if ended == 0:
            if step > int(said.rpartition("steps=")[2]):
                break
            # What it could do without.
            check_made(machine, name, step)
            before = machine.state_of_things()
            continue
        steps += 1
        assert machine.state_of_things() == before, f"step {step}: {said}"
        assert not machine.leftovers(), f"step {step}: {said}"
        assert (": the recovery key above is void" in said.replace("; ", ": ")) == ("    " in said)
    assert steps > 8
