"""A login password that is not that of the home: which one the home has afterwards, and what it still opens with."""

from __future__ import annotations

import json

import pytest

from pam_pyhome.formats import fscrypt_meta as meta
from tests.fscrypt.homes import CONFIG, COSTS, OPENED, READ, FscryptMachine
from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, answers, crypt

pytestmark = pytest.mark.root

CODE, OTHER_CODE = PASSWORD + b"111111", PASSWORD + b"222222"
NEW, DIRECTORY = b"battery staple", b"of the directory"
# As behind a module that leaves what was typed in PAM_AUTHTOK, and lets in for another reason.
ELSEWHERE = """
auth optional pam_unix.so nodelay
auth required pam_permit.so
auth optional pam_pyhome.so {arguments}
account required pam_permit.so
session optional pam_pyhome.so
"""


@pytest.fixture
def machine(machine: FscryptMachine) -> FscryptMachine:
    """With a service `elsewhere`."""
    machine.write_stack("elsewhere", ELSEWHERE.format(arguments=""))
    return machine


def log_in(machine: FscryptMachine, *typed: bytes, service: str = "elsewhere") -> tuple[bool, bool]:
    """Whether a login opened the home, and whether it asked for the old password."""
    said = machine.pam(service, "ada", *answers(*typed), "auth", "setcred", "open", READ, "close")
    return OPENED[-3] in said, any(line.endswith(" Old password: ") for line in said)


def set_login(machine: FscryptMachine, entry: str) -> None:
    shadow = machine.path("/etc/shadow")
    lines = [line.split(":") for line in shadow.read_text(encoding="ascii").splitlines()]
    shadow.write_text("".join(":".join([f[0], entry if f[0] == "ada" else f[1], *f[2:]]) + "\n" for f in lines), encoding="ascii")


def test_a_code_behind_the_password_never_becomes_the_password_of_the_home(machine: FscryptMachine) -> None:
    before = machine.protector().read_bytes()
    assert log_in(machine, CODE, PASSWORD) == (True, True)
    assert log_in(machine, PASSWORD) == (True, False)
    assert log_in(machine, OTHER_CODE, PASSWORD) == (True, True)
    assert log_in(machine, PASSWORD, service="login") == (True, False)
    assert machine.protector().read_bytes() == before
    kept = b"".join(path.read_bytes() for path in machine.kept().iterdir())
    assert CODE not in kept
    assert OTHER_CODE not in kept
    assert "is not the account's own on this machine" in machine.log()


def test_of_two_valid_passwords_neither_asks_for_the_other_for_ever(machine: FscryptMachine) -> None:
    before = machine.protector().read_bytes()
    for _ in range(2):
        assert log_in(machine, DIRECTORY, PASSWORD) == (True, True)
    for typed in (DIRECTORY, PASSWORD, DIRECTORY, PASSWORD):
        assert log_in(machine, typed) == (True, False)
    assert machine.protector().read_bytes() == before
    assert machine.inside("verify", DIRECTORY).startswith("WrongPassphraseError")  # only where something else verifies it
    said = machine.pam("login", "ada", f"ruid={ADA}", *answers(PASSWORD, NEW, NEW), "chauthtok")
    assert said[-1] == "chauthtok 0"
    assert log_in(machine, DIRECTORY, b"forgotten") == (False, True)
    assert log_in(machine, NEW) == (True, False)


def test_a_password_of_elsewhere_becomes_that_of_the_home_at_the_second_login(machine: FscryptMachine) -> None:
    set_login(machine, "*")
    assert log_in(machine, DIRECTORY, PASSWORD) == (True, True)
    assert log_in(machine, DIRECTORY, PASSWORD) == (True, True)
    assert machine.opens(DIRECTORY)
    assert log_in(machine, PASSWORD) == (True, False)  # what was before counts until then
    assert machine.inside("verify", PASSWORD).startswith("WrongPassphraseError")
    assert log_in(machine, DIRECTORY) == (True, False)
    assert log_in(machine, PASSWORD, b"forgotten") == (False, True)


@pytest.mark.parametrize(("setting", "answer", "repaired"), [("no", b"y", False), ("ask", b"n", False), ("ask", b"y", True)])
def test_the_administrator_decides(machine: FscryptMachine, setting: str, answer: bytes, *, repaired: bool) -> None:
    machine.write_debian("decided", f"repair={setting}")
    set_login(machine, crypt(NEW))
    assert log_in(machine, NEW, PASSWORD, answer, service="decided") == (True, True)
    assert machine.opens(NEW) is repaired
    assert machine.opens(PASSWORD) is not repaired
    asked = [line for line in machine.pam("decided", "ada", *answers(NEW, PASSWORD), "auth") if "from now on?" in line]
    assert len(asked) == (setting == "ask" and not repaired)


@pytest.mark.guarantee(3)
def test_after_a_reset_the_old_password_opens_nothing_once_the_new_one_has(machine: FscryptMachine) -> None:
    set_login(machine, crypt(NEW))
    assert log_in(machine, NEW, PASSWORD, service="login") == (True, True)
    assert len(list(machine.kept().glob("*.previous"))) == 1
    assert log_in(machine, NEW, service="login") == (True, False)
    assert [path.name for path in machine.kept().iterdir() if "previous" in path.name or "repaired" in path.name] == []


def test_costs_never_sink(machine: FscryptMachine) -> None:
    """Her file asks for less than the configuration; what is made of it does not."""
    dearer = CONFIG | {"hash_costs": dict(COSTS) | {"time": "2", "memory": "128"}}
    machine.path("/etc/fscrypt.conf").write_text(json.dumps(dearer), encoding="ascii")
    assert machine.inside("change", PASSWORD, NEW) == "ok"
    path = machine.protector()
    assert meta.parse_protector(path.read_bytes(), path.name).costs == meta.Costs(2, 128, 2)
    machine.path("/etc/fscrypt.conf").unlink()
    assert machine.inside("change", NEW, PASSWORD) == "ok"
    found = meta.parse_protector(path.read_bytes(), path.name).costs
    assert found is not None
    assert found.memory >= 64 * 1024
    assert found.time >= 3
    machine.path("/etc/fscrypt.conf").write_text(json.dumps(CONFIG), encoding="ascii")
    assert machine.inside("change", PASSWORD, NEW) == "ok"
    assert meta.parse_protector(path.read_bytes(), path.name).costs == found  # what is higher stays
