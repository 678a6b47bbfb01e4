"""A locked home and nobody to ask: whatever comes ends soon, says what to type, and writes nothing to the standard output."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.stub.place import ADA, STATUS_LOCKED, STUB, Place, eventually

if TYPE_CHECKING:
    from pathlib import Path

LINE = f"pyhome: /home/ada is locked; to unlock it, type: ssh -t {os.uname().nodename}\n".encode()
SOON = 5.0


@pytest.mark.parametrize("command", [["true"], ["cat"], []], ids=["command", "filter", "login"])
def test_ssh(served: Place, command: list[str]) -> None:
    began = time.monotonic()
    done = served.ssh("ada", *command, stdin=b"echo here\n")
    assert (done.status, done.out, done.err) == (STATUS_LOCKED, b"", LINE)
    assert time.monotonic() - began < SOON


def test_a_standard_input_that_stays_open_keeps_nobody(served: Place) -> None:
    command = ["ssh", "-T", *served.options(), "ada@127.0.0.1", "cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.wait(timeout=SOON) == STATUS_LOCKED
        assert process.stderr is not None
        assert process.stderr.read() == LINE


def test_copying(served: Place, tmp_path: Path) -> None:
    """None of these tools gives the far status to its caller, but all fail.

    They show the line, except those that use the sftp subsystem: sshd throws away what a subsystem says on its standard error.
    """
    (tmp_path / "file").write_bytes(b"content")
    ssh = " ".join(["ssh", *served.options()])
    here, back, there = str(tmp_path / "file"), str(tmp_path / "back"), "ada@127.0.0.1:there"
    repository = f"ssh://ada@127.0.0.1:{served.port}/home/ada/repository"
    showing = (
        ["scp", "-O", *served.options(), here, there],
        ["scp", "-O", *served.options(), there, back],
        ["rsync", "-a", "-e", ssh, here, there],
        ["rsync", "-a", "-e", ssh, there, back],
        ["git", "clone", "-q", repository, str(tmp_path / "work")],
        ["git", "ls-remote", repository],
    )
    silent = (
        ["scp", *served.options(), here, there],
        ["scp", *served.options(), there, back],
        ["sftp", *served.options(), "ada@127.0.0.1"],
        ["sftp", "-b", "/dev/null", *served.options(), "ada@127.0.0.1"],
    )
    for arguments in (*showing, *silent):
        began = time.monotonic()
        done = served.local(arguments, environment={"GIT_SSH_COMMAND": ssh})
        assert done.status not in (0, 124), arguments
        assert (LINE if arguments in showing else b"Connection closed") in done.err, arguments
        assert done.out == b"", arguments
        assert time.monotonic() - began < SOON, arguments
    assert not (tmp_path / "back").exists()
    assert sorted(path.name for path in served.machine.path("/home/ada").iterdir()) == [".Private", ".ecryptfs"]


def test_in_batch_mode(served: Place) -> None:
    done = served.ssh("ada", "true", options=["-T", "-o", "BatchMode=yes"])
    assert (done.status, done.err) == (STATUS_LOCKED, LINE)


def test_forwarding_alone_runs_no_shell_and_so_works(served: Place) -> None:
    """`ssh -N -L`: as documented, nothing is unlocked and the tunnel stands."""
    done = served.local(["ssh", "-W", f"127.0.0.1:{served.port}", *served.options(), "ada@127.0.0.1"])
    assert done.out.startswith(b"SSH-2.0-OpenSSH")
    assert b"pyhome" not in done.err


def test_the_sftp_server_inside_sshd_runs_no_shell_either(place: Place) -> None:
    """As documented: internal-sftp passes by the login shell and finds the locked home."""
    place.sshd("Subsystem sftp internal-sftp")
    done = place.local(["sftp", *place.options(), "ada@127.0.0.1"], stdin=b"pwd\nls -1a\nput /etc/hostname x\n")
    assert b"/home/ada" in done.out
    assert b"Permission denied" in done.err
    assert b"pyhome" not in done.err


def test_a_file_of_commands_for_every_login(place: Place) -> None:
    """`~/.ssh/rc`, where somebody has put one into the locked home, runs by the login shell, before the command."""
    directory = place.machine.path("/home/ada/.ssh")
    directory.mkdir()
    (directory / "rc").write_text("echo rc ran\n")
    for path in (directory, directory / "rc"):
        os.chown(path, ADA, ADA)
    place.sshd()
    done = place.ssh("ada", "true")
    assert (done.status, done.out) == (STATUS_LOCKED, b"")
    assert set(done.err.splitlines(keepends=True)) == {LINE}


def test_without_ssh_another_way_is_named(place: Place) -> None:
    done = place.local(
        place.machine.enter(["/usr/bin/setpriv", f"--reuid={ADA}", f"--regid={ADA}", "--clear-groups", STUB, "-c", "id"], {})
    )
    assert (done.status, done.out) == (STATUS_LOCKED, b"")
    assert done.err == b"pyhome: /home/ada is locked; to unlock it, log in at a terminal\n"


def test_commands_run_without_the_home_where_the_administrator_says_so(place: Place) -> None:
    place.machine.configure("locked_command = plain\n")
    place.sshd()
    done = place.ssh("ada", "echo $0 $SHELL; pwd; cat; exit 3", stdin=b"input\n")
    assert (done.status, done.out) == (3, b"bash /bin/bash\n/home/ada\ninput\n")
    assert done.err == b"pyhome: /home/ada is locked; this runs without it\n"


@pytest.mark.parametrize("mode", [0o666, 0o664])
@pytest.mark.guarantee(7)
def test_a_configuration_that_others_can_write_counts_for_nothing(place: Place, mode: int) -> None:
    place.machine.configure("locked_command = plain\n")
    place.machine.path("/etc/pyhome.conf").chmod(mode)
    place.sshd()
    assert place.ssh("ada", "true").status == STATUS_LOCKED


def test_commands_that_wait_give_up_in_time(place: Place) -> None:
    place.machine.configure("locked_command = wait:3\n")
    place.sshd()
    began = time.monotonic()
    done = place.ssh("ada", "echo ran")
    assert 3 <= time.monotonic() - began < 3 + SOON
    assert (done.status, done.out) == (STATUS_LOCKED, b"")
    waiting, line = done.err.splitlines(keepends=True)
    assert b"waiting up to 3 seconds" in waiting
    assert line == LINE


def test_commands_that_wait_end_when_nobody_waits_for_them(place: Place) -> None:
    place.machine.configure("locked_command = wait:600\n")
    place.sshd()
    assert place.local(["timeout", "3", "ssh", "-T", *place.options(), "ada@127.0.0.1", "cat"]).status == 124
    assert eventually(lambda: place.stubs() == [])


def test_a_terminal_that_does_not_control_is_left_alone(place: Place) -> None:
    """A terminal as standard input, but no /dev/tty to ask on."""
    command = f"setsid -w {STUB} -c 'echo ran'"
    terminal = place.terminal(command)
    terminal.expect("is locked; to unlock it, log in at a terminal")
    terminal.close()
