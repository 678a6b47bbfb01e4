"""Keys that a session gets, and who else cannot have them. `keyctl` and python3-keyutils are the independent readers."""

from __future__ import annotations

import pytest

from tests.pam.harness import Machine

pytestmark = pytest.mark.root

POSSESSOR_READS = 0x0B000000  # view, read, search
ADD = f"assert add_key(b'pyhome:test', b'the secret', {POSSESSOR_READS:#x}) > 0\nreply(0)"
READ = "/usr/bin/python3 -c 'import keyutils; k = keyutils.search(keyutils.KEY_SPEC_SESSION_KEYRING, b\"pyhome:test\"); print(keyutils.read_key(k))'"
SHOW = "keyctl rdescribe $(keyctl search @s user pyhome:test)"
SESSION = "keyctl rdescribe @s"
KEYINIT = "session optional pam_keyinit.so force revoke\n"


@pytest.fixture
def keyed(machine: Machine) -> Machine:
    """Bob besides Ada, and a worker that adds a key. `login` has pam_keyinit, `test` has not."""
    machine.add_user("bob", 61002, encrypted=False)
    machine.install_worker(f"if start.phase == 4: {ADD}\nreply(0)".replace("\nreply(0)\n", "\n"))
    machine.write_pam("login", before=KEYINIT)
    return machine


def outputs(said: list[str]) -> list[str]:
    """Without the lines of the phases."""
    return [line for line in said if not line.startswith(("open", "close", "auth"))]


def test_the_session_reads_its_key(keyed: Machine) -> None:
    key, content, status = outputs(keyed.pam("login", "ada", "open", f"sh=ada:{SHOW}; {READ}", "close"))
    assert (key, content, status) == ("user;0;0;0b000000;pyhome:test", "b'the secret'", "sh 0")


def test_the_keyring_of_all_sessions_of_a_user_is_not_that_of_one(keyed: Machine) -> None:
    before, _, after, content, _ = outputs(keyed.pam("test", "ada", "ruid=61001", f"sh=ada:{SESSION}", "open", f"sh=ada:{SESSION}; {READ}"))
    assert before.endswith("_uid_ses.61001")
    assert after.endswith(";_ses")
    assert content == "b'the secret'"


def test_a_keyring_made_for_the_login_is_used(keyed: Machine) -> None:
    keyed.write_pam("permit")
    keyed.write_stack("permit", KEYINIT + "session required pam_exec.so stdout /usr/bin/keyctl id @s\nsession required pam_pyhome.so\n")
    with_serials = outputs(keyed.pam("permit", "ada", "open", "sh=ada:keyctl id @s", "close"))
    serials = {line.removeprefix("message 4 ") for line in with_serials if line.removeprefix("message 4 ").isdigit()}
    assert len(serials) == 1


def test_without_one_a_keyring_of_the_user_is_joined(keyed: Machine) -> None:
    steps = ("join", "open", f"sh=ada:{SESSION}; {READ}; keyctl show @s | grep -c _uid.61001", "close")
    session, content, linked, _ = outputs(keyed.pam("test", "ada", *steps))
    assert session.startswith("keyring;61001;61001;")
    assert not session.endswith("_uid_ses.61001")
    assert (content, linked) == ("b'the secret'", "1")


def test_su_from_another_users_session(keyed: Machine) -> None:
    """The child is `su`, started from Bob's shell, which the parent stands for: both have Bob's session keyring."""
    steps = (
        "ruid=61002", "join", "sh=bob:keyctl add user canary x @s >/dev/null",
        "child{", "sh=bob:keyctl pipe %user:canary; echo", "open", f"sh=ada:{READ}", "close", "}",
        f"sh=bob:keyctl pipe %user:canary; echo; keyctl search @s user pyhome:test; {READ}",
    )  # fmt: skip
    said = keyed.pam("test", "ada", *steps)
    assert said.count("b'the secret'") == 1
    assert said.count("x") == 2, "Bob's keyring is shared and still there"
    assert said[-1] == "sh 1"


