"""The verbs on a home that really opens and locks: one of fscrypt's, which every kernel with ext4 has."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.fscrypt.homes import FscryptMachine
from tests.fscrypt.test_sessions import start
from tests.login.homes import ADA, AS_ADA, first_line
from tests.pam.harness import eventually
from tests.stub.place import ended
from tests.verbs.command import ROOT, Ran, on_terminal, pyhome
from tests.verbs.conftest import PASSWORD

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = pytest.mark.root

HELD = "until 'pyhome lock'."
LOCKED = "The home of ada is locked.\n"


def unlock(machine: FscryptMachine, uid: int, password: bytes = PASSWORD) -> Ran:
    return pyhome(machine, uid, "unlock", "ada", "--password-file", "-", stdin=password + b"\n")


@contextmanager
def busy(machine: FscryptMachine, *identity: str, ignore: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process with a file of the home open, in the background, with its pid as the first line."""
    script = f"{ignore} exec 5<>/home/ada/secret; echo $$; exec sleep 600"
    with machine.background([*identity, "/bin/sh", "-c", script]) as process:
        yield process


@pytest.mark.parametrize("uid", [ROOT, ADA])
def test_open_by_hand_until_locked_by_hand(fscrypt_served: FscryptMachine, uid: int) -> None:
    """Without a session it stays open, whatever sessions come and go."""
    ran = unlock(fscrypt_served, uid)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("The home of ada is open since ")
    assert ran.out.endswith(f"{HELD}\n")
    assert fscrypt_served.is_open()
    session, _ = start(fscrypt_served, "wait", "close")
    assert "held by 1 session" in pyhome(fscrypt_served, uid, "status", "ada").out
    session.go_on()
    session.finish()
    time.sleep(1)
    assert fscrypt_served.is_open()
    again = unlock(fscrypt_served, uid, b"whatever it is, it is not asked for")
    assert again.out.startswith("The home of ada was open already. The home of ada is open since ")
    assert pyhome(fscrypt_served, uid, "lock", "ada").out == LOCKED
    assert not fscrypt_served.is_open()
    assert pyhome(fscrypt_served, uid, "lock", "ada").out == "The home of ada was locked already.\n"
    # The next session is one like any other.
    session, _ = start(fscrypt_served, "wait", "close")
    session.go_on()
    session.finish()
    assert eventually(lambda: not fscrypt_served.is_open())


def test_opened_from_a_session_it_is_the_sessions(fscrypt_served: FscryptMachine) -> None:
    said = fscrypt_served.pam(
        "login", "ada", "open", f"sh=ada:echo '{PASSWORD.decode()}' | pyhome unlock --password-file -", "sleep=300", "close"
    )
    assert any("held by 1 session" in line for line in said)
    assert eventually(lambda: not fscrypt_served.is_open())


@pytest.mark.parametrize("uid", [ROOT, ADA])
def test_everything_about_it(fscrypt_served: FscryptMachine, uid: int) -> None:
    session, pid = start(fscrypt_served, "wait", "close")
    with busy(fscrypt_served, *AS_ADA) as process:
        holder = first_line(process)
        (home,) = json.loads(pyhome(fscrypt_served, uid, "inspect", "ada", "--json").out)["homes"]
        assert (home["backend"], home["state"], home["trouble"]) == ("fscrypt", "open", "")
        assert (home["mountpoint"], home["held"], home["follows_login"]) == ("/home/ada", False, True)
        assert home["since"] is not None
        assert [(each["pid"], each["service"]) for each in home["sessions"]] == [(pid, "login")]
        assert home["holders"] == [f"pid {holder} (sleep, uid {ADA}): fd 5 /home/ada/secret"]
        slot, recovery = home["slots"]
        assert recovery["kind"] == "recovery key"  # fscrypt makes one where homes have a file system of their own
        assert slot == {
            "name": f"/.fscrypt/protectors/{fscrypt_served.protector().name}",
            "kind": "login password",
            "trouble": "",
            "usable": True,
        }
        assert "Used by    pid" in pyhome(fscrypt_served, uid, "inspect", "ada").out
    session.go_on()
    session.finish()


def test_a_busy_home_is_left_as_it_was_and_pyhomed_locks_it_later(fscrypt_served: FscryptMachine) -> None:
    unlock(fscrypt_served, ADA)
    with busy(fscrypt_served) as process:
        holder = first_line(process)
        ran = pyhome(fscrypt_served, ADA, "lock")
        assert (ran.code, ran.out) == (16, "")
        assert ran.err == (
            f"pyhome lock: /home/ada stays open while it is used by pid {holder} (sleep, uid 0): fd 5 /home/ada/secret; "
            "leave it with 'cd /', end what uses it, or insist with --force\n"
        )
        assert fscrypt_served.is_open()
        assert json.loads(pyhome(fscrypt_served, ROOT, "list", "--json").out)["homes"][0]["state"] == "open"
    assert eventually(lambda: pyhome(fscrypt_served, ROOT, "status", "ada").out == LOCKED, 20)


