"""Keys that a session gets, and who else cannot have them. `keyctl` and python3-keyutils are the independent readers."""

from __future__ import annotations

import os

import pytest

from tests.pam.harness import Machine

pytestmark = pytest.mark.root

# Keyrings of users belong to the kernel, not to the machine: with ids of their own two runs do not meet.
ANN = 100000 + 2 * os.getpid()
BOB = ANN + 1

POSSESSOR_READS = 0x0B000000  # view, read, search
ADD = f"assert add_key(b'pyhome:test', b'the secret', {POSSESSOR_READS:#x}) > 0\nreply(0)"
READ = "/usr/bin/python3 -c 'import keyutils; print(keyutils.read_key(keyutils.search(-3, b\"pyhome:test\")))'"  # -3: @s
SHOW = "keyctl rdescribe $(keyctl search @s user pyhome:test)"
SESSION = "keyctl rdescribe @s"
KEYINIT = "session optional pam_keyinit.so force revoke\n"


@pytest.fixture
def keyed(machine: Machine) -> Machine:
    """Ann and Bob, and a worker that adds a key. `login` has pam_keyinit, `test` has not."""
    machine.add_user("ann", ANN)
    machine.add_user("bob", BOB, encrypted=False)
    machine.install_worker(f"if start.phase == 4: {ADD}\nreply(0)".replace("\nreply(0)\n", "\n"))
    machine.write_pam("login", before=KEYINIT)
    return machine


def outputs(said: list[str]) -> list[str]:
    """Without the lines of the phases."""
    return [line for line in said if not line.startswith(("open", "close", "auth"))]


def test_the_session_reads_its_key(keyed: Machine) -> None:
    key, content, status = outputs(keyed.pam("login", "ann", "open", f"sh=ann:{SHOW}; {READ}", "close"))
    assert (key, content, status) == ("user;0;0;0b000000;pyhome:test", "b'the secret'", "sh 0")


@pytest.mark.guarantee(4)
def test_the_keyring_of_all_sessions_of_a_user_is_not_that_of_one(keyed: Machine) -> None:
    steps = (f"ruid={ANN}", f"sh=ann:{SESSION}", "open", f"sh=ann:{SESSION}; {READ}")
    before, _, after, content, _ = outputs(keyed.pam("test", "ann", *steps))
    assert before.endswith(f"_uid_ses.{ANN}")
    assert after.endswith(";_ses")
    assert content == "b'the secret'"


def test_a_keyring_made_for_the_login_is_used(keyed: Machine) -> None:
    keyed.write_pam("permit")
    tell = "session required pam_exec.so stdout /usr/bin/keyctl id @s\n"
    keyed.write_stack("permit", KEYINIT + tell + "session required pam_pyhome.so\n")
    with_serials = outputs(keyed.pam("permit", "ann", "open", "sh=ann:keyctl id @s", "close"))
    serials = {line.removeprefix("message 4 ") for line in with_serials if line.removeprefix("message 4 ").isdigit()}
    assert len(serials) == 1


def test_without_one_a_keyring_of_the_user_is_joined(keyed: Machine) -> None:
    steps = ("join", "open", f"sh=ann:{SESSION}; {READ}; keyctl show @s | grep -c _uid.{ANN}", "close")
    session, content, linked, _ = outputs(keyed.pam("test", "ann", *steps))
    assert session.startswith(f"keyring;{ANN};{ANN};")
    assert not session.endswith(f"_uid_ses.{ANN}")
    assert (content, linked) == ("b'the secret'", "1")


@pytest.mark.guarantee(4)
def test_su_from_another_users_session(keyed: Machine) -> None:
    """The child is `su`, started from Bob's shell, which the parent stands for: both have Bob's session keyring."""
    steps = (
        f"ruid={BOB}", "join", "sh=bob:keyctl add user canary x @s >/dev/null",
        "child{", "sh=bob:keyctl pipe %user:canary; echo", "open", f"sh=ann:{READ}", "close", "}",
        f"sh=bob:keyctl pipe %user:canary; echo; keyctl search @s user pyhome:test; {READ}",
    )  # fmt: skip
    said = keyed.pam("test", "ann", *steps)
    assert said.count("b'the secret'") == 1
    assert said.count("x") == 2, "Bob's keyring is shared and still there"
    assert said[-1] == "sh 1"


