"""`pyhome remove`, killed at any step: the home is whole, or given again the command finishes. Nothing is in between."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from tests.create.machine import PASSWORD, CreateMachine
from tests.verbs.command import ROOT, pyhome

pytestmark = pytest.mark.root

SCRIPT = str(Path(__file__).parents[1] / "create/killed.py")
REMOVING = "/var/lib/pyhome/removing"
ECRYPTFS_UID = 61030
_numbers = itertools.count(1)


def new_user(machine: CreateMachine, kind: str) -> str:
    name = f"user{next(_numbers)}"
    if kind == "fscrypt":
        machine.create(name)
    else:
        machine.path("/home/.ecryptfs").mkdir(exist_ok=True)
        machine.add_home(name, ECRYPTFS_UID, PASSWORD)
        machine.keep_copies(name, ECRYPTFS_UID)
    return name


def interrupted(machine: CreateMachine, how: str, step: int, name: str) -> tuple[int, str]:
    """A run that something happens to at a step, when all that it started has ended, too; status and output."""
    done = machine.ran("/usr/bin/python3", "-I", "-B", SCRIPT, how, str(step), "remove", "--yes", name)
    machine.run(["flock", f"{REMOVING}/.lock.{name}", "true"], status=None)
    return done.returncode, (done.stdout + done.stderr).decode()


def is_whole(machine: CreateMachine, kind: str, name: str) -> bool:
    """Whether the account is there and its home can be opened with all that is in it."""
    if not machine.has_account(name) or not machine.path(f"/home/{name}").is_dir():
        return False
    if kind == "ecryptfs":
        return (machine.config(name) / "wrapped-passphrase").exists() and (machine.config(name).parent / ".Private").is_dir()
    lines = machine.log_in(PASSWORD, f"sh={name}:cat /home/{name}/.profile", name=name)
    return "# from the skeleton" in lines


def check_gone(machine: CreateMachine, name: str, step: int) -> None:
    assert not machine.has_account(name), step
    tops = ("/home", "/home/.ecryptfs", "/var/lib/pyhome", REMOVING)
    left = [path for top in tops for path in machine.path(top).glob(f"*{name}") if path.name != f".lock.{name}"]
    assert left == [], step
    if machine.path("/.fscrypt/protectors").is_dir():
        assert list(machine.path("/.fscrypt/protectors").iterdir()) == [], step
        assert list(machine.path("/home/.fscrypt/policies").iterdir()) == [], step
        assert list(machine.path("/home/.fscrypt/protectors").iterdir()) == [], step


@pytest.mark.parametrize("kind", ["fscrypt", "ecryptfs"])
@pytest.mark.parametrize("how", ["kill", "fail", "term"])
@pytest.mark.guarantee(18)
def test_at_any_step(place: CreateMachine, how: str, kind: str) -> None:
    name = new_user(place, kind)
    status, said = interrupted(place, "kill", 0, name)
    assert status == 0, said
    steps = int(said.rpartition("steps=")[2])
    assert steps > 20
    every = {"kill": 3, "fail": 11, "term": 17}[how] * (1 if kind == "fscrypt" else 2)
    between = 0
    for step in range(1, steps + 1, every):
        name = new_user(place, kind)
        status, said = interrupted(place, how, step, name)
        assert "Traceback" not in said, said
        if status != 0:
            assert how != "fail" or "pyhome remove: " in said, said
        begun = place.path(f"{REMOVING}/{name}").exists()
        moved = not place.path(f"/home/{name}").exists()
        between += moved and begun
        if begun and between % 4 == 1:
            assert f"'pyhome remove {name}' finishes that" in pyhome(place, ROOT, "status", name).out, step
        if not moved:
            assert is_whole(place, kind, name), f"step {step}: neither whole nor marked: {said}"
        if begun or not moved:
            ran = pyhome(place, ROOT, "remove", "--yes", name)
            assert ran.code == 0, (step, ran)
        check_gone(place, name, step)
        shutil.rmtree(place.path(f"/run/pyhome/{ECRYPTFS_UID}"), ignore_errors=True)
    assert between > (3 if how == "kill" else 0) or how == "term"
