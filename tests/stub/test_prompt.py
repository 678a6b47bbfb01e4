"""A locked home and somebody at a terminal: asked, let in, sent away; and the terminal is as it was, whatever happens."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from tests.stub.place import RIGHT, STATUS_LOCKED, STUB, Place, ended, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

PROMPT = "Passphrase of ada's home: "
WATCHED = f"trap : INT QUIT; stty -a > /run/before; {STUB}; echo ended $?; stty -a > /run/after; "
WATCHED += "cmp /run/before /run/after && echo re''stored"


@pytest.fixture
def asking(place: Place) -> Iterator[Place]:
    """With an honest broker."""
    place.machine.path("/run").chmod(0o777)
    place.broker()
    yield place
    assert eventually(lambda: place.stubs() == []), "a login shell was left behind"
    log = place.broker_log()
    assert log.count("ask") == log.count("bye"), "a conversation was left open"


def ask(place: Place) -> pexpect.spawn:
    """A terminal on which the prompt has appeared."""
    terminal = place.terminal(WATCHED)
    terminal.expect("/home/ada is locked.\r\n")
    terminal.expect_exact(PROMPT)
    return terminal


def left(terminal: pexpect.spawn, status: int) -> str:
    """The shell has ended with this status and the terminal is as it was; what was shown before."""
    terminal.expect(rf"ended {status}\r\n")
    shown = str(terminal.before)
    terminal.expect("restored\r\n")
    assert ended(terminal) == 0
    return shown


def test_key_login_wrong_wrong_right(asking: Place) -> None:
    asking.sshd()
    terminal = asking.ssh_terminal("ada")
    terminal.expect("/home/ada is locked.\r\n")
    for wrong in ("wrong", "Wrong too"):
        terminal.expect_exact(PROMPT)
        terminal.sendline(wrong)
        terminal.expect("That is not the passphrase.\r\n")
        assert wrong not in terminal.before
    terminal.expect_exact(PROMPT)
    terminal.sendline(RIGHT)
    terminal.expect(r"\$ ")
    assert RIGHT not in terminal.before
    terminal.sendline('echo "$0|$GREETING|$HOME|$PWD|$SHELL"; shopt login_shell; stty -a; ls -A; exit 6')
    assert ended(terminal) == 6
    said = terminal.before
    assert "-bash|from the profile|/home/ada|/home/ada|/bin/bash" in said
    assert "login_shell    \ton" in said
    assert " echo " in said
    assert ".profile" in said
    assert asking.broker_log()[:4] == ["ask", "wrong:5", "wrong:9", "right"]
    second = asking.ssh_terminal("ada", "pwd; cat .profile; exit 8")
    assert ended(second) == 8
    assert "export GREETING" in second.before


def test_a_command_on_a_terminal(asking: Place) -> None:
    asking.sshd()
    terminal = asking.ssh_terminal("ada", 'echo $0; pwd; cat .profile; read answer; echo "<$answer>"; exit 3')
    terminal.expect_exact(PROMPT)
    terminal.sendline(RIGHT)
    terminal.expect("bash\r\n/home/ada\r\nexport GREETING")
    terminal.sendline("yes")
    terminal.expect("<yes>")
    assert ended(terminal) == 3


def test_tmux_and_what_runs_in_it_is_in_the_home(asking: Place) -> None:
    asking.sshd()
    terminal = asking.ssh_terminal("ada")
    terminal.expect_exact(PROMPT)
    terminal.sendline(RIGHT)
    terminal.expect(r"\$ ")
    facts = 'echo "<$0|$PWD|$SHELL|$GREETING>" > facts; tmux -L t wait-for -S written'
    terminal.sendline(f"tmux -L t -f /dev/null new-session -d; tmux -L t send-keys '{facts}' Enter; tmux -L t wait-for written")
    terminal.sendline("cat facts; tmux -L t kill-server; exit 3")
    terminal.expect_exact("<-bash|/home/ada|/bin/bash|from the profile>")
    assert ended(terminal) == 3


def test_three_wrong_answers_end_it(asking: Place) -> None:
    terminal = ask(asking)
    for _ in range(2):
        terminal.sendline("wrong")
        terminal.expect_exact(PROMPT)
    terminal.sendline("wrong")
    assert "pyhome: Three times wrong." in left(terminal, STATUS_LOCKED)


def test_empty_answers_are_not_sent_and_end_it(asking: Place) -> None:
    terminal = ask(asking)
    for _ in range(2):
        terminal.sendline("")
        terminal.expect_exact(PROMPT)
    terminal.sendline("")
    left(terminal, STATUS_LOCKED)
    assert asking.broker_log() == ["ask", "bye"]


@pytest.mark.parametrize("size", [512, 513, 4000, 9000])
def test_long_answers(asking: Place, size: int) -> None:
    """What fits is sent; what does not is treated as empty; a terminal itself keeps no more than 4095 bytes of a line."""
    terminal = ask(asking)
    terminal.sendline("x" * size)
    terminal.expect_exact(PROMPT)
    terminal.sendcontrol("c")
    left(terminal, 130)
    assert ("wrong:512" in asking.broker_log()) == (size == 512)


def test_a_line_can_be_corrected(asking: Place) -> None:
    terminal = ask(asking)
    terminal.send("nonsense\x15" + RIGHT[:-1] + "x\x7f" + RIGHT[-1] + "\n")
    terminal.expect(r"\$ ")
    terminal.sendline("exit 0")
    left(terminal, 0)


@pytest.mark.parametrize(
    ("control", "status"), [("c", 130), ("d", STATUS_LOCKED), ("\\", 131)], ids=["Ctrl-C", "Ctrl-D", "Ctrl-backslash"]
)
@pytest.mark.parametrize("typed", ["", "half an answer"])
def test_leaving_by_key(asking: Place, control: str, status: int, typed: str) -> None:
    terminal = ask(asking)
    terminal.send(typed)
    if typed and control == "d":
        terminal.sendcontrol("d")
        terminal.expect_exact(PROMPT)
    terminal.sendcontrol(control)
    shown = left(terminal, status)
    assert "pyhome: /home/ada stays locked" in shown
    assert typed not in shown or not typed
    assert not asking.machine.path("/home/ada/.profile").exists()


def test_stopping_is_not_possible(asking: Place) -> None:
    terminal = ask(asking)
    terminal.sendcontrol("z")
    terminal.sendline(RIGHT)
    terminal.expect(r"\$ ")
    terminal.sendline("exit 0")
    left(terminal, 0)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGUSR1])
def test_leaving_by_signal(asking: Place, number: signal.Signals) -> None:
    terminal = ask(asking)
    asking.machine.run(["kill", f"-{number.value}", *asking.stubs()])
    left(terminal, 128 + number)


def test_signals_while_the_answer_is_looked_at(place: Place) -> None:
    """A broker that says nothing can still be left, with the terminal as it was."""
    place.machine.path("/run").chmod(0o777)
    place.broker("silent")
    terminal = place.terminal(WATCHED)
    terminal.expect("is locked.\r\n")
    terminal.sendcontrol("c")
    left(terminal, 130)


def test_what_was_typed_when_another_session_unlocks_is_no_command(asking: Place) -> None:
    """Two prompts: the first unlocks, the second notices and goes on; half a passphrase must not reach the shell."""
    first, second = ask(asking), ask(asking)
    second.send("echo half; a passphrase\x16\n")
    first.sendline(RIGHT)
    first.expect(r"\$ ")
    second.expect(r"\r *\r")
    second.expect(r"\$ ")
    second.sendline('echo "<$GREETING|$PWD>"; exit 2')
    second.expect_exact("<from the profile|/home/ada>\r\n")
    assert "half" not in second.before
    left(second, 2)
    first.sendline("exit 0")
    left(first, 0)


def test_eight_sessions_guess_and_one_knows(asking: Place) -> None:
    guessers = [ask(asking) for _ in range(8)]
    for guesser in guessers:
        guesser.sendline("wrong")
    owner = ask(asking)
    owner.sendline(RIGHT)
    owner.expect(r"\$ ")
    for terminal in (*guessers, owner):
        terminal.sendline("exit 0")
        left(terminal, 0)


def test_a_client_that_is_killed_leaves_nothing_behind(asking: Place) -> None:
    asking.sshd()
    terminal = asking.ssh_terminal("ada")
    terminal.expect_exact(PROMPT)
    os.kill(terminal.pid, signal.SIGKILL)
    assert eventually(lambda: asking.stubs() == [])
    assert eventually(lambda: asking.broker_log() == ["ask", "bye"])
    terminal.close(force=True)


def test_a_client_that_hangs_up_leaves_nothing_behind(asking: Place) -> None:
    terminal = ask(asking)
    terminal.close(force=True)
    assert eventually(lambda: asking.stubs() == [])


def test_settings_of_a_terminal_in_an_odd_state_are_kept(asking: Place) -> None:
    """Raw, as a crashed editor leaves it: the prompt works, and afterwards it is raw again."""
    terminal = asking.terminal(f"stty raw -echo; {WATCHED}")
    terminal.expect_exact(PROMPT)
    terminal.send("wrong\r")
    terminal.expect_exact(PROMPT)
    terminal.sendcontrol("c")
    terminal.expect("ended 130")
    terminal.expect("restored")


def test_limits_and_signals_reach_the_shell_as_they_were(asking: Place) -> None:
    facts = "grep core /proc/self/limits; grep SigIgn /proc/self/status"
    terminal = asking.terminal(f"trap '' USR2; ulimit -Sc 1000; echo first; sh -c '{facts}'; echo then; {STUB} -c '{facts}'")
    terminal.expect("first\r\n")
    terminal.expect("then\r\n")
    before = terminal.before
    terminal.expect_exact(PROMPT)
    terminal.sendline(RIGHT)
    assert ended(terminal) == 0
    assert terminal.before.strip() == before.strip()


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("absent", "No such file"),
        ("rubbish", "kind 127"),
        ("escape", "not printable"),
        ("oversized", "4096 bytes"),
        ("forgetful", "hung up"),
        ("refuse", "The key file is damaged."),
    ],
)
def test_where_nothing_can_unlock_there_is_a_shell_without_the_home(place: Place, mode: str, reason: str) -> None:
    """A login that would work without encryption works; a command, which was meant for the home, does not run."""
    place.machine.path("/run").chmod(0o777)
    if mode != "absent":
        place.broker(mode)
    terminal = place.terminal(WATCHED)
    terminal.expect(r"\$ ")
    said = terminal.before
    assert reason in said
    assert "pyhome: this is a shell without /home/ada" in said
    terminal.sendline("echo $0 $PWD; exit 5")
    assert "-bash /home/ada" in left(terminal, 5)
    terminal = place.terminal(f"{STUB} -c 'echo r''an'")
    assert ended(terminal) == STATUS_LOCKED
    assert "ran" not in terminal.before


def test_a_broker_that_prompts_for_ever_is_not_obeyed(place: Place) -> None:
    place.broker("endless")
    terminal = place.terminal(STUB)
    for _ in range(3):
        terminal.expect("Again: ")
        terminal.sendline("x")
    terminal.expect("out of turn")
    terminal.expect(r"\$ ")
    terminal.sendline("exit")
    ended(terminal)


def test_a_broker_that_is_restarted_meanwhile_is_asked_again(place: Place) -> None:
    place.broker("restarted")
    terminal = place.terminal(STUB)
    terminal.expect("First: ")
    terminal.expect("Second: ")
    terminal.sendline("anything")
    terminal.expect(r"\$ ")
    terminal.sendline("echo $GREETING; exit 0")
    assert ended(terminal) == 0
    assert "from the profile" in terminal.before


def test_a_home_that_turns_out_not_to_be_encrypted_is_entered(place: Place) -> None:
    place.broker("none")
    terminal = place.terminal(STUB)
    terminal.expect(r"\$ ")
    terminal.sendline("pwd; exit 0")
    assert ended(terminal) == 0
    assert "/home/ada" in terminal.before
