"""The broker itself, in pyhomed: whose home, how many guesses, and what becomes of peers that do not behave."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pam_pyhome.formats import broker
from pam_pyhome.formats.facts import parse_failure
from pam_pyhome.kernel.process import parent_of
from tests.login.homes import AS_ADA
from tests.pam.harness import eventually
from tests.sshd.full import PASSWORD, FullMachine
from tests.sshd.harness import ADA, BOB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pam.harness import Build, Session

ASK = broker.packet(broker.ASK)
CONVERSATIONS = 16
PATIENCE_SECONDS = 20
TURN_SECONDS = 0.5
HELLO_SECONDS = 5
WRONG_SECONDS = 2
TIMEOUT = 20


@pytest.fixture
def full(tmp_path: Path, build: Build) -> Iterator[FullMachine]:
    """Pyhomed, and ada in a session that found her home locked."""
    with FullMachine(tmp_path, build) as machine, machine.daemon():
        session = log_in(machine, "ada")
        assert eventually(machine.path(broker.SOCKET).exists)
        yield machine
        log_out(session)


def log_in(machine: FullMachine, user: str) -> Session:
    """A session, whose lease is what a home that is unlocked is held by."""
    session = machine.start("login", user, "open", "wait", "close")
    while session.line() != "open 0":
        pass
    return session


def log_out(session: Session) -> None:
    session.go_on()
    session.finish()


def connect(machine: FullMachine, uid: int = ADA) -> socket.socket:
    """A connection of this user's, as the kernel will say."""
    here = os.open(".", os.O_PATH)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(TIMEOUT)
    os.chdir(machine.path("/run"))
    os.seteuid(uid)
    try:
        connection.connect(os.path.basename(broker.SOCKET))
    finally:
        os.seteuid(0)
        os.fchdir(here)
        os.close(here)
    return connection


def said(connection: socket.socket) -> tuple[int, str]:
    """The next packet; (0, "") if the broker has hung up."""
    try:
        data = connection.recv(broker.MAX_PACKET)
    except ConnectionResetError:
        data = b""
    kind, body = broker.parse_packet(data) if data else (0, b"")
    return kind, body.decode()


def asked(machine: FullMachine, uid: int = ADA) -> socket.socket:
    """A connection on which the broker waits for an answer."""
    connection = connect(machine, uid)
    connection.send(ASK)
    assert said(connection)[0] == broker.PROMPT
    return connection


@pytest.mark.guarantee(5)
def test_the_kernel_says_whose_home_it_is_about(full: FullMachine) -> None:
    with asked(full), connect(full, BOB) as bobs:
        bobs.send(ASK)
        assert said(bobs) == (broker.NONE, "")


def test_without_a_session_nothing_is_asked(full: FullMachine) -> None:
    full.encrypt("bob")
    with connect(full, BOB) as bobs:
        bobs.send(ASK)
        kind, text = said(bobs)
    assert kind == broker.REFUSED
    assert "no PAM session" in text


def test_whoever_wishes_that_logins_open_nothing_is_asked_for_nothing(full: FullMachine) -> None:
    full.path("/home/.ecryptfs/ada/.ecryptfs/auto-mount").unlink()
    with connect(full) as connection:
        connection.send(ASK)
        assert said(connection) == (broker.NONE, "")


def test_three_guesses_slowed_down_and_logged(full: FullMachine) -> None:
    began = time.monotonic()
    with asked(full) as connection:
        for turn in range(broker.PROMPTS):
            connection.send(broker.packet(broker.ANSWER, b"a guess"))
            assert said(connection)[0] == broker.SAY
            assert said(connection)[0] == (broker.PROMPT if turn < broker.PROMPTS - 1 else broker.REFUSED)
        assert said(connection) == (0, "")
    assert time.monotonic() - began > broker.PROMPTS * WRONG_SECONDS
    log = full.log()
    assert log.count("user ada: a wrong password was given") == broker.PROMPTS
    assert "a guess" not in log


@pytest.mark.guarantee(6, 20)
def test_guesses_are_slow_over_all_connections_and_the_right_answer_is_not(full: FullMachine) -> None:
    guessing = [asked(full) for _ in range(8)]
    began = time.monotonic()
    for connection in guessing:
        connection.send(broker.packet(broker.ANSWER, b"a guess"))
    with asked(full) as connection:
        asked_at = time.monotonic()
        connection.send(broker.packet(broker.ANSWER, PASSWORD.encode()))
        # The kernel of the machine may have no eCryptfs; that the mount was tried says that the keys were right.
        assert said(connection)[0] in {broker.OPEN, broker.REFUSED}
        assert time.monotonic() - asked_at < 4
    assert "the home was not opened" in full.log()
    assert [said(guess)[0] for guess in guessing] == [broker.SAY] * len(guessing)
    assert time.monotonic() - began > WRONG_SECONDS + (len(guessing) - 1) * TURN_SECONDS
    assert PASSWORD not in full.log()
    for connection in guessing:
        connection.close()


RUBBISH = {
    "empty": [b""],
    "an unknown kind": [b"\x7f"],
    "an answer first": [broker.packet(broker.ANSWER, b"x")],
    "a question with a body": [ASK + b"root"],
    "more than a packet": [b"\x02" * 5000],
    "the broker's own word": [broker.packet(broker.OPEN)],
    "two questions": [ASK, ASK],
    "an empty answer": [ASK, b"\x02"],
    "an answer that is too long": [ASK, b"\x02" + b"x" * 513],
}


def test_rubbish_is_hung_up_on(full: FullMachine) -> None:
    for name, packets in RUBBISH.items():
        with connect(full) as connection:
            for packet in packets:
                with contextlib.suppress(BrokenPipeError):
                    connection.send(packet)
            kinds = [said(connection)[0] for _ in packets]
            assert kinds[-1] == 0, name
    with asked(full):
        assert "ended early" in full.log()


