"""Homes that the file system encrypts: found, and seen open or locked, without Python."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pam_pyhome.formats.fscrypt_meta import CTS_AES_256, XTS_AES_256
from pam_pyhome.kernel import fscrypt
from tests.fscrypt.conftest import image  # noqa: F401 - a fixture
from tests.fscrypt.homes import mount_image
from tests.pam.harness import IGNORED, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

ADA = 61001
KEY = bytes(range(64))
ALL = ("auth", "account", "open", "close", "chauthtok")
NOTHING = [f"auth {IGNORED}", f"account {IGNORED}", "open 0", "close 0", f"chauthtok {IGNORED}"]
AUTH, OPEN, CLOSE, PASSWORD = "1", "4", "5", "6"


@contextmanager
def directory(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


class Place:
    """The file system of the homes, with encryption; all keys are root's."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.identifier = ""

    def unlock(self) -> None:
        """Give the file system the key."""
        with directory(self._machine.path("/home")) as fd:
            self.identifier = fscrypt.add_key(fd, KEY)

    def lock(self) -> int:
        """Take it back; the kernel's flags."""
        with directory(self._machine.path("/home")) as fd:
            return fscrypt.remove_key(fd, self.identifier)

    def encrypt(self, name: str) -> None:
        """Encrypt an empty directory."""
        with directory(self._machine.path(f"/home/{name}")) as fd:
            fscrypt.set_policy(fd, self.identifier, padding=32, contents=XTS_AES_256, filenames=CTS_AES_256)

    def record(self, name: str, *, device: int | None = None) -> None:
        """The record of an open home, as the worker writes it."""
        self._machine.record_open(ADA, f"/home/{name}", device)
        path = self._machine.state(ADA) / "open"
        text = path.read_text(encoding="ascii").replace("backend=ecryptfs", "backend=fscrypt")
        path.write_text(f"{text}claim={ADA} {self.identifier} /home\n", encoding="ascii")


@pytest.fixture
def place(machine: Machine, image: Path) -> Place:  # noqa: F811 - the fixture
    """Ada's home is encrypted and locked; bob's is a directory like any other."""
    machine.run(["umount", "/home"])
    mount_image(machine, image, "/home")
    machine.path("/home/ada").mkdir(mode=0o700)
    os.chown(machine.path("/home/ada"), ADA, ADA)
    machine.add_user("bob", 61002, encrypted=False)
    place = Place(machine)
    place.unlock()
    place.encrypt("ada")
    machine.path("/home/ada/file").touch()
    place.lock()
    return place


def test_it_is_the_workers_business(machine: Machine, place: Place) -> None:
    assert machine.pam("test", "ada", *ALL) == ["auth 0", f"account {IGNORED}", "open 0", "close 0", "chauthtok 0"]
    assert machine.worker_runs() == [AUTH, OPEN, PASSWORD, PASSWORD]
    assert place.identifier


def test_a_directory_beside_it_is_nothing(machine: Machine, place: Place) -> None:
    place.unlock()
    assert machine.pam("test", "bob", *ALL) == NOTHING
    assert machine.worker_runs() == []


def test_a_home_that_its_owner_cannot_enter_is_for_the_worker_to_explain(machine: Machine, place: Place) -> None:
    assert place.identifier
    for name in ("ada", "bob"):
        os.chown(machine.path(f"/home/{name}"), 0, 0)
    assert machine.pam("test", "ada", "auth", "open") == ["auth 0", "open 0"]
    assert machine.worker_runs() == [AUTH, OPEN]
    assert machine.pam("test", "bob", *ALL) == NOTHING


def test_an_open_home_needs_no_worker(machine: Machine, place: Place) -> None:
    place.unlock()
    place.record("ada")
    assert machine.pam("test", "ada", "auth", "open") == [f"auth {IGNORED}", "open 0"]
    assert machine.worker_runs() == []
    assert machine.pam("test", "ada", "open", "close") == ["open 0", "close 0"]
    assert machine.worker_runs() == [CLOSE]


def test_a_record_of_a_home_that_somebody_else_has_locked(machine: Machine, place: Place) -> None:
    """The file system is still there, so its device says nothing; the record may name other keys, which the worker looks for."""
    place.record("ada")
    assert machine.pam("test", "ada", "auth", "open", "close") == ["auth 0", "open 0", "close 0"]
    assert machine.worker_runs() == [AUTH, OPEN, CLOSE]


def test_an_unlocked_home_that_nobody_recorded(machine: Machine, place: Place) -> None:
    """As with `fscrypt unlock`: the worker is to see to it that it is locked again."""
    place.unlock()
    assert machine.pam("test", "ada", "auth", "open") == ["auth 0", "open 0"]
    assert machine.worker_runs() == [AUTH, OPEN]


def test_a_partly_locked_home_is_the_workers_business_in_each_phase(machine: Machine, place: Place) -> None:
    place.unlock()
    place.record("ada")
    with machine.path("/home/ada/file").open("rb"):
        assert place.lock() == fscrypt.FILES_BUSY
        assert machine.pam("test", "ada", "auth", "open", "close") == ["auth 0", "open 0", "close 0"]
    assert machine.worker_runs() == [AUTH, OPEN, CLOSE]


@pytest.mark.parametrize("wrong", ["an unencrypted directory", "a file", "nothing", "another device"])
def test_a_record_that_is_not_true(machine: Machine, place: Place, wrong: str) -> None:
    place.unlock()
    machine.path("/home/plain").touch()
    name = {"an unencrypted directory": "bob", "a file": "plain", "nothing": "ada", "another device": "ada"}[wrong]
    place.record(name, device=os.makedev(7, 63) if wrong == "another device" else None)
    if wrong == "nothing":
        machine.path("/home/ada").rename(machine.path("/home/away"))
        machine.path("/home/ada").mkdir()
        os.chown(machine.path("/home/ada"), ADA, ADA)
        assert machine.pam("test", "ada", *ALL) == NOTHING
        return
    machine.pam("test", "ada", "auth", "open")
    assert machine.worker_runs() == [AUTH, OPEN]


def test_no_descriptor_is_left_behind(machine: Machine, place: Place) -> None:
    place.unlock()
    place.record("ada")
    said = machine.pam("test", "ada", "fds", "auth", "auth", "fds", "user=bob", "auth", "fds")
    counts = [line for line in said if line.startswith("fds")]
    assert len(counts) == 3
    assert len(set(counts)) == 1


def test_what_it_costs_those_who_have_none(machine: Machine, place: Place) -> None:
    """One directory opened and one question asked, and no more than once for each phase."""
    assert place.identifier
    trace = ["strace", "-f", "-qq", "-P", "/home/bob", "-e", "trace=openat,ioctl,lstat,newfstatat", "-o", "/run/trace"]
    machine.run([*trace, "/opt/test/pamapp", "test", "bob", "auth"], environment=machine.build.environment(leaks=False))
    calls = machine.path("/run/trace").read_text(encoding="ascii")
    assert calls.count("openat(") == 1, calls
    assert calls.count("ioctl(") == 1, calls
