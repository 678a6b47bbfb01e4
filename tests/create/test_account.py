"""The account that is made: like useradd's, with a password that was typed twice; copies of the key files are kept at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from tests.create.machine import PASSWORD, PYHOME, CreateMachine
from tests.login.homes import crypt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.pam.harness import Build

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, build: Build, tree: Path, image: Path) -> Iterator[CreateMachine]:
    """One for all: each test makes a user of its own."""
    with CreateMachine(tmp_path_factory.mktemp("account"), build) as machine:
        machine.furnish(tree)
        machine.furnish_fscrypt(image=image)
        machine.furnish_create()
        yield machine


def line_of(machine: CreateMachine, user: str) -> list[str]:
    return machine.run(["getent", "passwd", user]).strip().split(":")


def test_as_useradd_has_it(machine: CreateMachine) -> None:
    machine.run(["groupadd", "readers"])
    machine.run(["groupadd", "writers"])
    wishes = ("--shell", "/bin/bash", "--uid", "1777", "--comment", "Ada Lovelace", "--groups", "readers,writers")
    machine.create(*wishes, "ada")
    assert line_of(machine, "ada")[2:] == ["1777", "1777", "Ada Lovelace", "/home/ada", "/bin/bash"]
    assert set(machine.run(["id", "-Gn", "ada"]).split()) == {"ada", "readers", "writers"}
    machine.run(["useradd", "--defaults", "--shell", "/bin/dash"])
    machine.create("bob")
    assert line_of(machine, "bob")[6] == "/bin/dash"
    assert "the user id is not free for a new user (uid 1777)" in machine.refuses("--uid", "1777", "cy")
    assert "has an account already, which is not changed; leave out" in machine.refuses("--shell", "/bin/bash", "bob")
    machine.add_user("plain", 61009, password=crypt(PASSWORD), encrypted=False)
    assert "has an account already" in machine.refuses("--groups", "readers", "plain")


def test_copies_are_kept_at_once(machine: CreateMachine) -> None:
    machine.create("eve")
    found = json.loads(machine.run([PYHOME, "recovery", "backups", "--json", "eve"]))["backups"]
    assert {each["state"] for each in found} == {"as the file"}
    assert len(found) >= 2, found  # the policy, and the protector


def test_one_object(machine: CreateMachine) -> None:
    found = json.loads(machine.create("--json", "fay"))
    assert list(found)[:3] == ["version", "user", "recovery_key"]
    assert found["account_made"] is True
    done = machine.ran(PYHOME, "create", "--json", "--password-file", "-", "fay")
    assert json.loads(done.stdout)["error"]["code"] == done.returncode == 30


@pytest.mark.parametrize("output", [">/dev/full", ">&-", "| true"])
def test_a_recovery_key_that_nobody_has_seen_opens_nothing(machine: CreateMachine, output: str) -> None:
    before = machine.state_of_things()
    script = f"cd /; {PYHOME} create --password-file - gil {output}; exit ${{PIPESTATUS[0]}}"
    done = machine.ran("/bin/bash", "-c", script)
    said = [line for line in done.stderr.decode().splitlines() if "getcwd" not in line]  # the shell begins where nothing is
    assert done.returncode == 1, said
    assert len(said) == 1, said
    assert "the standard output cannot be written: " in said[0]
    assert "and start again: nothing was changed" in said[0]
    assert machine.state_of_things() == before


def test_a_slip_at_the_prompt_is_asked_again(machine: CreateMachine) -> None:
    command = machine.enter(["/usr/bin/setsid", "--wait", "--ctty", PYHOME, "create", "--qr", "hal"], {"TERM": "dumb"})
    for columns in (30, 80):
        terminal = pexpect.spawn(command[0], command[1:], timeout=30, dimensions=(24, columns))
        if columns == 30:
            terminal.expect(r"there is no QR code: it takes \d+ colum")
        else:
            for first, second in (("", None), ("one", "two"), ("a", "a")):
                terminal.expect_exact("Login password of hal: ")
                terminal.sendline(first)
                if second is not None:
                    terminal.expect_exact("Login password of hal (again): ")
                    terminal.sendline(second)
            terminal.expect_exact("note: the password is weak: ")
            terminal.expect_exact("hal: the account and home are made")
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == (93 if columns == 30 else 0), terminal.before
