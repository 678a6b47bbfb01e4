"""The module in every kind of process that PAM applications are."""

from __future__ import annotations

import sys

import pytest

from tests.pam.harness import Machine, eventually

pytestmark = pytest.mark.root

PERMISSIVE = "".join(
    f"{kind} required pam_permit.so\n{kind} optional pam_pyhome.so\n" for kind in ("auth", "account", "session", "password")
)
CYCLE = ("auth", "setcred", "open", "close")
GOOD = ["auth 0", "setcred 0", "open 0", "close 0"]


@pytest.mark.parametrize("worker", ["reply(0)", "os._exit(0)", "os.kill(os.getpid(), 11)"])
def test_the_host_sees_no_child_of_ours(machine: Machine, worker: str) -> None:
    machine.install_worker(worker)
    steps = ("count-sigchld", "open", "waitany", "chauthtok", "sleep=100", "waitany", "sigchld")
    said = machine.pam("test", "ada", *steps)
    assert [line for line in said if line.startswith(("waitany", "sigchld"))] == ["waitany -1", "waitany -1", "sigchld 0"]


def test_the_hosts_own_children_stay_its_own(machine: Machine) -> None:
    assert machine.pam("test", "ada", "fork-own", *CYCLE, "reap-own") == [*GOOD, "reap-own yes"]


def test_no_process_stays_behind(machine: Machine) -> None:
    session = machine.start("test", "ada", *CYCLE, "pid", "wait")
    assert [session.line() for _ in GOOD] == GOOD
    session.line()

    def others() -> list[str]:
        return [line for line in machine.run(["ps", "-eo", "stat,args"]).splitlines()[1:] if "ps -eo" not in line]

    assert eventually(lambda: len(others()) == 2), "process 1 and the application"
    session.go_on()
    session.finish()


def test_a_host_that_ignores_sigchld(machine: Machine) -> None:
    assert machine.pam("test", "ada", "ignore-sigchld", *CYCLE, "waitany") == [*GOOD, "waitany -1"]


def test_a_host_without_standard_descriptors(machine: Machine) -> None:
    machine.install_worker("assert [os.stat(fd).st_rdev for fd in (0, 1, 2)] == [os.makedev(1, 3)] * 3\nreply(0)")
    said = machine.pam("test", "ada", "close-std", *CYCLE, "fd=0", "fd=1", "fd=2")
    assert said[:4] == GOOD
    assert said[5:] == ["fd closed"] * 2  # the connection to the system log may have become descriptor 0


def test_a_threaded_host(machine: Machine) -> None:
    users = ["ada"]
    said = machine.pam("test", users[0], "threads=8", *CYCLE, *CYCLE)
    assert sorted(said) == sorted(GOOD * 16)
    assert machine.leases(61001) == []


def test_identities_are_left_as_they_were(machine: Machine) -> None:
    machine.install_worker("assert add_key(b'pyhome:test', b'x', 0x0b000000) > 0\nreply(0)")
    for ruid in (0, 61002):
        said = machine.pam("test", "ada", f"ruid={ruid}", "auth", "open", "uids", "close", "uids")
        assert said[2:4] == said[5:7] == [f"Uid: {ruid} 0 0 0", "Gid: 0 0 0 0"]


def test_auth_in_a_child_and_session_in_the_parent(machine: Machine) -> None:
    said = machine.pam("test", "ada", "child{", "auth", "account", "}", "setcred", "open", "close")
    assert [line for line in said if not line.startswith("account")] == ["auth 0", "child 0", "setcred 29", "open 0", "close 0"]


def test_auth_in_the_parent_and_session_in_a_child(machine: Machine) -> None:
    machine.install_worker(
        "name = blob(b'pyhome.opened.ada')\n"
        "if start.phase == 1: verb(22, name + blob(b'kept'))\n"
        "elif start.phase == 4: assert value(23, name) == b'kept'\n"
        "reply(0)"
    )
    said = machine.pam("test", "ada", "auth", "child{", "setcred", "open", "close", "}", "open", "close")
    assert said == ["auth 0", "setcred 0", "open 0", "close 0", "child 0", "open 0", "close 0"]


