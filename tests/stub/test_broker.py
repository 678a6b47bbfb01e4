"""The broker itself, in pyhomed: whose home, how many guesses, and what becomes of peers that do not behave."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from pam_pyhome.formats import broker
from tests.pam.harness import eventually
from tests.sshd.full import PASSWORD, FullMachine
from tests.sshd.harness import ADA, BOB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.pam.harness import Build, Session

ASK = broker.packet(broker.ASK)
CONVERSATIONS = 16
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


@pytest.mark.guarantee(20)
def test_the_right_answer_arrives_among_guesses_of_the_same_user(full: FullMachine) -> None:
    guessing = [asked(full) for _ in range(8)]
    for connection in guessing:
        connection.send(broker.packet(broker.ANSWER, b"a guess"))
    with asked(full) as connection:
        connection.send(broker.packet(broker.ANSWER, PASSWORD.encode()))
        # The kernel of the machine may have no eCryptfs; that the mount was tried says that the keys were right.
        assert said(connection)[0] in {broker.OPEN, broker.REFUSED}
    assert "the home was not mounted" in full.log()
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


@pytest.mark.guarantee(20)
def test_a_flood_is_its_own_users_affair(full: FullMachine) -> None:
    full.encrypt("bob")
    bobs = log_in(full, "bob")
    flood = [asked(full) for _ in range(CONVERSATIONS)]
    for _ in range(5):
        with connect(full) as refused:
            assert said(refused) == (0, "")
    asked(full, BOB).close()
    assert "too many conversations" in full.log()
    for connection in flood:
        connection.close()
    assert eventually(lambda: is_asked(full))
    log_out(bobs)


def is_asked(machine: FullMachine) -> bool:
    """Whether ada gets a prompt."""
    with connect(machine) as connection:
        with contextlib.suppress(BrokenPipeError):
            connection.send(ASK)
        return said(connection)[0] == broker.PROMPT
