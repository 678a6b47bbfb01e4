"""`make demo` tells a true story, in seconds, and leaves nothing behind, however and whenever it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pam.harness import REPOSITORY, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

PROGRAM = [sys.executable, "-m", "tests.demo.run"]
SENTENCES = ["Setting the stage", "Making a user", "Nobody is logged in", "Logging in as ada", "Logging in with the key"]
PLACES = ["/", "/etc", "/etc/pam.d", "/etc/passwd", "/etc/shadow", "/etc/group", "/etc/ssh", "/home", "/usr/lib/pyhome", "/var/lib"]


@pytest.fixture(scope="module", autouse=True)
def shim() -> None:
    subprocess.run(["make", "-s", "-C", str(REPOSITORY / "pam_pyhome/host")], check=True)


class Run:
    """A demonstration that has begun, and what it has on this machine."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.said = ""
        self._spaces: set[str] = set()

    def until(self, sentence: str) -> None:
        """Read until it says something."""
        assert self._process.stdout is not None
        while sentence not in self.said:
            line = self._process.stdout.readline()
            assert line, self.said
            self.said += line
        time.sleep(0.3)
        self._spaces |= {space for pid in descendants(self._process.pid) if (space := mounts_of(pid))} - {mounts_of(os.getpid())}

    def send(self, number: int) -> None:
        """As from a terminal, whose signals go to everything that runs in the foreground."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def end(self) -> int:
        """Wait for the end; its status."""
        assert self._process.stdout is not None
        with self._process.stdout as rest:
            self.said += rest.read()
        return self._process.wait(timeout=90)

    def check_nothing_is_left(self) -> None:
        """No process in a name space of its own, no disk, no mount, no file."""
        assert eventually(lambda: not self._spaces & {mounts_of(int(path.name)) for path in processes()})
        disk = f"pyhome-demo-{self._process.pid}"
        assert eventually(lambda: not any(disk in backing for backing in loop_files()))
        assert disk not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        assert [path.name for path in (REPOSITORY / "build/demo").rglob("*")] in ([], ["machine"])
        assert not Path("/run/pyhome").exists() or not list(Path("/run/pyhome").glob("*/open"))


def processes() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdigit())


def mounts_of(pid: int) -> str:
    """The mount name space of a process; empty if that is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split())
    return found


def loop_files() -> list[str]:
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            found.append(path.read_text(encoding="utf-8"))
    return found


def fingerprint() -> list[object]:
    """What of this machine a demonstration could change by mistake."""
    found: list[object] = []
    for name in PLACES:
        path = Path(name)
        found.append((name, path.stat().st_mtime_ns, path.stat().st_ino) if path.exists() else name)
    return found


def test_the_story() -> None:
    before = fingerprint()
    run = Run(PROGRAM)
    run.until("Making a user")
    assert any(f"pyhome-demo-{run._process.pid}" in backing for backing in loop_files())
    assert run.end() == 0, run.said
    for sentence in (*SENTENCES, "Done: the home was open while ada was logged in", "nothing of it is left"):
        assert sentence in run.said, run.said
    assert re.search(r"^ {10}([0-9a-z]{5}-){7}[0-9a-z]{5}$", run.said, re.MULTILINE)
    locked, after, again = re.findall(r"# ls -A /home/ada\n((?: {6}\S+\n)+)", run.said)
    for listing in (locked, after, again):
        assert all(len(name) > 40 for name in listing.split()), listing
    assert len(after.split()) == len(locked.split()) + 1
    assert sorted(again.split()) == sorted(after.split())
    assert "# grep -a 'analytical engine' DISK\n      (not found)" in run.said
    assert run.said.count("      Meet me at the analytical engine at nine.") == 2
    assert "/home/ada is locked.\n      Password:" in run.said
    assert run.said.count("ada is locked") == 1
    run.check_nothing_is_left()
    assert fingerprint() == before


@pytest.mark.parametrize(
    ("sentence", "number", "status"),
    [
        ("Setting the stage", signal.SIGINT, 130),
        ("Making a user", signal.SIGTERM, 143),
        ("Nobody is logged in", signal.SIGINT, 130),
        ("Logging in as ada", signal.SIGTERM, 143),
        ("Logging in as ada", signal.SIGKILL, -9),
        ("Logging in with the key", signal.SIGINT, 130),
    ],
)
def test_ended_in_the_middle(sentence: str, number: int, status: int) -> None:
    run = Run(PROGRAM)
    run.until(sentence)
    run.send(number)
    assert run.end() == status, run.said
    assert "Traceback" not in run.said, run.said
    run.check_nothing_is_left()


@pytest.mark.parametrize("step", [2, 5])
def test_failing_in_the_middle(step: int) -> None:
    run = Run([sys.executable, "-c", FAILING.format(step=step)])
    run.until("Setting the stage")
    assert run.end() == 1
    assert "out of breath" in run.said
    run.check_nothing_is_left()


WITHOUT = """
import sys
from tests.demo.narrator import Narrator
from tests.demo.run import main
from tests.demo.stage import Stage

sys.exit(main(Narrator(), Stage("^encrypt")))
"""

FAILING = """
import sys
from tests.demo.narrator import Narrator
from tests.demo.run import main
from tests.demo.stage import Stage

class Breathless(Narrator):
    steps = 0

    def tell(self, sentence):
        self.steps += 1
        if self.steps == {step}:
            raise RuntimeError("out of breath")
        super().tell(sentence)

sys.exit(main(Breathless(), Stage()))
"""


def test_without_encryption() -> None:
    run = Run([sys.executable, "-c", WITHOUT])
    assert run.end() == 1
    assert "This kernel cannot show it (" in run.said
    assert "; 'make demo-vm' shows an eCryptfs home in a virtual machine instead." in run.said
    assert "Traceback" not in run.said
    run.check_nothing_is_left()
