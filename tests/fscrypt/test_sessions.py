"""Homes stay open while a session lasts, whatever becomes of it, and not longer."""

from __future__ import annotations

import pytest

from tests.fscrypt.homes import OPENED, READ, FscryptMachine
from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, answers, first_line, pyhomed
from tests.pam.harness import Session, eventually

pytestmark = pytest.mark.root

SESSION = (*answers(PASSWORD), "auth", "setcred", "open")


def start(machine: FscryptMachine, *steps: str, before: tuple[str, ...] = SESSION) -> tuple[Session, int]:
    """A session that has begun, and its process."""
    session = machine.start("login", "ada", *before, "pid", *steps)
    while True:
        line = session.line()
        assert line, machine.log()
        if line.startswith("pid "):
            return session, int(line.split()[1])


@pytest.mark.guarantee(2, 13)
def test_the_home_is_open_while_any_session_lasts(machine: FscryptMachine) -> None:
    one, _ = start(machine, "wait", "close")
    two, _ = start(machine, "wait", "close")
    assert machine.is_open()
    one.go_on()
    one.finish()
    assert machine.is_open()
    two.go_on()
    two.finish()
    assert not machine.is_open()
    assert machine.log().count("opened the home") == 1
    assert machine.log().count("locked the home") == 1


def test_the_auth_phase_of_a_second_session_needs_no_worker(machine: FscryptMachine) -> None:
    """Not even to derive a key: the shim sees that the home is open."""
    one, _ = start(machine, "wait", "close")
    machine.install_worker("reply(0)")
    assert machine.pam("login", "ada", *answers(PASSWORD), "auth", "open", "close")[-3:] == ["auth 0", "open 0", "close 0"]
    assert machine.worker_runs() == []
    one.go_on()
    one.finish()
    assert len(machine.worker_runs()) == 1  # it locks


@pytest.mark.parametrize(
    "steps",
    [
        (*answers(PASSWORD), "auth", "child{", "open", READ, "close", "}"),
        (*answers(PASSWORD), "child{", "auth", "}", "open", READ, "close"),
    ],
    ids=["the session in a child, as xrdp does", "the authentication in a child, as sshd does"],
)
def test_a_fork_between_auth_and_session(machine: FscryptMachine, steps: tuple[str, ...]) -> None:
    assert "written while open" in machine.pam("login", "ada", *steps)
    assert not machine.is_open()


@pytest.mark.guarantee(2)
def test_a_session_that_is_killed_does_not_keep_the_home_open(machine: FscryptMachine) -> None:
    """pam_fscrypt's count of sessions stays at one until the next boot."""
    with machine.background(pyhomed()):
        assert eventually(lambda: machine.path("/run/pyhomed.sock").exists())
        session, pid = start(machine, "wait")
        assert machine.is_open()
        session.kill(pid)
        assert eventually(lambda: not machine.is_open())
    assert "locked the home: the last session has ended" in machine.log()


def test_a_session_that_pam_fscrypt_has_counted_too_often(machine: FscryptMachine) -> None:
    """Its count has leaked, and it leaves the home open; ours locks."""
    machine.pam("pam_fscrypt", "ada", *answers(PASSWORD), "auth", "open")
    assert machine.is_open()
    machine.log_in(PASSWORD, service="pam_fscrypt")
    assert machine.is_open()
    assert machine.log_in(PASSWORD, READ) == OPENED
    assert not machine.is_open()


def test_without_a_password_the_session_is_told(machine: FscryptMachine) -> None:
    said = machine.pam("login", "ada", "open", READ, "close")
    assert any("The encrypted home of ada is locked" in line for line in said)
    assert "sh 1" in said
    assert said[-1] == "close 0"


def test_a_session_without_a_password_uses_an_open_home(machine: FscryptMachine) -> None:
    one, _ = start(machine, "wait", "close")
    assert machine.pam("login", "ada", "open", READ, "close") == ["open 0", "written while open", "sh 0", "close 0"]
    assert machine.is_open()
    one.go_on()
    one.finish()
    assert not machine.is_open()


BUSY = ("/bin/sh", "-c", "cd /home/ada; exec 5>held; echo ready; exec sleep 600")


def test_a_login_to_a_partly_locked_home_opens_it_again(machine: FscryptMachine) -> None:
    """Somebody else has locked it while it was in use."""
    session, _ = start(machine, "wait", "close")
    with machine.background(["setpriv", f"--reuid={ADA}", f"--regid={ADA}", "--clear-groups", *BUSY]) as busy:
        assert first_line(busy) == "ready"
        machine.fscrypt("lock", "/home/ada", "--user=ada", "--quiet", status=None)
        session.go_on()
        session.finish()
        assert "is only partly locked" in machine.log()
        told = machine.records("partly-locked")[0]
        assert (told["USER"], told["UID"], told["HOME"]) == ("ada", str(ADA), "/home/ada")
        assert not machine.is_open()
        again, _ = start(machine, "wait", "close")
        assert machine.is_open()
        again.go_on()
        again.finish()
    # Nobody is left to try again without the daemon, but the end of any session does.
    machine.pam("login", "ada", "open", "close")
    assert "Unlocked: No" in machine.fscrypt("status", "/home/ada")


@pytest.mark.guarantee(4)
def test_nothing_is_added_to_the_session_keyring(machine: FscryptMachine) -> None:
    said = machine.pam("login", "ada", "join", *SESSION, "sh=root:keyctl show @s; cat /run/pyhome/61001/open")
    assert "backend=fscrypt" in said
    assert sum("keyring: " in line for line in said) == 1, said
    assert not any("user: " in line or line.startswith("key=") for line in said), said
