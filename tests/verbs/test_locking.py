"""``pyhome lock`` with real sessions: whose it waits for, whose it overrides, and what it leaves.

Where the kernel has no eCryptfs, locking is shown by what it leaves: no record of an open home, and keys that are revoked.
"""

from __future__ import annotations

import threading
import time

import keyutils  # type: ignore[import-untyped]  # the distribution ships no types
import pytest

from pam_pyhome.kernel.process import signal_as
from tests.login.homes import ADA, AS_ADA, BOB, LoginMachine, first_line
from tests.login.test_daemon import record, session
from tests.pam.harness import eventually
from tests.verbs.command import ROOT, pyhome

pytestmark = pytest.mark.root

LOCKED = (0, "The home of ada is locked.\n", "")


@pytest.mark.parametrize("uid", [ROOT, ADA])
@pytest.mark.guarantee(2)
def test_locking_drops_the_record_and_the_keys(served: LoginMachine, uid: int) -> None:
    going_on, pid = session(served, "bob")
    serial = keyutils.add_key(b"pyhome-test:by-hand", b"x" * 740, keyutils.KEY_SPEC_USER_KEYRING)
    opened, bobs = record(served, keys=(serial,)), record(served, BOB, "bob")
    (opened.parent / "hold").touch(0o600)
    ran = pyhome(served, uid, "lock", "ada")
    assert (ran.code, ran.out, ran.err) == LOCKED
    assert not opened.exists()
    assert not (opened.parent / "hold").exists()
    assert bobs.exists()
    with pytest.raises(keyutils.Error) as refused:
        keyutils.read_key(serial)
    assert refused.value.args[0] == 128  # EKEYREVOKED
    keyutils.unlink(serial, keyutils.KEY_SPEC_USER_KEYRING)
    assert "locked the home: as asked by pid" in served.log()
    going_on.kill(pid)


def test_it_waits_for_a_session_and_says_so(served: LoginMachine) -> None:
    started, pid = session(served)
    opened = record(served)
    timer = threading.Timer(1.5, started.kill, (pid,))
    timer.start()
    began = time.monotonic()
    ran = pyhome(served, ADA, "lock", "--wait", "30")
    timer.join()
    # pyhomed may have been quicker to see that the last session is gone
    assert ran.code == 0
    assert ran.err == f"waiting for pid {pid} (login)\n"
    assert 1 < time.monotonic() - began < 15
    assert not opened.exists()


@pytest.mark.guarantee(13)
def test_waiting_in_vain(served: LoginMachine) -> None:
    started, pid = session(served)
    opened = record(served)
    began = time.monotonic()
    assert pyhome(served, ADA, "lock", "--wait", "1").code == 44
    assert time.monotonic() - began > 1
    assert opened.exists()
    started.kill(pid)


@pytest.mark.parametrize("uid", [ROOT, ADA])
def test_force_locks_under_a_session_that_uses_nothing(served: LoginMachine, uid: int) -> None:
    started, _ = session(served)
    opened = record(served)
    ran = pyhome(served, uid, "lock", "ada", "--force")
    assert (ran.code, ran.out, ran.err) == LOCKED
    assert not opened.exists()
    assert pyhome(served, uid, "sessions", "ada").out.count("login") == 1
    started.go_on()
    assert started.finish() == ["close 0"]


def test_the_session_that_asks_does_not_keep_its_own_home(served: LoginMachine) -> None:
    opened = record(served)
    said = served.pam("login", "ada", "open", "sh=ada:/usr/bin/pyhome lock", "close")
    assert "The home of ada is locked." in said
    assert not opened.exists()


def test_who_leaves_while_waiting_has_nothing_locked(served: LoginMachine) -> None:
    started, pid = session(served)
    opened = record(served)
    command = [*AS_ADA, "/usr/bin/pyhome", "lock", "--wait", "60", "--force"]
    with served.background(["sh", "-c", f"echo $$; exec {' '.join(command)} 2>&1"]) as waiting:
        asker = first_line(waiting)
        assert first_line(waiting) == f"waiting for pid {pid} (login)"
        served.run(["kill", "-KILL", asker])
    assert eventually(lambda: "the conversation with pid" in served.log())
    assert opened.exists()
    started.kill(pid)


def test_a_home_that_another_process_has_in_its_hands(served: LoginMachine) -> None:
    record(served)
    flock = ["flock", "--shared", "/run/pyhome/61001/gate", "-c", "echo held; read line"]
    with served.background(flock) as holder:
        assert first_line(holder) == "held"
        ran = pyhome(served, ROOT, "lock", "ada")
        holder.communicate("\n")
    assert (ran.code, ran.out) == (45, "")
    assert ran.err == "pyhome lock: another process is opening or locking the home of ada; try again in a moment\n"


def test_a_home_on_hold_stays_open_after_the_last_session(served: LoginMachine) -> None:
    opened = record(served)
    (opened.parent / "hold").touch(0o600)
    started, pid = session(served)
    started.kill(pid)
    time.sleep(1)
    assert opened.exists()
    assert pyhome(served, ADA, "lock").code == 0
    assert not opened.exists()


@pytest.mark.guarantee(13)
def test_force_has_no_more_power_than_its_user(place: LoginMachine) -> None:
    """Signals go out with the rights of the owner: a process of somebody else in the home is never ended."""
    sleep = "exec sleep 60"
    bobs = ["setpriv", f"--reuid={BOB}", f"--regid={BOB}", "--clear-groups", "sh", "-c", f"echo $$; {sleep}"]
    with place.background(bobs) as bob, place.background([*AS_ADA, "sh", "-c", f"echo $$; {sleep}"]) as ada:
        outside = [int(served_pid(process.pid)) for process in (bob, ada)]
        for process in (bob, ada):
            first_line(process)
        assert [signal_as(ADA, pid, 15) for pid in outside] == [False, True]
        assert not signal_as(ADA, 1, 15)
        assert not signal_as(0, outside[0], 15)
        assert ada.wait(10) != 0
        assert bob.poll() is None


def served_pid(pid: int) -> str:
    """The process that `nsenter` has started, as it is called outside."""
    children = f"/proc/{pid}/task/{pid}/children"
    found: list[str] = []

    def look() -> bool:
        with open(children, encoding="ascii") as file:
            found[:] = file.read().split()
        return bool(found)

    assert eventually(look)
    return found[0]
