"""What the login shell decides, from facts alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.formats.shells import STUB
from pam_pyhome.shell_stub.decide import (
    LOCKED,
    NOT_UNLOCKED,
    OPEN,
    PLAIN,
    PYHOME,
    Exec,
    Login,
    Refuse,
    Unlock,
    Wait,
    decide,
    shown,
)

BASH = b"/usr/bin/bash"
SSH = {b"SHELL": STUB, b"HOME": b"/home/ada", b"SSH_CONNECTION": b"::1 1 ::1 22", b"LANG": b"C"}


def login(*arguments: bytes, state: str = OPEN, **facts: object) -> Login:
    known: dict[str, object] = {"environment": SSH, "home": b"/home/ada", "shell": BASH, "host": "castle"}
    return Login(arguments=arguments, state=state, **known | facts)  # type: ignore[arg-type]  # the tests give what fits


def executed(plan: object) -> Exec:
    assert isinstance(plan, Exec)
    return plan


@pytest.mark.parametrize("state", [OPEN, PLAIN])
@pytest.mark.parametrize(
    ("arguments", "argv"),
    [
        ((), (b"-bash",)),
        ((b"-c", b"true"), (b"bash", b"-c", b"true")),
        ((b"-c", b""), (b"bash", b"-c", b"")),
        ((b"-l",), (b"bash", b"-l")),
        ((b"-c", b"echo \xff", b"", b"-x"), (b"bash", b"-c", b"echo \xff", b"", b"-x")),
    ],
)
def test_the_real_shell_as_sshd_starts_it(state: str, arguments: tuple[bytes, ...], argv: tuple[bytes, ...]) -> None:
    plan = executed(decide(login(*arguments, state=state)))
    assert plan == Exec(BASH, argv, {**SSH, b"SHELL": BASH})


def test_as_forced_command_it_runs_what_the_client_asked_for() -> None:
    environment = {**SSH, b"SHELL": BASH, b"SSH_ORIGINAL_COMMAND": b"scp -t -- x y"}
    plan = executed(decide(login(environment=environment)))
    assert plan.arguments == (b"bash", b"-c", b"scp -t -- x y")
    assert b"SSH_ORIGINAL_COMMAND" not in plan.environment
    plan = executed(decide(login(environment={**environment, b"SSH_ORIGINAL_COMMAND": b""})))
    assert plan.arguments == (b"bash", b"-c", b"")


def test_a_command_of_its_own_comes_before_the_one_in_the_environment() -> None:
    """A key's command= gets the client's wish in the environment and must be the only thing that runs."""
    environment = {**SSH, b"SSH_ORIGINAL_COMMAND": b"rm -rf ."}
    plan = executed(decide(login(b"-c", b"forced", environment=environment)))
    assert plan.arguments == (b"bash", b"-c", b"forced")
    assert plan.environment[b"SSH_ORIGINAL_COMMAND"] == b"rm -rf ."


@pytest.mark.parametrize(("before", "after"), [(STUB, BASH), (b"", BASH), (None, BASH), (b"/bin/zsh", b"/bin/zsh")])
def test_only_a_shell_that_is_the_stub_is_replaced_in_the_environment(before: bytes | None, after: bytes) -> None:
    environment = {b"A": b"1"} | ({} if before is None else {b"SHELL": before})
    assert executed(decide(login(environment=environment))).environment == {b"A": b"1", b"SHELL": after}


def test_the_facts_are_not_changed() -> None:
    facts = login(environment={b"SSH_ORIGINAL_COMMAND": b"x"}, state=LOCKED, terminal=True)
    decide(facts)
    assert facts.environment == {b"SSH_ORIGINAL_COMMAND": b"x"}


def test_a_home_that_opened_meanwhile_is_entered() -> None:
    plan = executed(decide(login(astray=True, environment={**SSH, b"PWD": b"/", b"HOME": b"/"})))
    assert plan.directory == b"/home/ada"
    assert (plan.environment[b"PWD"], plan.environment[b"HOME"]) == (b"/home/ada", b"/home/ada")


def test_a_defect_of_the_shell_is_said() -> None:
    assert executed(decide(login(defect="it has gone"))).notices == ("it has gone",)


@pytest.mark.parametrize("policy", ["fail", "wait", "plain"])
def test_locked_with_a_terminal_asks_whatever_the_policy_for_commands(policy: str) -> None:
    for arguments in ((), (b"-c", b"make")):
        plan = decide(login(*arguments, state=LOCKED, terminal=True, locked_command=policy))
        assert isinstance(plan, Unlock)
        assert plan.then.directory == b"/home/ada"
        assert plan.then.arguments == ((b"bash", b"-c", b"make") if arguments else (b"-bash",))
        assert b"PWD" not in plan.then.environment


def test_a_login_goes_on_where_nothing_can_unlock_and_a_command_does_not() -> None:
    plan = decide(login(state=LOCKED, terminal=True))
    assert isinstance(plan, Unlock)
    assert isinstance(plan.otherwise, Exec)
    assert (plan.otherwise.arguments, plan.otherwise.directory) == ((b"-bash",), b"")
    assert "without /home/ada" in plan.otherwise.notices[0]
    plan = decide(login(b"-c", b"make", state=LOCKED, terminal=True))
    assert isinstance(plan, Unlock)
    assert isinstance(plan.otherwise, Refuse)


def test_locked_without_a_terminal_fails_with_what_to_type() -> None:
    plan = decide(login(b"-c", b"make", state=LOCKED))
    assert plan == Refuse("/home/ada is locked; to unlock it, type: ssh -t castle", NOT_UNLOCKED)
    assert NOT_UNLOCKED == 75
    plan = decide(login(b"-c", b"make", state=LOCKED, environment={}))
    assert isinstance(plan, Refuse)
    assert "ssh" not in plan.message


def test_locked_without_a_terminal_where_commands_wait() -> None:
    plan = decide(login(b"-c", b"make", state=LOCKED, locked_command="wait", locked_wait=7))
    assert isinstance(plan, Wait)
    assert plan.seconds == 7
    assert "7 seconds" in plan.notice
    assert plan.then.directory == b"/home/ada"
    assert "ssh -t castle" in plan.otherwise.message


def test_locked_without_a_terminal_where_commands_run_plain() -> None:
    plan = executed(decide(login(b"-c", b"make", state=LOCKED, locked_command="plain")))
    assert plan.arguments == (b"bash", b"-c", b"make")
    assert plan.directory == b""
    assert "without it" in plan.notices[0]


@pytest.mark.parametrize(
    "command",
    [b"pyhome status", b"pyhome", b" pyhome  unlock --password-file - ", b"/usr/bin/pyhome lock --wait=60"],
)
@pytest.mark.parametrize("terminal", [False, True])
def test_pyhome_itself_needs_no_open_home_and_no_shell(command: bytes, terminal: bool) -> None:
    plan = executed(decide(login(b"-c", command, state=LOCKED, terminal=terminal)))
    assert plan == Exec(PYHOME, (b"pyhome", *command.split()[1:]), {**SSH, b"SHELL": BASH})
    assert executed(decide(login(b"-c", command, state=OPEN))).path == BASH


@pytest.mark.parametrize(
    "command",
    [b"pyhome status; id", b"pyhome status\nid", b"pyhome $(id)", b"pyhome status >x", b"pyhome `id`", b"pyhome 'a'", b"pyhome *",
     b"pyhome ~", b"pyhome a&", b"pyhome |id", b"./pyhome status", b"pyhomed", b"A=1 pyhome status", b"/tmp/pyhome status",
     b"exec pyhome status", b"pyhome \xff", b"pyhome\tstatus", b"pyhome #", b"pyhome \\x", b"pyhome {a,b}", b"", b"  "],
)  # fmt: skip
def test_nothing_else_passes_for_it(command: bytes) -> None:
    assert isinstance(decide(login(b"-c", command, state=LOCKED)), Refuse)
    for arguments in ((b"pyhome status",), (b"-c", b"pyhome status", b"x"), (b"-lc", b"pyhome status")):
        assert isinstance(decide(login(*arguments, state=LOCKED)), Refuse)


def test_a_forced_command_is_what_counts_and_not_what_the_client_asked_for() -> None:
    asks = {**SSH, b"SSH_ORIGINAL_COMMAND": b"pyhome unlock"}
    assert isinstance(decide(login(b"-c", b"borg serve", environment=asks, state=LOCKED)), Refuse)
    assert executed(decide(login(environment=asks, state=LOCKED))).path == PYHOME


def test_root_is_asked_for_nothing_and_gets_the_shell() -> None:
    plan = executed(decide(login(state=LOCKED, terminal=True, of_root=True)))
    assert (plan.arguments, plan.directory, len(plan.notices)) == ((b"-bash",), b"", 1)
    assert isinstance(decide(login(b"-c", b"make", state=LOCKED, terminal=True, of_root=True)), Refuse)


ENVIRONMENTS = st.dictionaries(st.sampled_from([b"SHELL", b"HOME", b"PWD", b"SSH_ORIGINAL_COMMAND", b"X"]), st.binary(max_size=5))


@given(
    st.lists(st.binary(max_size=5), max_size=3),
    ENVIRONMENTS,
    st.sampled_from([PLAIN, LOCKED, OPEN]),
    st.booleans(),
    st.sampled_from(["fail", "wait", "plain"]),
)
def test_whatever_the_facts_no_command_is_lost_changed_or_invented(
    arguments: list[bytes], environment: dict[bytes, bytes], state: str, terminal: bool, policy: str
) -> None:
    plan = decide(login(*arguments, environment=environment, state=state, terminal=terminal, locked_command=policy))
    shells = [plan] if isinstance(plan, Exec) else [] if isinstance(plan, Refuse) else [plan.then]
    forced = (b"-c", environment[b"SSH_ORIGINAL_COMMAND"]) if b"SSH_ORIGINAL_COMMAND" in environment else ()
    for shell in shells:
        assert shell.path == BASH
        assert shell.arguments[1:] == (tuple(arguments) or forced)
        assert shell.arguments[0] == (b"bash" if shell.arguments[1:] else b"-bash")
    if state == LOCKED and not terminal and policy == "fail":
        assert isinstance(plan, Refuse)


@given(st.binary(max_size=20))
def test_a_path_is_shown_as_one_harmless_line(path: bytes) -> None:
    assert shown(path).isprintable()
