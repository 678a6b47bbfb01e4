"""Machines of each distribution that many faults are planted on, one after the other.

A `Case` says what is planted, what `pyhome doctor` is to say of it, and what a person types besides the cure. `prove` plants it,
takes the cure from doctor's own output, types it, and sees that nothing is left to complain of: the machine is ready for the next.
The tables are `CASES` of `test_planted_*.py`, each with its own test:

    @matrix(CASES)
    def test_it_is_found_and_cured(planted: PlantedMachine, case: Case) -> None:
        planted.prove(case)
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from tests.doctor.harness import DoctorMachine
from tests.fscrypt.homes import CONFIG, make_image, mount_image
from tests.login.homes import crypt
from tests.pam.harness import ENVIRONMENT, Build
from tests.sshd.full import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

TREES = ("debian12", "debian13", "arch", "fedora")
KINDS = ("ecryptfs", "fscrypt")
FLO = 61003
FLO_KEY = "the recovery key of flo"  # whatever it is on this machine
#: What a distribution does not have.
DEBIAN_ONLY = ("/usr/bin/apt-get", "/usr/sbin/pam-auth-update", "/usr/sbin/add-shell", "/usr/bin/editor", "/usr/bin/chsh")
FOREIGN = {"debian": (), "arch": DEBIAN_ONLY, "fedora": DEBIAN_ONLY}
MANAGERS = {"debian": "/usr/bin/apt-get", "arch": "/usr/bin/pacman", "fedora": "/usr/bin/dnf"}
ASKED = "/mnt/asked-to-install"
EDITS = "/mnt/edits"
#: Whoever sits at an editor: replaces what the case says.
EDITOR = f"""#!/usr/bin/python3 -I
import json, pathlib, sys
text = pathlib.Path(sys.argv[1]).read_text()
for old, new in json.loads(pathlib.Path({EDITS!r}).read_text()):
    assert old in text, (old, text)
    text = text.replace(old, new)
pathlib.Path(sys.argv[1]).write_text(text)
"""
MANAGER = f'#!/bin/sh\necho "$0 $*" > {ASKED}\n'


@dataclass(frozen=True)
class Case:
    """What is planted, and what comes of it.

    `check` and `text`: the one finding, by its name and a part of "SUBJECT: TEXT". `trees`: where. `edits`: what a person replaces
    in the file that the cure opens in an editor; `answers`: what they type at its prompts. `beside`: checks that may say something
    as well, whose cures are not typed. `after`: what a person does besides, because the finding says so. `arguments`: of doctor.
    """

    plant: Callable[[PlantedMachine], object]
    check: str
    text: str
    level: str = "warn"
    trees: tuple[str, ...] = ("debian12",)
    edits: tuple[tuple[str, str], ...] = ()
    answers: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    after: Callable[[PlantedMachine], object] | None = None
    arguments: tuple[str, ...] = ()


class PlantedMachine(DoctorMachine):
    """Use as a context manager. Ada's home is of eCryptfs, flo's of fscrypt, as far as `kinds` has them; bob has none.

    All of them have recovery keys and copies, pyhomed runs, and the tools are those of the distribution.
    """

    def __init__(self, base: Path, build: Build, name: str, kinds: tuple[str, ...] = KINDS) -> None:
        super().__init__(base, build, name)
        self.kinds = kinds
        self.ready = False
        self.flos_key = ""
        self._base_directory = base

    def _furnish(self) -> None:
        if "fscrypt" in self.kinds:
            image = self._base_directory / "ext4"
            make_image(image)
            mount_image(self, image, "/home")
        super()._furnish()
        self._tools()
        if "fscrypt" in self.kinds:
            self._encrypt_flo()
        if "ecryptfs" in self.kinds:
            self.set_password("ada", PASSWORD)
            self.type("pyhome recovery new ada", PASSWORD)
        else:
            shutil.rmtree(self.path("/home/.ecryptfs/ada"))
            self.path("/home/ada").chmod(0o700)
            self.over("/proc/filesystems", "nodev\tproc\n\text4\n")
        self.ready = True

    def _tools(self) -> None:
        """The distribution's tools and no others. Its package manager only says what it was asked for: `type` does it then."""
        family = self.name.rstrip("0123456789")
        for path in FOREIGN[family]:
            self.path(path).unlink(missing_ok=True)
        editor = "/usr/bin/editor" if family == "debian" else "/usr/bin/vi"
        for path, text in ((editor, EDITOR), (MANAGERS[family], MANAGER)):
            self.path(path).unlink(missing_ok=True)
            self.path(path).write_text(text, encoding="ascii")
            self.path(path).chmod(0o755)

    def _encrypt_flo(self) -> None:
        self.add_user("flo", FLO, password=crypt(PASSWORD.encode()), encrypted=False)
        self.path("/etc/fscrypt.conf").write_text(json.dumps(CONFIG), encoding="ascii")
        self.write_stack("fscrypt", "auth required pam_unix.so nodelay\n")
        for arguments in ("setup / --quiet", "setup /home --quiet"):
            self.run(["/usr/bin/fscrypt", *arguments.split()], status=None)
        self.type("fscrypt encrypt /home/flo --source=pam_passphrase --user=flo", PASSWORD)
        said = self.type("pyhome recovery new flo", PASSWORD)
        self.flos_key = next(line.strip() for line in said.splitlines() if line.count("-") > 5)
        self.run(["/usr/bin/fscrypt", "lock", "/home/flo", "--user=flo", "--quiet"])
        self.path("/etc/pam.d/fscrypt").unlink()

    # Typing

    def type(self, command: str, *answers: str) -> str:
        """Type a line at root's shell, and answer what it asks on the terminal; what came of it."""
        words = self.enter(["/bin/sh", "-c", command], ENVIRONMENT | {"TERM": "dumb", "HOME": "/root", "LOGNAME": "root"})
        terminal = pexpect.spawn(words[0], words[1:], timeout=30, encoding="utf-8", dimensions=(50, 200))
        terminal.delaybeforesend = terminal.delayafterclose = terminal.ptyproc.delayafterclose = 0
        said = ""
        for answer in (*answers, None):
            at = terminal.expect([r"(assword|assphrase|key)[^\n]*: *$", r"\[y/N\]:? *$", pexpect.EOF])
            said += str(terminal.before) + str(terminal.after if at < 2 else "")
            if at == 2:
                break
            assert answer is not None, f"{command}: asks for more\n{said}"
            terminal.sendline(self.flos_key if answer == FLO_KEY else answer)
        terminal.close()
        assert terminal.exitstatus == 0, f"{command}: {terminal.exitstatus}\n{said}"
        asked = self.path(ASKED)
        if asked.exists():
            if "pyhome" in asked.read_text(encoding="ascii"):
                self.install(self.path("/"))
            asked.unlink()
        return said

    # Proving

    def prove(self, case: Case) -> None:
        """Planted, found once, cured as doctor says, and gone. A machine on which that has failed serves no other case."""
        self.ready = False
        self.path(EDITS).write_text(json.dumps(case.edits), encoding="utf-8")
        case.plant(self)
        found = [each for each in self.complaints(*case.arguments) if each["check"] not in case.beside]
        assert [each["check"] for each in found] == [case.check], found
        (mine,) = found
        assert mine["level"] == case.level, mine
        assert case.text in f"{mine['subject']}: {mine['text']}", mine
        self.type(mine["mend"], *case.answers)
        if case.after is not None:
            case.after(self)
        deadline = time.monotonic() + 20
        # A daemon that was started in the background takes its time.
        while (left := self.complaints()) and case.check == "module.daemon" and time.monotonic() < deadline:
            time.sleep(0.2)
        assert left == [], left
        self.ready = True


