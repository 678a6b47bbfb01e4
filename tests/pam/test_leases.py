"""Leases: who holds a home open, whatever happens to the holders."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pam_pyhome.formats.state import parse_lease
from tests.pam.harness import Machine, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

ADA = 61001


@contextmanager
def gate(machine: Machine, how: int) -> Iterator[None]:
    """The gate of Ada's home, locked by the test."""
    for directory in (machine.state(ADA).parent, machine.state(ADA)):
        directory.mkdir(mode=0o700, exist_ok=True)
    with (machine.state(ADA) / "gate").open("wb") as file:
        fcntl.flock(file, how)
        yield


def is_held(machine: Machine, name: str) -> bool:
    with (machine.state(ADA) / name).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def open_home(machine: Machine) -> None:
    machine.run(["mount", "-t", "tmpfs", "home", "/home/ada"])
    machine.record_open(ADA, "/home/ada")


def test_a_session_holds_a_lease_that_says_whose_it_is(machine: Machine) -> None:
    session = machine.start("test", "ada", "item=3:pts/7", "item=4:bad\\host\n\u00e4", "pid", "open", "wait", "close", "wait")
    lines = [session.line() for _ in range(4)]
    pid = int(lines[2].removeprefix("pid "))
    assert machine.leases(ADA) == [f"lease.{pid}.0"]
    assert is_held(machine, f"lease.{pid}.0")
    text = (machine.state(ADA) / f"lease.{pid}.0").read_bytes()
    lease = parse_lease(text)
    stat = machine.path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    assert (lease.pid, lease.start) == (pid, int(stat.rsplit(")", 1)[1].split()[19]))
    assert (lease.service, lease.tty, lease.rhost) == ("test", "pts/7", "bad\\host\n\u00e4")
    session.go_on()
    session.line()
    assert machine.leases(ADA) == []
    session.go_on()
    session.finish()


@pytest.mark.parametrize("umask", [0, 0o777])
def test_the_run_time_directory_is_roots_alone(machine: Machine, umask: int) -> None:
    command = f"umask {umask:o}; exec /opt/test/pamapp test ada ruid=61002 open wait"
    caller = ["setpriv", "--regid=61002", "--clear-groups", "sh", "-c", command]
    machine.run(caller, environment=machine.build.environment(leaks=False))
    state = machine.state(ADA)
    paths = [state.parent, state, state / "gate", state / machine.leases(ADA)[0]]
    found = [(path.stat().st_mode & 0o7777, path.stat().st_uid, path.stat().st_gid) for path in paths]
    assert found == [(0o700, 0, 0), (0o700, 0, 0), (0o600, 0, 0), (0o600, 0, 0)]


def test_the_descriptor_is_out_of_the_way_and_not_inherited(machine: Machine) -> None:
    said = machine.pam("test", "ada", "close-std", "open", "sh=ada:ls -l /proc/self/fd", "close")
    assert not any("lease" in line for line in said)
    session = machine.start("test", "ada", "pid", "open", "wait")
    pid = session.line().removeprefix("pid ")
    session.line()
    links = {int(path.name): os.readlink(path) for path in machine.path(f"/proc/{pid}/fd").iterdir()}
    assert [fd for fd, link in links.items() if "lease" in link] == [fd for fd, link in links.items() if "pyhome" in link]
    assert all(fd >= 10 for fd, link in links.items() if "lease" in link)
    session.go_on()
    session.finish()


@pytest.mark.guarantee(13)
def test_only_the_last_of_two_sessions_closes_the_home(machine: Machine) -> None:
    open_home(machine)
    for first, second in ((0, 1), (1, 0)):
        before = len(machine.worker_runs())
        sessions = [machine.start("test", "ada", "open", "wait", "close") for _ in range(2)]
        assert [session.line() for session in sessions] == ["open 0", "open 0"]
        assert len(machine.leases(ADA)) == 2
        sessions[first].go_on()
        assert sessions[first].finish() == ["close 0"]
        assert len(machine.worker_runs()) == before
        sessions[second].go_on()
        assert sessions[second].finish() == ["close 0"]
        assert machine.worker_runs()[before:] == ["5"]
        assert machine.leases(ADA) == []


