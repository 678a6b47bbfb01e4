"""Homes to be removed, and what is to be seen of them afterwards."""

from __future__ import annotations

from tests.create.machine import PASSWORD, CreateMachine
from tests.pam.harness import eventually
from tests.verbs.command import ROOT, pyhome

SECRET = PASSWORD + b"\n"
KEPT = "/var/lib/pyhome"


def uid_of(machine: CreateMachine, name: str) -> int:
    return machine.path(f"/home/{name}").stat().st_uid


def made(machine: CreateMachine, name: str) -> int:
    """A home of fscrypt's that has been opened once; its owner's uid."""
    machine.create(name)
    assert machine.log_in(PASSWORD, name=name)[2] == "open 0"
    assert eventually(lambda: pyhome(machine, ROOT, "lock", name).code == 0)
    return uid_of(machine, name)


def traces(machine: CreateMachine, name: str) -> list[str]:
    """What is left of a user but for the empty file that is locked."""
    tops = ("/home", "/home/.ecryptfs", KEPT, f"{KEPT}/removing")
    found = [str(path) for top in tops for path in machine.path(top).glob(f"*{name}") if path.name != f".lock.{name}"]
    return found + (["account"] if machine.has_account(name) else [])


def things(machine: CreateMachine) -> dict[str, object]:
    """All that a run that fails leaves as it was."""
    kept = {path: what for path, what in machine.snapshot(KEPT).items() if ".lock" not in path}
    return machine.state_of_things() | {path: what for path, what in kept.items() if "/removing" not in path}


def refuses(machine: CreateMachine, name: str, status: int, *words: str) -> None:
    before = things(machine)
    ran = pyhome(machine, ROOT, "remove", "--yes", name)
    assert (ran.code, ran.out) == (status, ""), ran
    assert ran.err.count("\n") == 1
    for word in words:
        assert word in ran.err, ran.err
    assert things(machine) == before
