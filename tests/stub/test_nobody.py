"""A terminal, and nobody at it: ssh -tt, mosh, scripts; or root, who has no password to type. Nothing hangs."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from pam_pyhome.shell_stub.terminal import SILENCE_SECONDS
from tests.pam.harness import ENVIRONMENT
from tests.stub.place import BASH, RIGHT, STATUS_LOCKED, STUB, Done, Place, ended, eventually, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator

PROMPT = "Passphrase of ada's home: "
SHORT = 4
SLACK = 6.0
NOTHING_TYPED = f"pyhome: nothing was typed for {SHORT} seconds, so /home/ada stays locked; to unlock it, type: "


@pytest.fixture
def quick(place: Place) -> Iterator[Place]:
    """With a broker, and with as much patience as a test has."""
    assert SILENCE_SECONDS + SLACK < 60
    code = place.machine.path("/usr/lib/pyhome/pam_pyhome/shell_stub/terminal.py")
    text = code.read_text(encoding="utf-8")
    line = f"SILENCE_SECONDS = {SILENCE_SECONDS}\n"
    assert line in text
    code.write_text(text.replace(line, f"SILENCE_SECONDS = {SHORT}\n"), encoding="utf-8")
    place.machine.path("/run").chmod(0o777)
    yield place
    assert eventually(lambda: place.stubs() == []), "a login shell was left behind"


def timed(place: Place, *command: str, stdin: bytes = b"") -> tuple[Done, float]:
    began = time.monotonic()
    return place.ssh("ada", *command, options=("-tt",), stdin=stdin), time.monotonic() - began


def test_commands_and_logins_on_a_terminal_without_a_person(quick: Place) -> None:
    """`ssh -n -tt`, as mosh starts its server; a script that is fed to a login; a broker that is silent."""
    quick.broker()
    quick.sshd()
    began = time.monotonic()
    mosh = quick.ssh("ada", "mosh-server", "new", "-s", "-c", "256", options=("-n", "-tt"))
    assert SHORT <= time.monotonic() - began < SHORT + SLACK
    assert mosh.status == STATUS_LOCKED
    assert f"{NOTHING_TYPED}ssh -t {os.uname().nodename}\r\n".encode() in mosh.out
    fed, seconds = timed(quick, "make", stdin=b"cd src\nmake\n")
    assert (fed.status, seconds < SHORT + 2 * SLACK) == (STATUS_LOCKED, True)
    login = quick.ssh_terminal("ada")
    login.expect_exact(f"{NOTHING_TYPED}pyhome unlock\r\n")
    login.expect_exact("pyhome: this is a shell without /home/ada\r\n")
    login.sendline("echo $0 $PWD; exit 5")
    assert ended(login) == 5
    assert "-bash /home/ada" in login.before


def test_a_silent_broker_and_nobody_there(quick: Place) -> None:
    quick.broker("silent")
    began = time.monotonic()
    assert ended(quick.terminal(f"{STUB} -c true")) == STATUS_LOCKED
    assert time.monotonic() - began < SHORT + SLACK


def test_who_types_slowly_is_waited_for(quick: Place) -> None:
    """Each key gives as long again, and so does each wrong answer."""
    quick.broker()
    terminal = quick.terminal(STUB)
    terminal.expect_exact(PROMPT)
    terminal.sendline("wrong")
    terminal.expect_exact(PROMPT)
    began = time.monotonic()
    for key in ("x", "\x7f", RIGHT[:5], RIGHT[5:]):
        time.sleep(SHORT * 0.6)
        terminal.send(key)
    assert time.monotonic() - began > 2 * SHORT
    terminal.send("\n")
    terminal.expect(r"\$ ")
    terminal.sendline("echo $GREETING; exit 3")
    assert ended(terminal) == 3
    assert "from the profile" in terminal.before


def test_root_becomes_the_user(quick: Place) -> None:
    """On a terminal root is asked for nothing, and is told in one line; the user who becomes himself is asked."""
    quick.broker()
    for command in ("su - ada", "runuser -l ada"):
        terminal = as_root(quick, command)
        terminal.expect_exact("pyhome: /home/ada is locked; this is a shell without it\r\n")
        terminal.sendline("echo $0 $SHELL; exit 6")
        assert ended(terminal) == 6
        assert f"-bash {BASH}" in terminal.before
    terminal = as_root(quick, "su - ada -c 'echo r''an'")
    assert ended(terminal) == STATUS_LOCKED
    assert "is locked; to unlock it, log in at a terminal" in terminal.before
    assert "ran" not in terminal.before
    assert quick.broker_log() == []


def as_root(place: Place, command: str) -> pexpect.spawn:
    shell = ["/usr/bin/setsid", "--ctty", "/bin/sh", "-c", f"{command}; exit $?"]
    return spawn(place.machine.enter(shell, {**ENVIRONMENT, "TERM": "dumb"}))


def test_commands_of_pyhome_reach_it(place: Place) -> None:
    """On a locked home, with a terminal or without, without a question; the password may come over the standard input."""
    program = place.machine.path("/usr/bin/pyhome")
    program.unlink()
    program.write_text('#!/bin/sh\necho "$@"; cat; exit 4\n', encoding="ascii")
    program.chmod(0o755)
    place.sshd()
    done = place.ssh("ada", "pyhome unlock --password-file -", stdin=b"secret\n")
    assert (done.status, done.out, done.err) == (4, b"unlock --password-file -\nsecret\n", b"")
    terminal = place.ssh_terminal("ada", "pyhome status")
    terminal.expect_exact("status\r\n")
    terminal.sendeof()
    assert ended(terminal) == 4
    assert "is locked" not in terminal.before
    place.ssh("ada", "pyhome status; touch /tmp/ran")
    assert not place.machine.path("/tmp/ran").exists()
    place.authorize("ada", 'command="pyhome status",restrict')
    assert place.ssh("ada", "id").out == b"status\n"
    program.unlink()
    done = place.ssh("ada", "x")
    assert (done.status, done.err) == (STATUS_LOCKED, b"pyhome: /usr/bin/pyhome: No such file or directory\n")


def test_commands_of_one_user_run_without_the_home(place: Place) -> None:
    """A forced command of a backup, say: for this user alone, and not for others."""
    place.machine.configure("locked_command = wait:600\nlocked_command_users = pat:fail, ada:plain\n")
    place.authorize("ada", 'command="echo served; id -u",restrict')
    place.sshd()
    done = place.ssh("ada", "rm -r /")
    assert (done.status, done.out) == (0, b"served\n61001\n")
    assert done.err == b"pyhome: /home/ada is locked; this runs without it\n"
    place.machine.configure("locked_command = plain\nlocked_command_users = ada:fail\n")
    assert place.ssh("ada", "x").status == STATUS_LOCKED
