"""`authenticate`: opening the home is the verification. Without it, nothing is ever verified."""

from __future__ import annotations

import time

import pytest

from pam_pyhome.formats import wire
from tests.login.conftest import PASSWORD
from tests.login.homes import (
    ADA,
    AUTH_ERR,
    AUTHINFO_UNAVAIL,
    LoginMachine,
    answers,
    differences,
    wrap,
)
from tests.login.worker import Talk
from tests.pam.harness import IGNORED

pytestmark = pytest.mark.root

NEW = b"battery staple"
TRIED = "the home was not mounted"  # for want of eCryptfs: everything before that went well


@pytest.fixture
def machine(machine: LoginMachine) -> LoginMachine:
    """With a service `strict` of the module alone."""
    machine.write_pam("strict", "authenticate")
    return machine


def test_the_right_password(machine: LoginMachine) -> None:
    said = machine.pam("strict", "ada", *answers(PASSWORD), "auth", "setcred", "open", "close")
    assert said[:4] == ["message 1 Password: ", "auth 0", "setcred 0", said[3]]
    assert said[-2:] == ["open 0", "close 0"]
    assert TRIED in machine.log()


def test_a_wrong_password_is_slow(machine: LoginMachine) -> None:
    began = time.monotonic()
    said = machine.pam("strict", "ada", *answers(b"wrong"), "auth", "setcred", "open")
    assert time.monotonic() - began > 0.9  # libpam takes half of the two seconds, or more
    assert said[1:3] == [f"auth {AUTH_ERR}", f"setcred {AUTH_ERR}"]
    assert "the password does not open the home" in machine.log()
    assert TRIED not in machine.log()


def test_how_slow_is_said_to_libpam(machine: LoginMachine) -> None:
    talk = Talk(machine, authtok=b"wrong")
    assert talk.phase(wire.PHASE_AUTHENTICATE, tokens=[b"authenticate"]) == AUTH_ERR
    assert talk.delays == [2_000_000]
    assert talk.data == {}


@pytest.mark.parametrize("given", [(), ("answer=",)], ids=["nobody answers", "an empty answer"])
def test_no_password_is_no_verification(machine: LoginMachine, given: tuple[str, ...]) -> None:
    assert machine.pam("strict", "ada", *given, "auth")[-1] == f"auth {AUTHINFO_UNAVAIL}"


def test_a_password_that_was_typed_already_is_not_asked_for(machine: LoginMachine) -> None:
    machine.write_stack("both", "auth optional pam_unix.so\nauth required pam_pyhome.so authenticate\n")
    said = machine.pam("both", "ada", *answers(PASSWORD), "auth")
    assert [line for line in said if line.startswith("message 1")] == ["message 1 Password: "]
    assert said[-1] == "auth 0"


def test_a_password_that_was_asked_for_is_there_for_later_modules(machine: LoginMachine) -> None:
    machine.write_stack("both", "auth required pam_pyhome.so authenticate\nauth required pam_unix.so use_first_pass\n")
    said = machine.pam("both", "ada", *answers(PASSWORD), "auth")
    assert said == ["message 1 Password: ", "auth 0"]


def test_a_passphrase_of_its_own(machine: LoginMachine) -> None:
    wrap(machine.wrapped(), NEW)
    (machine.config("ada") / "wrapping-independent").touch()
    said = machine.pam("strict", "ada", *answers(NEW), "auth")
    assert said == ["message 1 Passphrase of the encrypted home: ", "auth 0"]
    assert machine.pam("strict", "ada", *answers(PASSWORD), "auth")[-1] == f"auth {AUTH_ERR}"


def test_an_older_copy_verifies_nothing(machine: LoginMachine) -> None:
    """After a change of the password the good copy still has the old one, until a login has proved the new one."""
    assert machine.pam("login", "ada", f"ruid={ADA}", *answers(PASSWORD, NEW, NEW), "chauthtok")[-1] == "chauthtok 0"
    assert (machine.kept() / "wrapped-passphrase").exists()
    assert machine.pam("strict", "ada", *answers(PASSWORD), "auth")[-1] == f"auth {AUTH_ERR}"
    assert machine.pam("strict", "ada", *answers(NEW), "auth")[-1] == "auth 0"


def test_a_home_that_is_no_home_of_ours(machine: LoginMachine) -> None:
    link = machine.path("/home/ada/.ecryptfs")
    link.unlink()
    link.symlink_to("/tmp")
    said = machine.pam("strict", "ada", *answers(PASSWORD), "auth")
    assert said[-1] == f"auth {AUTHINFO_UNAVAIL}"
    assert sum("could not be opened" in line for line in said) == 1


@pytest.mark.parametrize("password", [PASSWORD, b"wrong"])
def test_without_it_even_sufficient_lets_nobody_in(machine: LoginMachine, password: bytes) -> None:
    machine.write_pam("lax")
    rules = ("optional pam_unix.so nodelay", "sufficient pam_pyhome.so", "required pam_deny.so")
    machine.write_stack("sufficient", "".join(f"auth {rule}\n" for rule in rules))
    assert machine.pam("sufficient", "ada", *answers(password), "auth")[-1] != "auth 0"
    assert machine.pam("lax", "ada", "auth")[-1] == f"auth {IGNORED}"


def test_trying_changes_nothing(machine: LoginMachine) -> None:
    before = machine.snapshot("/home", "/var/lib/pyhome", "/etc")
    machine.pam("strict", "ada", *answers(PASSWORD), "auth", "end", *answers(b"wrong"), "auth")
    assert differences(before, machine.snapshot("/home", "/var/lib/pyhome", "/etc")) == []