def test_a_session_of_a_locked_home_counts_too(machine: Machine) -> None:
    machine.install_worker("reply(14)")
    early = machine.start("test", "ada", "open", "wait", "close")
    assert early.line() == "open 14"
    open_home(machine)
    machine.pam("test", "ada", "open", "close")
    assert machine.worker_runs() == ["4"]
    early.go_on()
    early.finish()
    assert machine.worker_runs() == ["4", "5"]


@pytest.mark.guarantee(13)
def test_a_killed_session_lets_go(machine: Machine) -> None:
    open_home(machine)
    victim = machine.start("test", "ada", "pid", "open", "wait")
    pid = int(victim.line().removeprefix("pid "))
    victim.line()
    victim.kill(pid)
    assert machine.leases(ADA) == [f"lease.{pid}.0"]
    assert not is_held(machine, f"lease.{pid}.0")
    assert machine.pam("test", "ada", "open", "close") == ["open 0", "close 0"]
    assert machine.worker_runs() == ["5"]
    assert machine.leases(ADA) == [], "the dead one has been removed on the way"


def test_an_application_that_never_closes_its_session_lets_go_too(machine: Machine) -> None:
    session = machine.start("test", "ada", "open", "end", "wait")
    session.line()
    assert eventually(lambda: not is_held(machine, machine.leases(ADA)[0]))
    session.go_on()
    session.finish()


def test_opened_twice_is_held_once(machine: Machine) -> None:
    session = machine.start("test", "ada", "open", "open", "wait", "close", "wait")
    session.line(), session.line()
    assert len(machine.leases(ADA)) == 1
    session.go_on()
    session.line()
    assert machine.leases(ADA) == []
    session.go_on()
    session.finish()


def test_a_silent_end_in_a_child_leaves_the_parents_lease(machine: Machine) -> None:
    session = machine.start("test", "ada", "open", "child{", "}", "wait", "close")
    assert [session.line(), session.line()] == ["open 0", "child 0"]
    assert is_held(machine, machine.leases(ADA)[0])
    session.go_on()
    session.finish()
    assert machine.leases(ADA) == []


def test_a_child_can_close_the_session_of_its_parent(machine: Machine) -> None:
    session = machine.start("test", "ada", "open", "child{", "close", "}", "wait")
    assert [session.line() for _ in range(3)] == ["open 0", "close 0", "child 0"]
    assert machine.leases(ADA) == []
    session.go_on()
    session.finish()


def test_a_stranger_on_the_descriptor_of_a_lease_is_left_alone(machine: Machine) -> None:
    steps = ("close-std", "open", "close-high", "close", "end", "fd=10")
    assert machine.pam("test", "ada", *steps) == ["open 0", "reopened 10", "close 0", "fd open"]
    assert machine.leases(ADA) == []


@pytest.mark.guarantee(13)
def test_a_session_waits_while_the_home_is_being_locked(impatient: Machine) -> None:
    with gate(impatient, fcntl.LOCK_EX):
        session = impatient.start("test", "ada", "open", "wait", "close")
        time.sleep(0.3)
        assert impatient.leases(ADA) == []
        assert impatient.worker_runs() == []
    assert session.line() == "open 0"
    assert len(impatient.leases(ADA)) == 1
    session.go_on()
    session.finish()


def test_but_not_for_ever(impatient: Machine) -> None:
    with gate(impatient, fcntl.LOCK_EX):
        began = time.monotonic()
        assert impatient.pam("test", "ada", "open", "close") == ["open 0", "close 0"]
        assert time.monotonic() - began > 0.6
    (told,) = impatient.records("no-lease")
    assert (told["USER"], told["UID"]) == ("ada", str(ADA))
    assert f"user ada: the session is not counted: {told['PYHOME_WHY']}" in impatient.log()
    assert impatient.leases(ADA) == []