def test_the_worker_is_told_which_process_asks(machine: Machine) -> None:
    machine.install_worker("note(str(start.pid))\nreply(0)")
    said = machine.pam("test", "ada", "child{", "pid", "auth", "}", "pid", "open")
    pids = [line.removeprefix("pid ") for line in said if line.startswith("pid")]
    assert machine.worker_runs() == ["1", pids[0], "4", pids[1]]
    assert pids[0] != pids[1]


def test_memory_and_descriptors_do_not_grow(machine: Machine) -> None:
    if machine.build.sanitized:
        assert machine.pam("test", "ada", "repeat=50", *CYCLE)[-1].endswith(" 0 fds")
        return
    machine.install_worker("verb(22, blob(b'pyhome.opened.ada') + blob(bytes(500)))\nconverse((1, b'?'))\nreply(0)")
    steps = ("answer=secret", "null-answers", *CYCLE)
    growth, fds = machine.pam("test", "ada", "repeat=400", *steps)[-1].removeprefix("growth ").split(" KiB ")
    assert int(growth) <= 256
    assert fds == "0 fds"


def test_memory_does_not_grow_without_a_worker_either(machine: Machine) -> None:
    machine.add_user("bob", 61002, encrypted=False)
    growth, fds = machine.pam("test", "bob", "repeat=1000", *CYCLE)[-1].removeprefix("growth ").split(" KiB ")
    assert machine.build.sanitized or int(growth) <= 64
    assert fds == "0 fds"


PAMELA = """
import pamela, threading
def login():
    handle = pamela.authenticate("ada", "secret", service="test", close=False)
    for _ in range(3):
        handle.open_session()
        handle.close_session()
    pamela.pam_end(handle)
login()
threads = [threading.Thread(target=login) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("done")
"""
PYTHON_PAM = """
import pam
for _ in range(3):
    session = pam.pam()
    assert session.authenticate("ada", "secret", service="test", call_end=False), (session.code, session.reason)
    assert session.open_session() == 0 and session.close_session() == 0
    session.end()
print("done")
"""


@pytest.mark.parametrize("program", [PAMELA, PYTHON_PAM], ids=["pamela", "python-pam"])
def test_hosts_written_in_python(machine: Machine, program: str) -> None:
    machine.write_stack("test", PERMISSIVE)
    machine.install_worker(
        "if start.phase == 1: note(repr(value(16, struct.pack('<I', 6))))\n"
        "if start.phase == 4: assert add_key(b'pyhome:test', b'x', 0x0b000000) > 0\nreply(25 if start.phase == 1 else 0)"
    )
    assert machine.run([sys.executable, "-c", program], environment=machine.build.preload()) == "done\n"
    runs = machine.worker_runs()
    assert runs.count("1") == (7 if "threading" in program else 3)
    assert runs.count("4") == (21 if "threading" in program else 3)


@pytest.mark.parametrize("arguments", [["su", "ada", "-c", "id -un"], ["su", "-l", "ada", "-c", "id -un"]])
def test_su(machine: Machine, arguments: list[str]) -> None:
    for service in ("su", "su-l"):
        machine.write_stack(service, PERMISSIVE)
    assert machine.run(arguments, environment=machine.build.preload()) == "ada\n"
    assert machine.worker_runs() == ["1", "4"]
    assert machine.leases(61001) == []


def test_pamtester(machine: Machine) -> None:
    machine.write_stack("test", PERMISSIVE)
    phases = ["authenticate", "setcred", "acct_mgmt", "open_session", "close_session", "chauthtok"]
    machine.run(["pamtester", "test", "ada", *phases], environment=machine.build.preload())
    assert machine.worker_runs() == ["1", "4", "6", "6"]
