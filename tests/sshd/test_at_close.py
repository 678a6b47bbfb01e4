"""Users' own edits reach the layout at the end of the last session; whatever goes wrong with that, the home is locked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.pam.harness import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sshd.full import FullMachine

SYNC = "/usr/lib/pyhome/pyhome-sync"
SECONDS = 5


def edited(machine: FullMachine) -> bytes:
    """A layout with ada's key, and a home on record as open to which ssh-copy-id has just added another; its line."""
    machine.authorize("ada", machine.line)
    machine.pyhome("apply", "--yes")
    _, line = machine.new_key("copied")
    machine.authorize("ada", machine.line + line)
    machine.record_home()
    return line


def close(machine: FullMachine) -> float:
    """A session begins and ends; how many seconds that took. The home is locked then."""
    began = time.monotonic()
    machine.pam("login", "ada", "open", "close")
    assert not machine.is_open()
    return time.monotonic() - began


def test_the_end_of_each_session(full: FullMachine) -> None:
    """Without pyhomed. A session that goes on, as a thief's may, puts nothing off."""
    line = edited(full)
    lasting = full.start("login", "ada", "open", "wait", "close")
    assert lasting.line() == "open 0"
    full.pam("login", "ada", "open", "close")
    assert full.is_open()
    assert (full.laid_out("ada") or b"").endswith(full.line + line)
    _, another = full.new_key("another")
    full.authorize("ada", full.line + another)
    lasting.go_on()
    lasting.finish()
    assert not full.is_open()
    assert (full.laid_out("ada") or b"").endswith(another)
    carried = full.records("keys-carried")
    assert all({"USER": "ada", "PYHOME_WHY": "/etc/ssh/authorized_keys.d/ada"}.items() <= each.items() for each in carried)
    assert len(carried) == len(("the first session", "the second"))


def test_a_session_that_is_killed(full: FullMachine) -> None:
    """Then pyhomed locks the home."""
    line = edited(full)
    session = full.start("login", "ada", "open", "pid", "wait")
    assert session.line() == "open 0"
    pid = int(session.line().split()[1])
    with full.daemon():
        session.kill(pid)
        assert eventually(lambda: not full.is_open(), 20)
    assert line in (full.laid_out("ada") or b""), full.log()


def test_while_a_session_lasts(full: FullMachine) -> None:
    """Nobody waits for its end, which somebody else may put off."""
    line = edited(full)
    lasting = full.start("login", "ada", "open", "wait", "close")
    assert lasting.line() == "open 0"
    with full.daemon():
        assert eventually(lambda: line in (full.laid_out("ada") or b""), 20), full.log()
        _, another = full.new_key("another")
        full.authorize("ada", full.line + another)
        assert eventually(lambda: another in (full.laid_out("ada") or b""), 20), full.log()
        assert full.is_open()
        lasting.go_on()
        lasting.finish()
        assert eventually(lambda: not full.is_open(), 20), full.log()


@pytest.mark.parametrize("setting", ["sshd_sync = no", "sshd_sync_off = bob, ada", "no layout"])
def test_where_it_is_not_wanted_nothing_happens_and_nothing_is_said(full: FullMachine, setting: str) -> None:
    line = edited(full)
    if setting == "no layout":
        full.pyhome("revert", "--yes")
    else:
        full.configure(f"{setting}\n")
    before = full.etc()
    close(full)
    assert full.etc() == before
    assert line not in (full.laid_out("ada") or b"")
    assert "pyhome-sync" not in full.log()


def hangs(machine: FullMachine) -> None:
    machine.path(SYNC).write_text("#!/bin/sh\nexec sleep 600\n", encoding="ascii")


def stops_at_the_lock(machine: FullMachine) -> None:
    """As while another pyhome lays out a hundred thousand users."""
    machine.run(["/bin/sh", "-c", "flock /var/lib/pyhome/sshd/lock sleep 60 >/dev/null 2>&1 & sleep 0.5"])


def is_missing(machine: FullMachine) -> None:
    machine.path(SYNC).unlink()


def dies(machine: FullMachine) -> None:
    machine.path(SYNC).write_text("#!/bin/sh\nkill -SEGV $$\n", encoding="ascii")


def cannot_write(machine: FullMachine) -> None:
    machine.run(["/bin/mount", "-t", "tmpfs", "-o", "ro", "none", "/etc/ssh/authorized_keys.d"])


@pytest.mark.parametrize("spoil", [hangs, stops_at_the_lock, is_missing, dies, cannot_write])
def test_what_goes_wrong_does_not_keep_the_home_open(full: FullMachine, spoil: object) -> None:
    edited(full)
    assert callable(spoil)
    spoil(full)
    assert close(full) < SECONDS + 5
    if spoil in (hangs, stops_at_the_lock):
        assert f"was ended after {SECONDS} s; " in full.log()
    if spoil is is_missing:
        assert f"{SYNC}: No such file or directory" in full.log()
    if spoil is cannot_write:
        assert "not all SSH keys were carried to sshd: " in full.log()


def as_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/shadow")


def as_bad_line(file: Path) -> None:
    file.write_bytes(b"ssh-ed25519 \x1b[2Jnonsense\nforged: pyhomed: all is well\n")


@pytest.mark.parametrize("spoil", [as_link, as_bad_line])
def test_what_the_user_wrote_is_believed_no_more_than_elsewhere(full: FullMachine, spoil: object) -> None:
    edited(full)
    before = full.laid_out("ada")
    assert callable(spoil)
    spoil(full.path("/home/ada/.ssh/authorized_keys"))
    close(full)
    assert full.laid_out("ada") == before
    said = [line for line in full.log().splitlines() if "pyhome-sync" in line]
    assert said
    assert all("user ada: not all SSH keys were carried to sshd: /home/ada/.ssh/authorized_keys" in line for line in said)
    for each in full.records("keys-not-carried"):
        assert each["USER"] == "ada"
        assert each["PYHOME_WHY"].startswith("/home/ada/.ssh/authorized_keys:")
