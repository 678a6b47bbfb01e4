"""pyhomed with real leases: it notices how sessions end, survives nonsense and restarts, and ends when nothing is open.

Where the kernel has no eCryptfs, locking is shown by what it leaves: no record of an open home, and keys that are revoked.
"""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import stat
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import keyutils  # type: ignore[import-untyped]  # the distribution ships no types
import pytest

from pam_pyhome.formats import wire
from pam_pyhome.formats.state import OpenRecord, emit_open
from tests.login.conftest import furnish
from tests.login.homes import ADA, AS_ADA, BOB, LoginMachine, first_line, pyhomed
from tests.login.worker import Talk
from tests.pam.harness import Session, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pam.harness import Build

pytestmark = pytest.mark.root

SOCKET = "/run/pyhomed.sock"
LOCKED = "locked the home: the last session has ended"
IDLE_SECONDS = 10


@contextmanager
def daemon(machine: LoginMachine) -> Iterator[subprocess.Popen[str]]:
    """The daemon in the foreground, as under any init, killed at the end without warning."""
    command = ["sh", "-c", f"exec {' '.join(pyhomed())} 2>>/run/terminal"]
    with machine.background(command) as process:
        assert eventually(machine.path(SOCKET).exists)
        yield process
    assert machine.path("/run/terminal").read_text(encoding="utf-8") == ""


def record(machine: LoginMachine, uid: int = ADA, name: str = "ada", keys: tuple[int, ...] = ()) -> Path:
    """The record of an open home, whose mount is gone by now."""
    directory = machine.state(uid)
    for path in (directory.parent, directory):
        path.mkdir(mode=0o700, exist_ok=True)
    text = emit_open(OpenRecord(name, "ecryptfs", f"/home/{name}".encode(), b"/home/.ecryptfs", "0:4095", keys))
    (directory / "open").write_bytes(text)
    return directory / "open"


def session(machine: LoginMachine, user: str = "ada") -> tuple[Session, int]:
    """A session that goes on until it is killed or told to end, and its pid."""
    started = machine.start("login", user, "open", "pid", "wait", "close")
    while not (line := started.line()).startswith("pid"):
        pass
    return started, int(line.split()[1])


def send(machine: LoginMachine, *messages: bytes) -> None:
    """Messages from root, one connection each."""
    for message in messages:
        with _connection(machine) as connection:
            connection.send(message)


def _connection(machine: LoginMachine) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(machine.path(SOCKET)))
    return connection


@pytest.mark.guarantee(2)
def test_it_notices_a_session_that_was_killed(machine: LoginMachine) -> None:
    opened = record(machine)
    with daemon(machine):
        first, pid = session(machine)
        opened = record(machine)
        send(machine, b"watch %d\n" % ADA)
        time.sleep(0.5)
        assert opened.exists()
        first.kill(pid)
        assert eventually(lambda: not opened.exists())
    assert LOCKED in machine.log()
    assert machine.leases(ADA) == []


@pytest.mark.guarantee(13)
def test_the_home_is_kept_for_the_session_that_is_left(machine: LoginMachine) -> None:
    with daemon(machine):
        first, first_pid = session(machine)
        second, second_pid = session(machine)
        opened = record(machine)
        send(machine, b"watch %d\n" % ADA)
        first.kill(first_pid)
        time.sleep(0.7)
        assert opened.exists()
        second.kill(second_pid)
        assert eventually(lambda: not opened.exists())


def test_each_home_by_itself(machine: LoginMachine) -> None:
    machine.add_home("bob", BOB, b"bob's own")
    with daemon(machine):
        (adas, adas_pid), (bobs, bobs_pid) = session(machine), session(machine, "bob")
        adas_record, bobs_record = record(machine), record(machine, BOB, "bob")
        send(machine, b"watch %d\n" % ADA, b"watch %d\n" % BOB)
        bobs.kill(bobs_pid)
        assert eventually(lambda: not bobs_record.exists())
        assert adas_record.exists()
        adas.kill(adas_pid)
        assert eventually(lambda: not adas_record.exists())


@pytest.mark.guarantee(13)
def test_a_restart_forgets_nothing(machine: LoginMachine) -> None:
    with daemon(machine):
        going_on, pid = session(machine)
        opened = record(machine)
        send(machine, b"watch %d\n" % ADA)
    machine.path(SOCKET).unlink(missing_ok=True)
    with daemon(machine):
        time.sleep(0.5)
        assert opened.exists()
        going_on.kill(pid)
        assert eventually(lambda: not opened.exists())


def test_it_finds_homes_whose_sessions_ended_while_it_was_dead(machine: LoginMachine) -> None:
    ended, pid = session(machine)
    opened = record(machine)
    ended.kill(pid)
    assert len(machine.leases(ADA)) == 1  # dead
    with daemon(machine):
        assert eventually(lambda: not opened.exists())
    assert machine.leases(ADA) == []


