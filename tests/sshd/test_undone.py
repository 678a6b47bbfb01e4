"""Whatever interrupts it: sshd's configuration parses, no key is lost, the next run repairs, and `revert` leaves no trace."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from tests.pam.harness import ENVIRONMENT, REPOSITORY
from tests.sshd.harness import DROP_IN, LAYOUT, PYHOME, STATE

if TYPE_CHECKING:
    from tests.sshd.full import FullMachine
    from tests.sshd.harness import SshdMachine


def furnish(machine: SshdMachine) -> bytes:
    """A layout that somebody else has begun, with odd rights, and two users with keys; what bob's file in it says."""
    directory = machine.path(LAYOUT)
    directory.mkdir()
    directory.chmod(0o711)
    _, given = machine.new_key("given")
    (directory / "bob").write_bytes(given)
    (directory / "bob").chmod(0o640)
    os.chown(directory / "bob", 0, 61002)
    for user in ("ada", "bob"):
        machine.authorize(user, machine.line)
    return given


def test_revert_leaves_no_trace(machine: SshdMachine) -> None:
    furnish(machine)
    before = machine.etc()
    machine.pyhome("apply", "--yes")
    _, line = machine.new_key("more")
    machine.authorize("ada", line)
    machine.pyhome("sync", "ada", "--yes")
    machine.pyhome("apply", "--yes", "--unlock-at-login")
    assert machine.etc() != before
    machine.pyhome("revert", "--yes")
    assert machine.etc() == before
    assert b"0-pyhome.conf" in machine.path(STATE / "reverted").read_bytes()
    machine.pyhome("revert", "--yes")
    assert machine.etc() == before
    machine.pyhome("apply", "--yes")
    machine.pyhome("revert", "--yes")
    assert machine.etc() == before


# What the packages do before their files go, without what takes pyhome's lines out of the PAM files: they were there before.
PACKAGING = REPOSITORY / "packaging"
REMOVALS = {
    "debian": f"(sed '/pam-auth-update/,$d' {PACKAGING}/debian/pyhome.prerm; echo fi) > /root/prerm; sh -e /root/prerm remove",
    "arch": f"sed '/# Those that setup did not/,/^  fi/d' {PACKAGING}/arch/pyhome.install > /root/made; . /root/made; pre_remove",
}


@pytest.mark.parametrize("package", REMOVALS)
def test_removing_the_package_takes_it_back(full: FullMachine, package: str) -> None:
    furnish(full)
    before = full.etc()
    full.pyhome("apply", "--yes", "--unlock-at-login")
    assert full.etc() != before
    full.run(["/bin/bash", "-c", REMOVALS[package]])
    assert full.etc() == before


def killed(machine: SshdMachine, step: int, *arguments: str) -> str:
    """Run a command that is killed at a step; its output, empty if it was killed."""
    command = [PYHOME[0], "-B", "-m", "tests.sshd.killed", str(step), "sshd", *arguments]
    said = machine.run(command, environment={"PYTHONPATH": str(REPOSITORY)}, status=None)
    return said.splitlines()[-1] if "steps=" in said else ""


def steps_of(machine: SshdMachine, *arguments: str) -> int:
    return int(killed(machine, 0, *arguments).partition("=")[2])


def test_apply_killed_at_any_step(machine: SshdMachine) -> None:
    given = furnish(machine)
    before = machine.etc()
    machine.path("/run/sshd").mkdir()
    steps = steps_of(machine, "apply", "--yes")
    after = machine.etc()
    machine.pyhome("revert", "--yes")
    assert steps > 20
    for step in range(1, steps + 1):
        shutil.rmtree(machine.path(STATE.parent))
        assert killed(machine, step, "apply", "--yes") == ""
        machine.run(["/usr/sbin/sshd", "-t"])
        assert given in (machine.laid_out("bob") or b"")
        if step % 2:
            machine.pyhome("apply", "--yes")
            assert machine.etc() == after, step
        machine.pyhome("revert", "--yes")
        assert machine.etc() == before, step


def test_revert_killed_at_any_step(machine: SshdMachine) -> None:
    given = furnish(machine)
    before = machine.etc()
    machine.pyhome("apply", "--yes")
    machine.path("/run/sshd").mkdir()
    steps = steps_of(machine, "revert", "--yes")
    for step in range(1, steps + 1, 2):
        machine.pyhome("apply", "--yes")
        assert killed(machine, step, "revert", "--yes") == ""
        machine.run(["/usr/sbin/sshd", "-t"])
        assert given in (machine.laid_out("bob") or b"")
        machine.pyhome("revert", "--yes")
        assert machine.etc() == before, step