def test_a_partly_locked_home_is_opened_again(fscrypt_served: FscryptMachine) -> None:
    """The real tool has locked it while it was in use."""
    unlock(fscrypt_served, ADA)
    with busy(fscrypt_served) as process:
        first_line(process)
        fscrypt_served.fscrypt("lock", "/home/ada", "--user=ada", "--quiet", status=None)
        assert pyhome(fscrypt_served, ADA, "status").out == (
            "The home of ada is only partly locked: files that are in use stay readable.\n"
        )
        assert json.loads(pyhome(fscrypt_served, ROOT, "list", "--json").out)["homes"][0]["state"] == "partly locked"
        assert pyhome(fscrypt_served, ADA, "lock").code == 16
        assert unlock(fscrypt_served, ADA).code == 0
        assert fscrypt_served.is_open()
    assert pyhome(fscrypt_served, ADA, "lock").out == LOCKED


def test_it_waits_for_a_process_to_end(fscrypt_served: FscryptMachine) -> None:
    unlock(fscrypt_served, ADA)
    script = "exec 5<>/home/ada/secret; echo $$; sleep 1.5"
    with fscrypt_served.background([*AS_ADA, "/bin/sh", "-c", script]) as process:
        holder = first_line(process)
        ran = pyhome(fscrypt_served, ADA, "lock", "--wait", "20")
    assert (ran.code, ran.out) == (0, LOCKED)
    assert ran.err.startswith(f"waiting for pid {holder} (sh, uid {ADA}): fd 5 /home/ada/secret")
    assert not fscrypt_served.is_open()


@pytest.mark.parametrize("uid", [ROOT, ADA])
def test_force_ends_the_owners_processes(fscrypt_served: FscryptMachine, uid: int) -> None:
    """Also one that takes no notice of SIGTERM, and under a session."""
    session, _ = start(fscrypt_served, "wait", "close")
    with busy(fscrypt_served, *AS_ADA) as meek, busy(fscrypt_served, *AS_ADA, ignore="trap '' TERM;") as stubborn:
        for process in (meek, stubborn):
            first_line(process)
        assert pyhome(fscrypt_served, uid, "lock", "ada").code == 44
        assert meek.poll() is None
        ran = pyhome(fscrypt_served, uid, "lock", "ada", "--force")
        assert (ran.code, ran.out) == (0, LOCKED), ran
        for process in (meek, stubborn):
            assert process.wait(10) != 0
    assert not fscrypt_served.is_open()
    session.go_on()
    session.finish()


@pytest.mark.parametrize("uid", [ROOT, ADA])
def test_force_ends_nobody_elses(fscrypt_served: FscryptMachine, uid: int) -> None:
    """A process of root's in the home is named and lives on, whoever asks."""
    unlock(fscrypt_served, ROOT)
    with busy(fscrypt_served) as roots, busy(fscrypt_served, *AS_ADA) as adas:
        holder = first_line(roots)
        first_line(adas)
        ran = pyhome(fscrypt_served, uid, "lock", "ada", "--force")
        assert ran.code == 16
        assert f"pid {holder} (sleep, uid 0)" in ran.err
        assert f"uid {ADA}" not in ran.err
        assert adas.wait(10) != 0
        assert roots.poll() is None


def test_the_shell_that_asks_is_not_ended(fscrypt_served: FscryptMachine) -> None:
    """It is told to leave the home first."""
    unlock(fscrypt_served, ADA)
    script = "exec 5</home/ada/secret; pyhome lock --force; echo status $?; exec 5<&-; pyhome lock"
    said = fscrypt_served.run([*AS_ADA, "/bin/sh", "-c", script])
    assert said.splitlines()[0] == "status 16"
    # pyhomed may have been quicker
    assert said.splitlines()[1:] in ([LOCKED.strip()], ["The home of ada was locked already."])
    assert not fscrypt_served.is_open()


def test_unlocking_at_a_terminal(fscrypt_served: FscryptMachine) -> None:
    terminal = on_terminal(fscrypt_served, ADA, "unlock")
    for typed in ("wrong", PASSWORD.decode()):
        terminal.expect_exact("Password: ")
        terminal.waitnoecho()
        terminal.sendline(typed)
        if typed == "wrong":
            terminal.expect_exact("That does not open the encrypted home of ada.")
    terminal.expect_exact(HELD)
    assert ended(terminal) == 0
    assert fscrypt_served.is_open()
    fscrypt_served.fscrypt("lock", "/home/ada", "--user=ada", "--quiet")


def test_three_wrong_passwords(fscrypt_served: FscryptMachine) -> None:
    terminal = on_terminal(fscrypt_served, ADA, "unlock")
    for _ in range(3):
        terminal.expect_exact("Password: ")
        terminal.waitnoecho()
        terminal.sendline("wrong")
    terminal.expect_exact("pyhome unlock: this password does not open the home of ada; try the one from before its last change")
    assert ended(terminal) == 13


@pytest.mark.parametrize("uid", [ROOT, ADA])
def test_the_password_of_the_home_alone(fscrypt_served: FscryptMachine, uid: int) -> None:
    new = b"battery staple"
    ran = pyhome(fscrypt_served, uid, "passwd", "ada", "--home-only", "--password-file", "-", stdin=PASSWORD + b"\n" + new + b"\n")
    assert ran.out == "The home of ada opens with the new password; the login password is as it was.\n", ran
    assert fscrypt_served.opens(new)
    assert not fscrypt_served.opens(PASSWORD)
    assert fscrypt_served.logs_in(PASSWORD)