def test_a_session_that_ends_in_order_needs_no_daemon(machine: LoginMachine) -> None:
    """Open by the record of root and by what is mounted there; the end of the last session locks it."""
    last, _ = session(machine)
    machine.run(["mount", "-t", "tmpfs", "-o", f"uid={ADA}", "tmpfs", "/home/ada"])
    opened = record(machine)
    device = machine.path("/home/ada").stat().st_dev
    text = f"dev={os.major(device)}:{os.minor(device)}".encode()
    opened.write_bytes(opened.read_bytes().replace(b"dev=0:4095", text))
    last.go_on()
    assert last.finish() == ["close 0"]
    assert not opened.exists()
    assert "locked the home" in machine.log()


def test_the_end_of_one_session_looks_for_others_behind_the_gate(machine: LoginMachine) -> None:
    """A session may have begun after the shim looked. Leases of the dead do not count, and are removed."""
    going_on, pid = session(machine)
    opened = record(machine)
    assert Talk(machine).phase(wire.PHASE_CLOSE_SESSION) == 0
    assert opened.exists()
    going_on.kill(pid)
    assert len(machine.leases(ADA)) == 1
    assert Talk(machine).phase(wire.PHASE_CLOSE_SESSION) == 0
    assert not opened.exists()
    assert machine.leases(ADA) == []


@pytest.mark.guarantee(2)
def test_keys_of_a_locked_home_are_useless(machine: LoginMachine) -> None:
    serial = keyutils.add_key(b"pyhome-test:revoked", b"x" * 740, keyutils.KEY_SPEC_USER_KEYRING)
    opened = record(machine, keys=(serial,))
    with daemon(machine):
        assert eventually(lambda: not opened.exists())
    with pytest.raises(keyutils.Error) as refused:
        keyutils.read_key(serial)
    assert refused.value.args[0] == 128  # EKEYREVOKED
    keyutils.unlink(serial, keyutils.KEY_SPEC_USER_KEYRING)


def test_a_home_that_is_to_stay_open_stays_open(machine: LoginMachine) -> None:
    (machine.config("ada") / "auto-umount").unlink()
    opened = record(machine)
    with daemon(machine):
        time.sleep(0.7)
    assert opened.exists()
    assert LOCKED not in machine.log()


def test_a_home_whose_wishes_cannot_be_read_is_locked(machine: LoginMachine) -> None:
    link = machine.path("/home/ada/.ecryptfs")
    link.unlink()
    link.symlink_to("/dev/full")
    opened = record(machine)
    with daemon(machine):
        assert eventually(lambda: not opened.exists())


def test_a_home_whose_owner_is_gone_is_locked(machine: LoginMachine) -> None:
    opened = record(machine, 61999, "nobody-any-more")
    with daemon(machine):
        assert eventually(lambda: not opened.exists())


def test_a_home_that_is_being_opened_is_left_alone(machine: LoginMachine) -> None:
    """The gate is held by whoever opens or locks it; pyhomed waits for its turn."""
    opened = record(machine)
    flock = ["flock", "/run/pyhome/61001/gate", "-c", "echo held; read line"]
    with machine.background(flock) as holder, daemon(machine):
        assert first_line(holder) == "held"
        time.sleep(0.7)
        assert opened.exists()
        holder.communicate("\n")
        assert eventually(lambda: not opened.exists())


NONSENSE = [
    b"watch", b"watch ", b"watch -1", b"watch 0", b"watch 61001 61002", b"watch  61001", b"watch 061001",
    b"watch 99999999999999999999", b"watch ../61001", b"unwatch 61001", b"61001", b"\0" * 64, b"\xff" * 64, b"x" * 5000,
    b"watch 1" + b"0" * 60, "watch \u0666\u0661\u0660\u0660\u0661".encode(),
]  # fmt: skip


def test_nonsense_from_root(machine: LoginMachine) -> None:
    opened = record(machine)
    with daemon(machine) as process:
        assert eventually(lambda: not opened.exists())
        send(machine, *NONSENSE)
        _connection(machine).close()
        assert machine.path("/run/pyhome").is_dir()
        assert sorted(path.name for path in machine.path("/run/pyhome").iterdir()) == [str(ADA)]
        going_on, pid = session(machine)
        opened = record(machine)
        send(machine, b"watch %d\n" % ADA)
        going_on.kill(pid)
        assert eventually(lambda: not opened.exists())
        assert process.poll() is None
    assert machine.log().count("a message from uid 0") >= len(NONSENSE)


def test_silent_connections_and_a_flood(machine: LoginMachine) -> None:
    with daemon(machine) as process:
        silent = [_connection(machine) for _ in range(3)]
        send(machine, *[b"rubbish"] * 200)
        going_on, pid = session(machine)
        opened = record(machine)
        send(machine, *[b"watch %d\n" % ADA] * 100)
        going_on.kill(pid)
        assert eventually(lambda: not opened.exists(), 20)
        assert process.poll() is None
        for connection in silent:
            connection.close()


