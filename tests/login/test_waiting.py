"""The worker that opened a home waits for the session: a short cut, which nothing depends on."""

from __future__ import annotations

import re

import pytest

from pam_pyhome.formats import wire
from tests.login.conftest import PASSWORD
from tests.login.homes import LoginMachine, answers
from tests.login.worker import Talk
from tests.pam.harness import eventually

pytestmark = pytest.mark.root

TRIED = "the home was not opened"  # for want of eCryptfs: the keys had arrived
WORKERS = "sh=root:pgrep -f '^/usr/bin/python3 .*pyhome-worke[r]' || echo none"


def workers(machine: LoginMachine) -> list[str]:
    """The workers that run now."""
    return machine.run(["/bin/sh", "-c", "pgrep -f '^/usr/bin/python3 .*pyhome-worke[r]' || true"]).split()


def tried_by(machine: LoginMachine) -> list[str]:
    """The workers that tried to mount the home."""
    return re.findall(rf"pam_pyhome\[(\d+)\]: .*{TRIED}", machine.log())


def test_the_session_is_opened_by_the_worker_of_the_authentication(machine: LoginMachine) -> None:
    said = machine.pam("login", "ada", *answers(PASSWORD), "auth", "setcred", WORKERS, "account", "open", "end")
    (waiting,) = [line for line in said if line.isdigit()]
    assert tried_by(machine) == [waiting]
    assert eventually(lambda: workers(machine) == [])


@pytest.mark.parametrize(
    "mishap", ["sh=root:pkill -KILL -f pyhome-worke[r]", "close-high"], ids=["killed", "descriptors closed"]
)
def test_without_it_another_worker_opens_the_session(machine: LoginMachine, mishap: str) -> None:
    said = machine.pam("login", "ada", *answers(PASSWORD), "auth", WORKERS, "close-std", mishap, "open", "end", "fd=10")
    (waiting,) = [line for line in said if line.isdigit()]
    (other,) = tried_by(machine)
    assert other != waiting
    if mishap == "close-high":
        assert said[-1] == "fd open"  # whatever has taken the place of the socket is not ours to close


@pytest.mark.parametrize("steps", [("auth", "end"), ("auth", "child{", "open", "}", "end"), ("child{", "auth", "}")])
def test_it_ends_with_the_transaction(machine: LoginMachine, steps: tuple[str, ...]) -> None:
    session = machine.start("login", "ada", *answers(PASSWORD), *steps, "sh=root:echo done", "wait")
    while session.line() != "done":
        pass
    assert eventually(lambda: workers(machine) == [])
    session.go_on()
    session.finish()


def test_none_waits_where_nothing_was_opened(machine: LoginMachine) -> None:
    said = machine.pam("strict", "ada", *answers(b"wrong"), "auth", "sleep=500", WORKERS)
    assert said[-2:] == ["none", "sh 0"]


def test_another_user_in_the_same_handle_has_a_worker_of_their_own(machine: LoginMachine) -> None:
    steps = (*answers(PASSWORD), "auth", WORKERS, "user=bob", "open", "user=ada", "open", "end")
    said = machine.pam("login", "ada", *steps)
    (waiting,) = [line for line in said if line.isdigit()]
    assert tried_by(machine) == [waiting]


def test_it_waits_no_longer_than_a_minute(machine: LoginMachine) -> None:
    Talk(machine, authtok=PASSWORD).phase(wire.PHASE_AUTHENTICATE, under=["strace", "-o", "/run/trace", "-e", "trace=alarm"])
    clocks = [line for line in machine.path("/run/trace").read_text(encoding="utf-8").splitlines() if line.startswith("alarm(")]
    assert clocks[-1].startswith("alarm(60)")