@pytest.mark.guarantee(4)
def test_other_sessions_and_other_users_read_nothing(keyed: Machine) -> None:
    session = keyed.start("login", "ann", "open", "sh=ann:keyctl search @s user pyhome:test", "wait", "close")
    session.line()
    serial = session.line()
    assert int(serial) > 0
    keyed.write_stack("bare", KEYINIT + "session required pam_permit.so\n")
    for user in ("ann", "bob", "root"):
        attempt = f"keyctl pipe {serial} || keyctl link {serial} @s || keyctl setperm {serial} 0x3f3f3f3f"
        said = keyed.pam("bare", user, "open", f"sh={user}:{attempt}", "close")
        assert said == ["open 0", "sh 1", "close 0"]
    session.go_on()
    session.finish()


@pytest.mark.parametrize(
    "attempt", ["link $K @u", "setperm $K 0x3f3f0000", "revoke $K", "chown $K $(id -u)", "update $K x", "timeout $K 1"]
)
def test_the_user_cannot_pass_the_key_on_or_change_it(keyed: Machine, attempt: str) -> None:
    script = f"K=$(keyctl search @s user pyhome:test); keyctl {attempt} && echo changed; {READ}"
    assert outputs(keyed.pam("login", "ann", "open", f"sh=ann:{script}", "close")) == ["b'the secret'", "sh 0"]


@pytest.mark.guarantee(4)
def test_a_key_of_the_same_name_is_displaced_and_learns_nothing(keyed: Machine) -> None:
    squat = "K=$(keyctl add user pyhome:test mine @s); keyctl setperm $K 0x3f3f3f3f; keyctl link $K @u; echo $K"
    after = f"{SHOW}; {READ}; keyctl pipe $(keyctl search @u user pyhome:test); echo; keyctl purge -s user pyhome:test >/dev/null"
    keyed.write_stack("again", "session [default=ignore] pam_pyhome.so\n")
    # The first session is opened without the worker's key, the second one in the same keyring.
    keyed.install_worker(f"if start.service == b'again':\n    {ADD.splitlines()[0]}\nreply(0)")
    keyed.write_stack("login", KEYINIT + "session required pam_permit.so\n")
    steps = ("open", f"sh=ann:{squat}", "child{", "end", "service=again", "open", f"sh=ann:{after}", "}")
    said = outputs(keyed.pam("login", "ann", *steps))
    assert said[2:5] == ["user;0;0;0b000000;pyhome:test", "b'the secret'", "mine"]


def test_added_again_in_the_same_session(keyed: Machine) -> None:
    keyed.install_worker(
        f"first = add_key(b'pyhome:test', b'the secret', {POSSESSOR_READS:#x})\n"
        f"second = add_key(b'pyhome:test', b'another', {POSSESSOR_READS:#x})\n"
        "assert 0 < first != second > 0\nreply(0)"
    )
    assert outputs(keyed.pam("login", "ann", "open", f"sh=ann:{READ}; keyctl show @s | grep -c pyhome:test", "close")) == [
        "b'another'", "1", "sh 0",
    ]  # fmt: skip


def test_any_payload_and_any_permissions(keyed: Machine) -> None:
    keyed.install_worker(
        "serial = add_key(b'pyhome:test', bytes(range(256)) * 8, 0x3f3f0000)\nnote(str(serial))\n"
        "assert add_key(b'pyhome:huge', bytes(40000), 0x3f3f0000) == -14\n"
        "assert add_key(b'', b'x', 0x3f3f0000) == -14\n"
        "assert add_key(b'pyhome:wrong', b'x', 0xffffffff) == -14\nreply(0)"
    )
    said = outputs(keyed.pam("login", "ann", "open", f"sh=ann:{SHOW}; keyctl search @s user pyhome:test; {READ}", "close"))
    assert said[0] == "user;0;0;3f3f0000;pyhome:test"
    assert said[1] == keyed.worker_runs()[1]
    assert said[2] == str(bytes(range(256)) * 8)


def test_threads_of_one_process_get_keyrings_of_their_own(keyed: Machine) -> None:
    said = keyed.pam("test", "ann", "join", "threads=6", "open", f"sh=ann:{READ}", "close")
    assert said.count("b'the secret'") == 6
    assert said.count("sh 0") == 6


def test_the_thread_keyring_keeps_nothing(keyed: Machine) -> None:
    keyed.install_worker("assert add_key(b'pyhome:test', b'x', 0x0b000000) > 0\nreply(0)")
    steps = ("open", "sh=root:keyctl search @t user pyhome:test 2>/dev/null; keyctl search @p user pyhome:test 2>/dev/null; true")
    assert outputs(keyed.pam("login", "ann", *steps)) == ["sh 0"]