def test_other_sessions_and_other_users_read_nothing(keyed: Machine) -> None:
    session = keyed.start("login", "ada", "open", "sh=ada:keyctl search @s user pyhome:test", "wait", "close")
    session.line()
    serial = session.line()
    assert int(serial) > 0
    keyed.write_stack("bare", KEYINIT + "session required pam_permit.so\n")
    for user in ("ada", "bob", "root"):
        steps = ("open", f"sh={user}:keyctl pipe {serial} || keyctl link {serial} @s || keyctl setperm {serial} 0x3f3f3f3f", "close")
        said = keyed.pam("bare", user, *steps)
        assert said == ["open 0", "sh 1", "close 0"]
    session.go_on()
    session.finish()


@pytest.mark.parametrize(
    "attempt",
    ["keyctl link $K @u", "keyctl setperm $K 0x3f3f0000", "keyctl revoke $K", "keyctl chown $K 61001", "keyctl update $K x", "keyctl timeout $K 1"],
)
def test_the_user_cannot_pass_the_key_on_or_change_it(keyed: Machine, attempt: str) -> None:
    script = f"K=$(keyctl search @s user pyhome:test); {attempt} && echo changed; {READ}"
    assert outputs(keyed.pam("login", "ada", "open", f"sh=ada:{script}", "close")) == ["b'the secret'", "sh 0"]


def test_a_key_of_the_same_name_is_displaced_and_learns_nothing(keyed: Machine) -> None:
    squat = "K=$(keyctl add user pyhome:test mine @s); keyctl setperm $K 0x3f3f3f3f; keyctl link $K @u; echo $K"
    after = f"{SHOW}; {READ}; keyctl pipe $(keyctl search @u user pyhome:test); echo; keyctl purge -s user pyhome:test >/dev/null"
    keyed.write_stack("again", "session [default=ignore] pam_pyhome.so\n")
    # The first session is opened without the worker's key, the second one in the same keyring.
    keyed.install_worker(f"if start.service == b'again':\n    {ADD.splitlines()[0]}\nreply(0)")
    keyed.write_stack("login", KEYINIT + "session required pam_permit.so\n")
    steps = ("open", f"sh=ada:{squat}", "child{", "end", "service=again", "open", f"sh=ada:{after}", "}")
    said = outputs(keyed.pam("login", "ada", *steps))
    assert said[2:5] == ["user;0;0;0b000000;pyhome:test", "b'the secret'", "mine"]


def test_added_again_in_the_same_session(keyed: Machine) -> None:
    keyed.install_worker(
        f"first = add_key(b'pyhome:test', b'the secret', {POSSESSOR_READS:#x})\n"
        f"second = add_key(b'pyhome:test', b'another', {POSSESSOR_READS:#x})\n"
        "assert 0 < first != second > 0\nreply(0)"
    )
    assert outputs(keyed.pam("login", "ada", "open", f"sh=ada:{READ}; keyctl show @s | grep -c pyhome:test", "close")) == [
        "b'another'", "1", "sh 0",
    ]  # fmt: skip


def test_any_payload_and_any_permissions(keyed: Machine) -> None:
    keyed.install_worker(
        "serial = add_key(b'pyhome:test', bytes(range(256)) * 8, 0x3f3f0000)\nnote(str(serial))\n"
        "assert add_key(b'pyhome:huge', bytes(40000), 0x3f3f0000) == -14\n"
        "assert add_key(b'', b'x', 0x3f3f0000) == -14\n"
        "assert add_key(b'pyhome:wrong', b'x', 0xffffffff) == -14\nreply(0)"
    )
    said = outputs(keyed.pam("login", "ada", "open", f"sh=ada:{SHOW}; keyctl search @s user pyhome:test; {READ}", "close"))
    assert said[0] == "user;0;0;3f3f0000;pyhome:test"
    assert said[1] == keyed.worker_runs()[1]
    assert said[2] == str(bytes(range(256)) * 8)


def test_threads_of_one_process_get_keyrings_of_their_own(keyed: Machine) -> None:
    said = keyed.pam("test", "ada", "join", "threads=6", "open", f"sh=ada:{READ}", "close")
    assert said.count("b'the secret'") == 6
    assert said.count("sh 0") == 6


def test_the_thread_keyring_keeps_nothing(keyed: Machine) -> None:
    keyed.install_worker("assert add_key(b'pyhome:test', b'x', 0x0b000000) > 0\nreply(0)")
    steps = ("open", "sh=root:keyctl search @t user pyhome:test 2>/dev/null; keyctl search @p user pyhome:test 2>/dev/null; true")
    assert outputs(keyed.pam("login", "ada", *steps)) == ["sh 0"]