def test_a_full_disk_leaves_everything_as_it_was(machine: SshdMachine) -> None:
    furnish(machine)
    machine.run(["/bin/sh", "-c", "mkdir /mnt/x && cp -a /etc/ssh/. /mnt/x"])
    machine.run(["/bin/mount", "-t", "tmpfs", "-o", "size=1m,mode=0755", "small", "/etc/ssh"])
    machine.run(["/bin/sh", "-c", "cp -a /mnt/x/. /etc/ssh; rm /etc/ssh/moduli"])
    machine.authorize("ada", machine.line * 20_000)
    before = machine.etc()
    assert "No space left" in machine.pyhome("apply", "--yes", status=1)
    assert machine.etc() == before


def test_plan_changes_nothing_and_is_a_diff(machine: SshdMachine) -> None:
    given = furnish(machine)
    before = machine.etc()
    said = machine.pyhome("plan")
    assert machine.etc() == before
    assert not machine.path(STATE).exists()
    lines = said.splitlines()
    assert f"+++ {LAYOUT}/ada" in lines
    assert f" {given.decode().rstrip()}" in lines
    assert f"+{machine.line.decode().rstrip()}" in lines
    assert f"{LAYOUT}: directory 0:0 0711 -> directory 0:0 0755" in lines
    assert f"{LAYOUT}/bob: file 0:61002 0640 -> file 0:0 0644" in lines
    described = machine.pyhome_json("plan")
    assert [change["path"] for change in described["changes"]] == [*map(str, (LAYOUT, LAYOUT / "ada", LAYOUT / "bob", DROP_IN))]


def test_the_diff_is_one_that_patch_takes(machine: SshdMachine) -> None:
    furnish(machine)
    machine.pyhome("apply", "--yes")
    machine.authorize("ada", b"# other\n" + machine.line + machine.line)
    said = machine.pyhome_ran("plan").stdout
    copy = machine.path("/root/copy")
    copy.write_bytes(machine.laid_out("ada") or b"")
    machine.path("/root/diff").write_bytes(said)
    machine.run(["/usr/bin/patch", "/root/copy", "/root/diff"])
    machine.pyhome("apply", "--yes")
    assert copy.read_bytes() == machine.laid_out("ada")


@pytest.mark.parametrize("verb", [("apply",), ("revert",), ("sync", "ada")])
def test_without_a_terminal_it_does_not_go_on_unasked(machine: SshdMachine, verb: tuple[str, ...]) -> None:
    furnish(machine)
    if verb != ("apply",):
        machine.pyhome("apply", "--yes")
        machine.authorize("ada", b"")
    before = machine.etc()
    assert "--yes" in machine.pyhome(*verb, status=2)
    assert machine.etc() == before


@pytest.mark.parametrize(("answer", "changed"), [("y", True), ("n", False), ("", False), ("\x03", False), ("\x04", False)])
def test_on_a_terminal_it_shows_and_asks(machine: SshdMachine, answer: str, changed: bool) -> None:
    furnish(machine)
    machine.authorize("ada", machine.line.rstrip(b"\n") + b" \x1b[2J\n")
    before = machine.etc()
    command = machine.enter([*PYHOME, "sshd", "apply"], ENVIRONMENT | {"PYTHONPATH": str(REPOSITORY), "TERM": "dumb"})
    terminal = pexpect.spawn(command[0], command[1:], timeout=60, encoding="utf-8")
    terminal.expect(r"Go on\? \[y/N\]: ")
    shown = str(terminal.before)
    assert f"+++ {LAYOUT}/ada" in shown
    assert "\x1b" not in shown
    terminal.send(answer if answer in {"\x03", "\x04"} else f"{answer}\r")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert (terminal.exitstatus == 0) is changed
    assert "Traceback" not in str(terminal.before)
    assert (machine.etc() != before) is changed


def test_two_at_once_do_not_get_in_each_others_way(machine: SshdMachine) -> None:
    furnish(machine)
    machine.pyhome("apply", "--yes")
    for at in range(3):
        _, line = machine.new_key(f"new{at}")
        for user in ("ada", "bob"):
            machine.authorize(user, line)
        script = f"""
import subprocess, sys
command = {PYHOME!r} + ["sshd", "sync", "--yes"]
running = [subprocess.Popen(command + [user], stdout=subprocess.DEVNULL) for user in ("ada", "bob", "ada", "bob")]
sys.exit(max(each.wait() for each in running))
"""
        machine.run([PYHOME[0], "-c", script], environment={"PYTHONPATH": str(REPOSITORY)})
        assert line in (machine.laid_out("ada") or b"")
        assert line in (machine.laid_out("bob") or b"")