def test_others_who_make_leases_do_not_hinder(impatient: Machine) -> None:
    with gate(impatient, fcntl.LOCK_SH):
        session = impatient.start("test", "ada", "open", "wait", "close")
        assert session.line() == "open 0"
        assert len(impatient.leases(ADA)) == 1
        session.go_on()
        session.finish()


def test_what_looks_dead_is_not_removed_while_the_gate_is_in_use(machine: Machine) -> None:
    open_home(machine)
    (machine.state(ADA) / "lease.999.0").write_bytes(b"")
    with gate(machine, fcntl.LOCK_SH):
        machine.pam("test", "ada", "open", "close")
        assert machine.leases(ADA) == ["lease.999.0"]
    assert machine.worker_runs() == ["5"], "it is not held either"
    machine.pam("test", "ada", "open", "close")
    assert machine.leases(ADA) == []


def test_names_that_are_taken_and_names_that_are_forged(machine: Machine) -> None:
    open_home(machine)
    state = machine.state(ADA)
    (state / "lease.link").symlink_to("open")
    (state / "lease.directory").mkdir()
    os.mkfifo(state / "lease.pipe")
    (state / "lease.foreign").write_bytes(b"")
    os.chown(state / "lease.foreign", ADA, ADA)
    with (state / "lease.foreign").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        session = machine.start("test", "ada", "pid", "wait", "open", "wait", "close")
        pid = session.line().removeprefix("pid ")
        (state / f"lease.{pid}.0").symlink_to("/run/elsewhere")
        (state / f"lease.{pid}.1").write_bytes(b"old")
        session.go_on()
        session.line()
        assert is_held(machine, f"lease.{pid}.2")
        session.go_on()
        session.finish()
    assert not machine.path("/run/elsewhere").exists()
    assert machine.worker_runs() == ["5"]
    assert machine.leases(ADA) == [f"lease.{pid}.0", "lease.directory", "lease.foreign", "lease.link", "lease.pipe"]


@pytest.mark.parametrize("how", ["of a user", "open to all", "a link", "a file"])
@pytest.mark.parametrize("which", ["/run/pyhome", f"/run/pyhome/{ADA}"])
@pytest.mark.guarantee(7)
def test_no_lease_in_a_directory_that_is_not_roots_alone(machine: Machine, which: str, how: str) -> None:
    machine.path("/run/pyhome").mkdir(mode=0o700)
    machine.path(which).mkdir(mode=0o700, exist_ok=True)
    path = machine.path(which)
    if how == "of a user":
        os.chown(path, ADA, 0)
    elif how == "open to all":
        path.chmod(0o777)
    else:
        path.rmdir()
        path.with_name("other").mkdir(mode=0o700)
        path.write_bytes(b"") if how == "a file" else path.symlink_to("other")
    session = machine.start("test", "ada", "open", "wait", "close")
    assert session.line() == "open 0"
    assert not list(machine.path("/run").rglob("lease.*"))
    session.go_on()
    assert session.finish() == ["close 0"]
    assert "user ada: the session is not counted: no lease: " in machine.log()


def test_many_sessions_at_once(machine: Machine) -> None:
    open_home(machine)
    sessions = [machine.start("test", "ada", "threads=4", *["open", "close"] * 10) for _ in range(3)]
    watcher = threading.Event()

    def probe() -> None:
        while not watcher.is_set():
            for name in machine.leases(ADA):
                try:
                    is_held(machine, name)
                except FileNotFoundError:
                    continue

    thread = threading.Thread(target=probe)
    thread.start()
    said = [line for session in sessions for line in session.finish()]
    watcher.set()
    thread.join()
    assert sorted(said) == ["close 0"] * 120 + ["open 0"] * 120
    assert machine.leases(ADA) == []
    assert "no lease" not in machine.log()
