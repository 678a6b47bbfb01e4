"""The change of a password, interrupted at each of its steps: the home opens with the old password or the new one, always.

The steps are those that strace sees the real worker make, in the preliminary check and in the update; each meets mishaps.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pam_pyhome.formats import wire
from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, AUTHTOK_ERR, LoginMachine, differences
from tests.login.worker import PRELIM, UPDATE, Inside, Talk

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

NEW, LATER = b"battery staple", b"third time lucky"
CHANGES = ["write", "fsync", "ftruncate", "rename", "renameat", "unlink", "unlinkat", "mkdir", "mkdirat", "openat"]
LINE = re.compile(r"^\d+ +(\w+)\((.*)$")
FILES = ("/home/.ecryptfs/ada", "/var/lib/pyhome")
EVERY = {"killed": 1, "disk full": 3, "bad disk": 2}  # steps; each takes half a second
MISHAPS = {"killed": "signal=SIGKILL", "disk full": "error=ENOSPC", "bad disk": "error=EIO"}


def strace(*options: str) -> list[str]:
    return ["strace", "-f", "-qq", "-y", "-o", "/run/trace", *(f"--{option}" for option in options)]


class Change:
    """A password change of which one phase can be run under strace, on a home that is put back before each."""

    def __init__(self, machine: LoginMachine, phase: str) -> None:
        self._machine = machine
        self._phase = phase
        self._original = machine.wrapped().read_bytes()

    def _put_back(self) -> None:
        config = self._machine.config("ada")
        for path in config.glob("*pyhome*"):
            path.unlink()
        self._machine.wrapped().write_bytes(self._original)
        shutil.rmtree(self._machine.kept().parent, ignore_errors=True)

    def run(self, *under: str) -> int | None:
        """The code of the phase under test, which comes after a clean preliminary check if it is the update."""
        self._put_back()
        talk = Talk(self._machine, oldauthtok=PASSWORD, authtok=NEW)
        if self._phase == "check":
            return talk.phase(wire.PHASE_CHAUTHTOK, PRELIM, under=under)
        assert talk.phase(wire.PHASE_CHAUTHTOK, PRELIM) == 0
        return talk.phase(wire.PHASE_CHAUTHTOK, UPDATE, under=under)

    def steps(self) -> list[tuple[str, int]]:
        """System call and ordinal of each step that changes a file."""
        assert self.run(*strace(f"trace={','.join(CHANGES)}")) == 0
        counts: dict[str, int] = {}
        found = []
        for line in self._machine.path("/run/trace").read_text(encoding="utf-8", errors="replace").splitlines():
            match = LINE.match(line)
            if match is None:
                continue
            call, rest = match.groups()
            counts[call] = counts.get(call, 0) + 1
            if any(name in rest for name in FILES) and (call != "openat" or "O_CREAT" in rest):
                found.append((call, counts[call]))
        return found


@pytest.fixture
def inside(machine: LoginMachine) -> Iterator[Inside]:
    with Inside(machine) as inside:
        yield inside


def leftovers(machine: LoginMachine) -> list[Path]:
    """Files that were never put in place."""
    return [path for directory in (machine.config("ada"), machine.kept()) for path in directory.glob("*pyhome*")]


def assert_openable(machine: LoginMachine, inside: Inside, code: int | None, step: str) -> None:
    """The current key file, not a copy, opens with the old or the new password, and a later change leaves nothing behind."""
    opening = [password for password in (PASSWORD, NEW) if inside("verify", password) == "ok"]
    assert len(opening) == 1, step
    assert code != 0 or opening == [NEW], step
    status = machine.wrapped().stat()
    assert (status.st_uid, status.st_mode & 0o777) == (ADA, 0o600), step
    talk = Talk(machine, oldauthtok=opening[0], authtok=LATER)
    assert talk.phase(wire.PHASE_CHAUTHTOK, PRELIM) == 0, step
    assert talk.phase(wire.PHASE_CHAUTHTOK, UPDATE) == 0, step
    assert inside("verify", LATER) == "ok", step
    assert leftovers(machine) == [], step


@pytest.mark.parametrize("mishap", MISHAPS)
@pytest.mark.guarantee(11)
def test_the_update_survives_at_every_step(machine: LoginMachine, inside: Inside, mishap: str) -> None:
    change = Change(machine, "update")
    steps = change.steps()
    assert {"write", "ftruncate", "fsync", "renameat"} <= {call for call, _ in steps}
    for call, ordinal in steps[:: EVERY[mishap]]:
        step = f"{mishap} at {call} {ordinal}"
        code = change.run(*strace(f"inject={call}:{MISHAPS[mishap]}:when={ordinal}"))
        assert (code is None) == (mishap == "killed"), step
        assert_openable(machine, inside, code, step)


@pytest.mark.parametrize("mishap", MISHAPS)
@pytest.mark.guarantee(11)
def test_nothing_has_changed_when_the_check_ends_at_any_step(machine: LoginMachine, inside: Inside, mishap: str) -> None:
    change = Change(machine, "check")
    steps = change.steps()
    assert {"mkdir", "openat", "write", "ftruncate", "fsync", "renameat"} <= {call for call, _ in steps}
    for call, ordinal in steps[:: EVERY[mishap]]:
        step = f"{mishap} at {call} {ordinal}"
        code = change.run(*strace(f"inject={call}:{MISHAPS[mishap]}:when={ordinal}"))
        assert inside("verify", PASSWORD) == "ok", step
        if mishap == "killed":
            assert code is None, step
            assert_openable(machine, inside, code, step)
        else:
            assert code == AUTHTOK_ERR, step
            assert leftovers(machine) == [], step


def a_file_system(machine: LoginMachine, kind: str, image: Path) -> None:
    """Have ada's key files on a small file system."""
    if kind == "tmpfs":
        options = ["-t", "tmpfs", "-o", "size=256k", "tmpfs"]
    else:
        inodes = ["-N", "64"] if kind == "ext4 without inodes" else []
        image.write_bytes(bytes(2 << 20))
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-m", "0", *inodes, str(image)], check=True)
        loop = subprocess.run(["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True)
        device = loop.stdout.strip()
        os.mknod(machine.path(device), stat.S_IFBLK | 0o600, Path(device).stat().st_rdev)
        options = ["-t", "ext4", device]
    machine.run(["cp", "-a", "/home/.ecryptfs/ada", "/run/ada"])
    machine.run(["mount", *options, "/home/.ecryptfs"])
    machine.run(["cp", "-a", "/run/ada", "/home/.ecryptfs"])
    if kind != "tmpfs":
        subprocess.run(["losetup", "--detach", device], check=True)  # takes effect when the machine ends


def fill(machine: LoginMachine, kind: str) -> None:
    """Take all the room there is."""
    directory = machine.path("/home/.ecryptfs/fill")
    directory.mkdir(exist_ok=True)
    with contextlib.suppress(OSError):
        for number in range(1000):
            with (directory / str(number)).open("wb", buffering=0) as file:
                while kind != "ext4 without inodes" and file.write(bytes(512)) == 512:
                    pass


KINDS = ["tmpfs", "ext4", "ext4 without inodes"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.guarantee(10)
def test_a_full_disk_stops_the_change_before_it_begins(machine: LoginMachine, inside: Inside, tmp_path: Path, kind: str) -> None:
    a_file_system(machine, kind, tmp_path / "image")
    fill(machine, kind)
    before = machine.snapshot("/etc", "/home")
    talk = Talk(machine, oldauthtok=PASSWORD, authtok=NEW)
    assert talk.phase(wire.PHASE_CHAUTHTOK, PRELIM) == AUTHTOK_ERR
    assert any("cannot be written, so nothing was changed" in line for line in talk.said)
    assert differences(before, machine.snapshot("/etc", "/home")) == []
    shutil.rmtree(machine.path("/home/.ecryptfs/fill"))
    assert_openable(machine, inside, None, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.guarantee(10)
def test_a_disk_that_fills_up_after_the_check_does_no_harm(
    machine: LoginMachine, inside: Inside, tmp_path: Path, kind: str
) -> None:
    """The room was taken before pam_unix changed anything."""
    a_file_system(machine, kind, tmp_path / "image")
    talk = Talk(machine, oldauthtok=PASSWORD, authtok=NEW)
    assert talk.phase(wire.PHASE_CHAUTHTOK, PRELIM) == 0
    fill(machine, kind)
    assert talk.phase(wire.PHASE_CHAUTHTOK, UPDATE) == 0
    assert inside("verify", NEW) == "ok"


@pytest.mark.parametrize("where", ["/home/.ecryptfs", "/var/lib"])
def test_a_file_system_that_became_read_only(machine: LoginMachine, where: str) -> None:
    """The update fails, says so, and leaves the old file; where only the copies cannot be kept, the change does not begin."""
    machine.run(["mount", "--bind", where, where])
    talk = Talk(machine, oldauthtok=PASSWORD, authtok=NEW)
    if where == "/home/.ecryptfs":
        assert talk.phase(wire.PHASE_CHAUTHTOK, PRELIM) == 0
    machine.run(["mount", "-o", "remount,bind,ro", where])
    flags = UPDATE if where == "/home/.ecryptfs" else PRELIM
    assert talk.phase(wire.PHASE_CHAUTHTOK, flags) == AUTHTOK_ERR
    assert any("still has the old one" in line or "cannot be written" in line for line in talk.said)
    assert machine.opens(PASSWORD)
