"""The opened home on its way from the auth phase to the session phase: to the right process, once, for a minute."""

from __future__ import annotations

import contextlib
from pathlib import Path

import keyutils  # type: ignore[import-untyped]  # the distribution ships no types
import pytest

from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, BOB, LoginMachine, answers
from tests.pam.harness import eventually

pytestmark = pytest.mark.root

TRIED = "the home was not opened"  # for want of eCryptfs: the keys had arrived
LOCKED = "the session starts with the home locked"


def arrivals(machine: LoginMachine) -> int:
    """How often a session had the keys of a home."""
    return machine.log().count(TRIED)


def handed_over(pid: int) -> list[tuple[int, str, str]]:
    """Serial, time to live and permissions of the keys that wait for ada's process `pid`, as the kernel lists them."""
    found = []
    for line in Path("/proc/keys").read_text(encoding="utf-8").splitlines():
        serial, _, _, timeout, permissions, _, _, kind, description = line.split(None, 8)
        if kind == "user" and description.startswith(f"pyhome:opened:{ADA}:{pid}:") and timeout not in {"expd", "perm"}:
            found.append((int(serial, 16), timeout, permissions))
    return found


@pytest.fixture(autouse=True)
def _nothing_waits_from_before() -> None:
    """Other tests leave keys that nobody takes, and every machine counts its processes from 1."""
    for line in Path("/proc/keys").read_text(encoding="utf-8").splitlines():
        serial, *_, description = line.split(None, 8)
        if description.startswith(f"pyhome:opened:{ADA}:"):
            with contextlib.suppress(keyutils.Error):  # expired or gone by now
                keyutils.revoke(int(serial, 16))


def test_within_one_process(machine: LoginMachine) -> None:
    machine.pam("login", "ada", *answers(PASSWORD), "auth", "setcred", "open")
    assert arrivals(machine) == 1


def test_from_a_child_to_its_parent(machine: LoginMachine) -> None:
    """As sshd does with keyboard-interactive."""
    machine.pam("login", "ada", *answers(PASSWORD), "child{", "auth", "}", "open")
    assert arrivals(machine) == 1


def test_from_a_parent_to_its_child(machine: LoginMachine) -> None:
    """As xrdp does."""
    machine.pam("login", "ada", *answers(PASSWORD), "auth", "child{", "open", "}")
    assert arrivals(machine) == 1


@pytest.mark.parametrize("auth", [("auth",), ("child{", "auth", "}")], ids=["one process", "child"])
def test_it_can_be_taken_once(machine: LoginMachine, auth: tuple[str, ...]) -> None:
    machine.pam("login", "ada", *answers(PASSWORD), *auth, "open", "close", "open", "close", "open")
    assert arrivals(machine) == 1
    assert machine.log().count(LOCKED) == 2


def test_another_try_at_the_same_login_replaces_it(machine: LoginMachine) -> None:
    machine.pam("login", "ada", *answers(PASSWORD), "child{", "auth", "}", "child{", *answers(PASSWORD), "auth", "}", "open")
    assert arrivals(machine) == 1
    assert "no key for a session" not in machine.log()


def test_it_waits_a_minute_for_root_only(machine: LoginMachine) -> None:
    session = machine.start("login", "ada", "pid", *answers(PASSWORD), "child{", "auth", "}", "wait", "open")
    pid = int(session.line().split()[1])
    while not session.line().startswith("child"):
        pass
    ((serial, timeout, permissions),) = handed_over(pid)
    assert timeout == "1m" or int(timeout.removesuffix("s")) <= 60
    assert permissions == "0f2b0000"  # possessor: view, read, write, search; root: view, read, search, setattr; others: nothing
    assert len(keyutils.read_key(serial)) > 740
    keyutils.set_timeout(serial, 1)
    assert eventually(lambda: not handed_over(pid), 5)
    session.go_on()
    session.finish()
    assert arrivals(machine) == 0
    assert LOCKED in machine.log()


READER = """
import keyutils, sys
serial = int(sys.argv[1])
for attempt in (
    lambda: keyutils.read_key(serial), lambda: keyutils.link(serial, keyutils.KEY_SPEC_SESSION_KEYRING),
    lambda: keyutils.describe_key(serial), lambda: keyutils.revoke(serial), lambda: keyutils.set_perm(serial, 0x3f3f3f3f),
):
    try:
        attempt()
    except keyutils.Error as error:
        print(error.args[0])
    else:
        print('allowed')
"""


def test_the_user_can_do_nothing_with_it(machine: LoginMachine) -> None:
    """Not even in the very session that it is for."""
    machine.path("/opt/test/reader").write_text(READER, encoding="ascii")
    session = machine.start(
        "login", "ada", "pid", *answers(PASSWORD), "child{", "auth", "}", "wait",
        "sh=ada:/usr/bin/python3 -I /opt/test/reader $(cat /opt/test/serial)", "open",
    )  # fmt: skip
    pid = int(session.line().split()[1])
    while not session.line().startswith("child"):
        pass
    ((serial, _, _),) = handed_over(pid)
    machine.path("/opt/test/serial").write_text(str(serial), encoding="ascii")
    session.go_on()
    said = session.finish()
    assert said[:6] == ["13", "13", "13", "13", "13", "sh 0"]  # EACCES
    assert arrivals(machine) == 1


@pytest.mark.guarantee(4)
def test_another_process_gets_nothing(machine: LoginMachine) -> None:
    first = machine.start("login", "ada", "pid", *answers(PASSWORD), "child{", "auth", "}", "wait", "open")
    pid = int(first.line().split()[1])
    while not first.line().startswith("child"):
        pass
    machine.pam("login", "ada", "open")
    assert arrivals(machine) == 0
    assert len(handed_over(pid)) == 1
    first.go_on()
    first.finish()
    assert arrivals(machine) == 1


@pytest.mark.guarantee(4)
def test_another_user_gets_nothing(machine: LoginMachine) -> None:
    """As in sudo, which changes the user inside one handle."""
    machine.add_home("bob", BOB, b"bob's own")
    for auth in (("auth",), ("child{", "auth", "}")):
        machine.pam("login", "ada", *answers(PASSWORD), *auth, "user=bob", "open")
    assert arrivals(machine) == 0
    assert machine.log().count(f"user bob: {LOCKED}") == 2


def test_nothing_waits_after_the_session_has_begun(machine: LoginMachine) -> None:
    session = machine.start("login", "ada", "pid", *answers(PASSWORD), "child{", "auth", "}", "open", "wait")
    pid = int(session.line().split()[1])
    while session.line() != "open 0":
        pass
    assert handed_over(pid) == []
    session.go_on()
    session.finish()


def test_a_full_keyring_is_no_obstacle(machine: LoginMachine) -> None:
    """Where the key cannot be made, the handle still carries the home."""
    trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=add_key:error=EDQUOT"]
    machine.run([*trace, "/opt/test/pamapp", "login", "ada", *answers(PASSWORD), "auth", "open"])
    assert "no key for a session of the parent process" in machine.log()
    assert arrivals(machine) == 1
