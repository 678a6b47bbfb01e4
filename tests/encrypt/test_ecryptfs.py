"""eCryptfs homes, as far as nothing has to be mounted: what is made, how the copies change places, and being killed in between."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.create.machine import PASSWORD
from tests.encrypt.machine import EncryptMachine, state
from tests.login.homes import MOUNT_PASSPHRASE, unwrap

pytestmark = pytest.mark.root

SCRIPT = str(Path(__file__).with_name("inside.py"))
Touch = Callable[[EncryptMachine], None]
NEW, BOTH = ".pyhome-converting.ada", "both the plain home and the encrypted one have been changed"


def inside(machine: EncryptMachine, *verbs: str) -> list[str]:
    """Run `inside.py` in the machine; the lines that it prints."""
    return machine.run(["/usr/bin/python3", "-I", "-B", SCRIPT, *verbs]).splitlines()


def names(machine: EncryptMachine) -> tuple[list[str], list[str]]:
    """What is in the home, and where the storage of homes is."""
    return sorted(os.listdir(machine.path("/home/ada"))), sorted(os.listdir(machine.path("/home/.ecryptfs")))


def touch_plain(machine: EncryptMachine) -> None:
    (machine.path("/home/ada") / "meanwhile").touch()


def touch_cipher(machine: EncryptMachine) -> None:
    (machine.path("/home/.ecryptfs/ada/.Private") / "meanwhile").touch()


def test_the_copies_change_places_and_back(machine: EncryptMachine) -> None:
    home = machine.add_plain()
    before = state(home)
    assert inside(machine, "prepare") == ["ok"]
    assert names(machine)[1] == [NEW]
    assert inside(machine, "swap") == ["True"]
    assert names(machine) == ([".Private", ".ecryptfs", "Access-Your-Private-Data.desktop", "README.txt"], ["ada"])
    assert unwrap(machine.wrapped(), PASSWORD) == MOUNT_PASSPHRASE
    assert (machine.path("/home/.ecryptfs/ada/.ecryptfs") / "Private.mnt").read_text(encoding="ascii") == "/home/ada\n"
    assert state(machine.place() / "home") == before
    assert "state" in machine.pyhome("inspect", "--json", "ada")
    assert inside(machine, "turn", "swap") == ["ok", "True"]
    assert state(home) == before
    assert names(machine)[1] == [NEW]
    assert "has no encrypted home" in machine.pyhome("unlock", "ada", status=40)
    assert "the encrypted copy is removed" in machine.pyhome("confirm", "--yes", "ada")
    assert machine.remains() == []
    assert names(machine)[1] == []


def test_the_disk_is_not_there(machine: EncryptMachine) -> None:
    """Nothing is removed, nor taken back, until it is there again."""
    machine.add_plain()
    assert inside(machine, "prepare", "swap") == ["ok", "True"]
    machine.keep_copies()
    machine.run(["umount", "/home"])
    for verb in ("confirm --yes", "decrypt --yes --password-file -", "encrypt --yes --resume --password-file -"):
        assert "what was converted is not there (/home is another directory now" in machine.pyhome(*verb.split(), "ada", status=74)
    assert "what was converted is not there" in machine.pyhome("status", "ada")
    machine.run(["mount", "-o", "loop", "/srv/ext4-home", "/home"])
    assert unwrap(machine.wrapped(), PASSWORD) == MOUNT_PASSPHRASE
    assert "the plain copy is removed" in machine.pyhome("confirm", "--yes", "ada")
    assert machine.remains() == []


def test_filled(machine: EncryptMachine) -> None:
    """In a process with name spaces of its own, which tells how far it is, and what goes wrong."""
    home = machine.add_plain()
    before = state(home)
    said = inside(machine, "prepare", "fill")
    assert said == ["ok", "filled, told of ['copying', 'verifying']"]
    lower = machine.path("/home/.ecryptfs/ada/.Private")
    assert os.readlink(lower / ".ecryptfs") == "/home/.ecryptfs/ada/.ecryptfs"
    for name in (".ecryptfs", ".Private"):
        (lower / name).unlink()
    os.utime(lower, ns=(10**18, 987654321))
    assert state(lower) == before
    assert "/home/.ecryptfs" not in machine.run(["cat", "/proc/mounts"])


@pytest.mark.guarantee(16)
def test_filling_fails(machine: EncryptMachine) -> None:
    machine.add_plain()
    rsync = machine.path("/usr/bin/rsync")
    rsync.unlink()
    rsync.write_text("#!/bin/sh\necho out of order >&2; exit 11\n", encoding="ascii")
    rsync.chmod(0o755)
    assert inside(machine, "prepare", "fill") == ["ok", "CopyError: rsync: out of order"]
    assert names(machine)[1] == [NEW]


def test_taken_back(machine: EncryptMachine) -> None:
    home = machine.add_plain()
    before = state(home)
    assert inside(machine, "prepare", "back") == ["ok", "ok"]
    assert state(home) == before
    assert machine.remains() == []
    assert names(machine)[1] == []


@pytest.mark.parametrize(
    ("touched", "settled"),
    [
        ([], "copying swapped=False placed=False"),
        ([touch_plain], "copying swapped=False placed=False"),
        ([touch_cipher], "swapped swapped=True placed=True"),
        ([touch_plain, touch_cipher], BOTH),
    ],
    ids=["nothing", "plain", "encrypted", "both"],
)
@pytest.mark.guarantee(16)
def test_killed_halfway(machine: EncryptMachine, touched: list[Touch], settled: str) -> None:
    """Whichever of the two was used since is the one that counts."""
    machine.add_plain()
    assert inside(machine, "prepare", "halfway") == ["ok", "ok"]
    for touch in touched:
        touch(machine)
    assert settled in inside(machine, "settle")[0]


@pytest.mark.parametrize(
    ("touched", "settled"),
    [
        ([], "swapped swapped=True placed=False"),
        ([touch_plain], "swapped swapped=True placed=False"),
        ([touch_cipher], "copying swapped=False placed=True"),
        ([touch_plain, touch_cipher], BOTH),
    ],
    ids=["nothing", "plain", "encrypted", "both"],
)
def test_killed_halfway_back(machine: EncryptMachine, touched: list[Touch], settled: str) -> None:
    """The same where a home is decrypted."""
    machine.add_plain()
    assert inside(machine, "prepare", "swap", "turn", "halfway") == ["ok", "True", "ok", "ok"]
    for touch in touched:
        touch(machine)
    assert settled in inside(machine, "settle")[0]
