"""What a kernel or a file system may lack, what it bounds, and what we bound ourselves."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest

from pam_pyhome.kernel import fscrypt
from pam_pyhome.kernel.files import try_lock
from pam_pyhome.kernel.turns import SHARES, MemoryTurn
from tests.fscrypt.homes import OPENED, READ, FscryptMachine, make_image, mount_image
from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, crypt, first_line
from tests.pam.harness import REPOSITORY, eventually

pytestmark = pytest.mark.root


def account(machine: FscryptMachine) -> None:
    machine.add_user("ada", ADA, password=crypt(PASSWORD), encrypted=False)


def test_a_file_system_without_the_feature(bare: FscryptMachine, tmp_path: Path) -> None:
    image = tmp_path / "plain"
    make_image(image, features="^encrypt")
    bare.run(["umount", "/home"])
    mount_image(bare, image, "/home")
    account(bare)
    assert bare.inside("create", PASSWORD) == (
        "StorageError: encrypting /home/ada: the file system was made without the encrypt feature"
    )
    assert bare.inside("kind") == "none"
    assert not bare.path("/home/.fscrypt").exists()
    assert not list(bare.path("/.fscrypt/protectors").iterdir())


def test_a_file_system_that_cannot_encrypt(bare: FscryptMachine) -> None:
    bare.run(["umount", "/home"])
    bare.run(["mount", "-t", "tmpfs", "none", "/home"])
    account(bare)
    assert "this file system, or this kernel, has no encryption" in bare.inside("create", PASSWORD)


def test_a_directory_that_is_not_empty(bare: FscryptMachine) -> None:
    account(bare)
    bare.path("/home/ada/file").touch()
    assert bare.inside("create", PASSWORD) == "StorageError: encrypting /home/ada: the directory is not empty"
    assert not list(bare.path("/.fscrypt/protectors").iterdir())


def test_a_directory_that_is_encrypted_already(machine: FscryptMachine) -> None:
    before = machine.snapshot("/.fscrypt", "/home/.fscrypt")
    assert "it is encrypted already" in machine.inside("create", PASSWORD)
    assert machine.snapshot("/.fscrypt", "/home/.fscrypt") == before


def test_a_creation_that_fails_late_leaves_nothing(bare: FscryptMachine) -> None:
    """The directory is not the user's, which the kernel says only at the last step."""
    account(bare)
    os.chown(bare.path("/home/ada"), 0, 0)
    bare.path("/home/ada").chmod(0o755)
    assert bare.inside("create", PASSWORD).startswith("StorageError: encrypting /home/ada")
    for directory in ("/.fscrypt/protectors", "/home/.fscrypt/protectors", "/home/.fscrypt/policies"):
        assert not list(bare.path(directory).iterdir())
    assert bare.inside("kind") == "none"


def test_a_login_protector_with_another_password_is_not_replaced(machine: FscryptMachine) -> None:
    machine.run(["sh", "-c", "mv /home/ada /home/old; mkdir -m 700 /home/ada; chown ada:ada /home/ada"])
    before = machine.snapshot("/.fscrypt", "/home/.fscrypt")
    assert machine.inside("create", b"another").startswith("WrongPassphraseError")
    assert machine.snapshot("/.fscrypt", "/home/.fscrypt") == before
    assert machine.inside("create", PASSWORD).endswith(machine.protector().name)


# Adds keys to a keyring of its own until the kernel refuses, and waits.
EAT_QUOTA = """
import ctypes, time
add = ctypes.CDLL("libkeyutils.so.1").add_key
number = 0
while add(b"user", b"eaten %d" % number, b"x", 1, -2) > 0:
    number += 1
print("full", flush=True)
time.sleep(600)
"""


def test_a_user_who_has_used_up_the_quota_of_keys(machine: FscryptMachine) -> None:
    """The kernel counts keys by uid; root's claim on the home's key is as good, and is given back as well."""
    as_ada = ["setpriv", f"--reuid={ADA}", f"--regid={ADA}", "--clear-groups"]
    with machine.background([*as_ada, "/usr/bin/python3", "-c", EAT_QUOTA]) as eater:
        assert first_line(eater) == "full"
        for _ in range(2):
            assert machine.log_in(PASSWORD, READ) == OPENED
            assert "Unlocked: No" in machine.fscrypt("status", "/home/ada")
    # The kernel collects the keys of a process that has gone a little later.
    assert eventually(lambda: keys_of(ADA) < 100)
    assert machine.log_in(PASSWORD, READ) == OPENED