MANY = 1100  # more than a process may open by default, and than select() can watch


def test_more_homes_are_open_than_select_can_watch(machine: LoginMachine) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    held = []
    for uid in range(70000, 70000 + MANY):
        opened = record(machine, uid, f"user{uid}")
        held.append(os.open(opened.parent / "lease.1.1", os.O_RDWR | os.O_CREAT, 0o600))
        fcntl.flock(held[-1], fcntl.LOCK_EX)
    with daemon(machine) as process:
        assert eventually(lambda: children_of(process) == MANY, 60)
        last = record(machine)
        send(machine, b"watch %d\n" % ADA)
        assert eventually(lambda: not last.exists(), 20)
        assert eventually(lambda: children_of(process) == MANY)
    for lease in held:
        os.close(lease)


def children_of(process: subprocess.Popen[str]) -> int:
    """How many processes pyhomed, which `nsenter` has started, has started."""
    (pid,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())


CONNECT = """
import socket, sys
for kind in (socket.SOCK_SEQPACKET, socket.SOCK_STREAM, socket.SOCK_DGRAM):
    try:
        connection = socket.socket(socket.AF_UNIX, kind)
        connection.connect('/run/pyhomed.sock')
        connection.send(b'watch 61001')
    except OSError as error:
        print(error.errno)
    else:
        print('connected')
"""


@pytest.mark.guarantee(5)
def test_nobody_but_root_may_speak_to_it(machine: LoginMachine) -> None:
    with daemon(machine):
        status = machine.path(SOCKET).stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o600)
        assert machine.run([*AS_ADA, "/usr/bin/python3", "-I", "-c", CONNECT]).split() == ["13", "13", "13"]
        machine.path(SOCKET).chmod(0o666)  # should an administrator open it by mistake
        opened = record(machine)
        machine.run([*AS_ADA, "/usr/bin/python3", "-I", "-c", CONNECT])
        time.sleep(0.5)
        assert opened.exists()
        assert f"a message from uid {ADA}" in machine.log()


@pytest.mark.parametrize("content", [b"", b"rubbish", b"backend=ecryptfs\n", bytes(70000)])
def test_a_damaged_record_is_no_record(machine: LoginMachine, content: bytes) -> None:
    opened = record(machine)
    opened.write_bytes(content)
    with daemon(machine) as process:
        going_on, _ = session(machine)
        going_on.go_on()
        assert going_on.finish() == ["close 0"]
        assert process.poll() is None


def test_a_backend_of_another_version_is_left_alone(machine: LoginMachine) -> None:
    opened = record(machine)
    opened.write_bytes(opened.read_bytes().replace(b"ecryptfs\nmount", b"fancyfs\nmount"))
    with daemon(machine) as process:
        time.sleep(0.7)
        assert process.poll() is None
    assert opened.exists()
    assert "backend fancyfs: is not known to this version" in machine.log()


@pytest.mark.guarantee(7)
def test_a_state_directory_of_somebody_else_is_not_used(machine: LoginMachine) -> None:
    opened = record(machine)
    os.chown(opened.parent, BOB, BOB)
    said = machine.pam("login", "ada", "open", "close")
    assert [line for line in said if not line.startswith("message")] == ["open 0", "close 0"]
    assert opened.exists()
    with daemon(machine) as process:
        time.sleep(0.5)
        assert process.poll() is None


ACTIVATE = """
import os, socket
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind('/run/pyhomed.sock')
os.chmod('/run/pyhomed.sock', 0o600)
listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')
os.execv('/usr/bin/python3', ['/usr/bin/python3', '-ISB', '/usr/lib/pyhome/pyhomed'])
"""


def test_activated_by_a_socket_it_ends_when_nothing_is_open(
    machine: LoginMachine, tmp_path: Path, build: Build, tree: Path
) -> None:
    """Two at once, on two machines, to save time: one with nothing to do, and one with an open home."""
    with LoginMachine(tmp_path / "busy", build) as busy:
        furnish(busy, tree)
        going_on, pid = session(busy)
        opened = record(busy)
        command = ["/usr/bin/python3", "-I", "-c", ACTIVATE]
        with machine.background(command) as idle, busy.background(command) as watching:
            began = time.monotonic()
            assert idle.wait(IDLE_SECONDS + 15) == 0
            assert time.monotonic() - began > IDLE_SECONDS - 1
            time.sleep(1)
            assert watching.poll() is None
            going_on.kill(pid)
            assert eventually(lambda: not opened.exists())
    assert machine.path(SOCKET).exists()  # it is the service manager's, who will be asked again there


def test_in_a_mount_name_space_of_its_own_it_does_not_run(machine: LoginMachine) -> None:
    """As a setting like PrivateTmp= gives it: what it unmounts there stays mounted where people are."""
    machine.run(["unshare", "--mount", *pyhomed()], status=78)
    assert "in a mount name space of its own, no home can be locked" in machine.log()