@pytest.mark.guarantee(20)
def test_who_stalls_or_leaves_harms_nobody(full: FullMachine) -> None:
    began = time.monotonic()
    with connect(full) as silent:
        for _ in range(5):
            asked(full).close()
        with asked(full):
            assert said(silent) == (0, "")
    assert HELLO_SECONDS - 1 < time.monotonic() - began < TIMEOUT


FLOOD = """
import os, socket, sys
for number in range(12):
    if os.fork() == 0:
        break
else:
    print('flooding', flush=True)
    sys.stdin.read()
    os.killpg(0, 9)
uid, held = int(sys.argv[1]), []
while True:
    # Two in three are processes of one user, the others have uids that a user may take, and nobody is known by.
    uid += number % 3 == 0
    os.setresuid(0, 0, 0)
    os.setresuid(0, uid, 0)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.setblocking(number % 2 == 0)
    try:
        connection.connect('/run/pyhome-unlock.sock')
        held.append(connection)
    except OSError:
        connection.close()
    if number % 4 or len(held) > 400:
        held.clear()
"""


@pytest.mark.guarantee(6, 20)
def test_a_flood_is_its_own_users_affair(full: FullMachine) -> None:
    """Sixteen conversations of bob's that stay, and then connections of his and of nobody's, as fast as they can be made."""
    full.encrypt("bob")
    bobs = log_in(full, "bob")
    held = [asked(full, BOB) for _ in range(CONVERSATIONS)]
    held_since = time.monotonic()
    for _ in range(5):
        with connect(full, BOB) as refused:
            assert said(refused) == (0, "")
    command = full.enter(["setsid", "/usr/bin/python3", "-I", "-c", FLOOD, str(BOB)], {})
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as flood:
        assert flood.stdout is not None
        assert flood.stdout.readline() == "flooding\n"
        for _ in range(3):
            began = time.monotonic()
            assert full.run([*AS_ADA, "/usr/bin/pyhome", "status"]).startswith("The home of ada is locked")
            assert time.monotonic() - began < TIMEOUT
        flood.communicate()
    assert full.log().count("too many conversations") == 2
    assert len([line for line in full.log().splitlines() if "pyhomed" in line]) < 20
    # Who only waits makes room for the user's next one after a while, so that nobody is locked out by what runs in their name.
    time.sleep(max(0.0, held_since + PATIENCE_SECONDS + 1 - time.monotonic()))
    assert eventually(lambda: is_asked(full, BOB))
    for connection in held:
        connection.close()
    log_out(bobs)


def is_asked(machine: FullMachine, uid: int = ADA) -> bool:
    """Whether a user gets a prompt."""
    with connect(machine, uid) as connection:
        with contextlib.suppress(BrokenPipeError):
            connection.send(ASK)
        return said(connection)[0] == broker.PROMPT


def test_users_of_the_system_and_of_one_uid_are_not_served(full: FullMachine) -> None:
    """Theirs may be a home that is another's, or the system's own; whatever they have in it."""
    unlock = broker.request_packet(broker.Request(broker.UNLOCK))
    full.path("/etc/login.defs").write_text("UID_MIN 61002\n", encoding="ascii")
    assert answers(full, ADA, ASK, unlock) == [(broker.NONE, ""), (broker.FAILED, "NoHomeError")]
    full.path("/etc/login.defs").write_text("UID_MIN 1000\n", encoding="ascii")
    assert answers(full, ADA, ASK, unlock) == [(broker.PROMPT, "Password: "), (broker.PROMPT, "Password: ")]
    with full.path("/etc/passwd").open("a", encoding="ascii") as passwd:
        passwd.write(f"eve:x:{ADA}:{ADA}::/home/eve:/bin/sh\n")
    (kind, text), failed = answers(full, ADA, ASK, unlock)
    assert kind == broker.REFUSED
    assert "because eve has the same user id" in text
    assert failed == (broker.FAILED, "SharedUidError")


def answers(machine: FullMachine, uid: int, *packets: bytes) -> list[tuple[int, str]]:
    """The broker's first word to each packet; of a failure, its kind."""
    found = []
    for packet in packets:
        with connect(machine, uid) as connection:
            connection.send(packet)
            data = connection.recv(4096)
        found.append((data[0], parse_failure(data[1:]).kind if data[0] == broker.FAILED else data[1:].decode()))
    return found


def test_the_memory_of_a_conversation(full: FullMachine) -> None:
    """It is the first to go when memory is short, takes so much and no more, and leaves no core; all that unlike pyhomed."""
    with asked(full):
        (child,) = [path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if is_conversation(full, path)]
        limits = (child / "limits").read_text(encoding="ascii")
        assert int((child / "oom_score_adj").read_text(encoding="ascii")) == 900
        assert (child / "coredump_filter").read_text(encoding="ascii").strip() == "00000000"
    assert re.search(r"Max core file size +1 +1 ", limits)
    assert re.search(r"Max address space +[0-9]+ ", limits)


def is_conversation(machine: FullMachine, cmdline: Path) -> bool:
    """Whether this is a child of the machine's pyhomed."""
    try:
        parent = Path(f"/proc/{parent_of(int(cmdline.parent.name))}")
        inside = {os.readlink(process / "ns/pid") for process in (cmdline.parent, parent)}
        named = all(b"pyhomed" in (process / "cmdline").read_bytes() for process in (cmdline.parent, parent))
        return named and inside == {os.readlink(machine.path("/proc/1/ns/pid"))}
    except OSError:
        return False