def keys_of(uid: int) -> int:
    """The number of keys that count against a user's quota (proc_key_users(5))."""
    for line in Path("/proc/key-users").read_text(encoding="ascii").splitlines():
        owner, numbers = line.split(":")
        if int(owner) == uid:
            return int(numbers.split()[2].split("/")[0])
    return 0


def test_the_kernel_and_we_agree_on_the_name_of_a_key(machine: FscryptMachine) -> None:
    fd = os.open(machine.path("/home"), os.O_RDONLY | os.O_DIRECTORY)
    try:
        name = fscrypt.add_key(fd, bytes(range(64)))
        assert fscrypt.key_status(fd, name) == fscrypt.KeyStatus(fscrypt.PRESENT, own=True)
        assert fscrypt.remove_key(fd, name) == 0
        assert fscrypt.key_status(fd, name).state == fscrypt.ABSENT
    finally:
        os.close(fd)


TAKE_TURN = """
import sys
sys.path.insert(0, sys.argv[1])
from pam_pyhome.kernel.turns import MemoryTurn
with MemoryTurn(sys.argv[2], int(sys.argv[3]), sys.argv[4], 20.0):
    print("held", flush=True)
    sys.stdin.readline()
"""


class Holder:
    """A process that takes a turn, and keeps it until `release`."""

    def __init__(self, directory: Path, shares: int, own: str) -> None:
        command = [sys.executable, "-B", "-c", TAKE_TURN, str(REPOSITORY), str(directory), str(shares), own]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._held = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=20)

    def release(self) -> None:
        """Give the turn back."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None

    def holds(self, seconds: float = 0.3) -> bool:
        """Whether it has its turn by then."""
        assert self.process.stdout is not None
        if not self._held and select.select([self.process.stdout], [], [], seconds)[0]:
            self._held = self.process.stdout.readline() == b"held\n"
        return self._held


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock."""
    with path.open("rb") as file:
        return not try_lock(file.fileno(), exclusive=True)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run" / "derive"


@pytest.mark.guarantee(20)
def test_memory_is_bounded_across_processes(place: Path) -> None:
    with Holder(place, 5, "a") as one, Holder(place, 3, "b") as two:
        assert one.holds(10)
        assert two.holds(10)
        with Holder(place, 1, "c") as three:
            assert not three.holds()
            two.release()
            assert three.holds(10)


@pytest.mark.guarantee(20)
def test_nobody_is_overtaken(place: Path) -> None:
    """One who needs much gets it, however many who need little come behind."""
    with Holder(place, 6, "a") as first:
        assert first.holds(10)
        with Holder(place, 8, "big") as big:
            assert eventually(lambda: is_locked(place / "turn"))
            with Holder(place, 1, "small") as small:
                assert not small.holds()
                first.release()
                assert big.holds(10)
                assert not small.holds()
                big.release()
                assert small.holds(10)


@pytest.mark.guarantee(20)
def test_one_user_takes_one_turn_at_a_time(place: Path) -> None:
    with Holder(place, 1, "ada") as one, Holder(place, 1, "ada") as two:
        assert sum((one.holds(), two.holds())) == 1
        (one if one.holds(0) else two).release()
        assert one.holds(10)
        assert two.holds(10)


def test_a_process_that_dies_gives_everything_back(place: Path) -> None:
    with Holder(place, SHARES, "a") as one:
        assert one.holds(10)
        one.process.kill()
        with Holder(place, SHARES, "a") as two:
            assert two.holds(10)


def test_waiting_has_an_end(place: Path) -> None:
    with Holder(place, SHARES, "a") as one:
        assert one.holds(10)
        begun = time.monotonic()
        with pytest.raises(TimeoutError), MemoryTurn(str(place), 1, "b", 0.3):
            pass
        assert 0.2 < time.monotonic() - begun < 5
    with MemoryTurn(str(place), SHARES, "b", 0.3):
        assert sorted(path.name for path in place.iterdir()) == sorted(
            ["turn", "a", "b", *(f"share.{number}" for number in range(SHARES))]
        )