class Machines:
    """One machine at a time: the last one, as long as it is of the same kind and nothing has failed on it."""

    def __init__(self, directory: Callable[[], Path], build: Build) -> None:
        self._directory = directory
        self._build = build
        self._stack = contextlib.ExitStack()
        self._last: PlantedMachine | None = None

    def get(self, name: str) -> PlantedMachine:
        """A machine in order."""
        if self._last is None or self._last.name != name or not self._last.ready:
            self.close()
            self._last = self._stack.enter_context(PlantedMachine(self._directory(), self._build, name))
        return self._last

    def close(self) -> None:
        """End it."""
        self._last = None
        self._stack.close()


def matrix(cases: Mapping[str, Case]) -> pytest.MarkDecorator:
    """Each case on each of its trees, tree by tree."""
    chosen = [(name, key, case) for name in TREES for key, case in cases.items() if name in case.trees]
    return pytest.mark.parametrize(
        ("planted", "case"), [pytest.param(name, case, id=f"{name}-{key}") for name, key, case in chosen], indirect=["planted"]
    )


# What is planted


def edit(path: str, old: str, new: str) -> Callable[[PlantedMachine], object]:
    """Replace a part of a file."""
    return lambda machine: machine.edit(path, old, new)


def over(path: str, text: str) -> Callable[[PlantedMachine], object]:
    """Have a file of the kernel read otherwise."""
    return lambda machine: machine.over(path, text)


def remove(*paths: str) -> Callable[[PlantedMachine], object]:
    """Remove files."""
    return lambda machine: machine.run(["/bin/rm", "-r", *paths])


def mode(path: str, value: int) -> Callable[[PlantedMachine], object]:
    """Give a file another mode."""
    return lambda machine: machine.path(path).chmod(value)


def owner(path: str, uid: int) -> Callable[[PlantedMachine], object]:
    """Give a file to somebody else."""
    return lambda machine: os.chown(machine.path(path), uid, uid, follow_symlinks=False)


def add(path: str, text: str) -> Callable[[PlantedMachine], object]:
    """Append to a file."""
    return lambda machine: machine.add(path, text)


def several(*steps: Callable[[PlantedMachine], object]) -> Callable[[PlantedMachine], object]:
    """One after the other."""
    return lambda machine: [step(machine) for step in steps]
