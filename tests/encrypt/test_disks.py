"""Homes on a disk of their own, which is not there when somebody goes on: nothing happens, and when it is back all goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.create.machine import PASSWORD
from tests.encrypt.machine import EncryptMachine
from tests.fscrypt.homes import make_image, mount_image
from tests.login.homes import ADA, crypt

pytestmark = pytest.mark.root

DISK, HOME, PLACE = "/srv/disk", "/srv/disk/ada", "/srv/disk/.pyhome-converting.ada"
RECORD = "/var/lib/pyhome/converting/ada"
NOT_THERE = "what was converted is not there"


@pytest.fixture
def disk(machine: EncryptMachine, image: Path) -> EncryptMachine:
    """Ada, whose plain home is on a disk of its own."""
    mount_image(machine, image, DISK)
    machine.fscrypt("setup", DISK, "--quiet")
    machine.add_user("ada", ADA, password=crypt(PASSWORD), encrypted=False)
    machine.run(["usermod", "--home", HOME, "ada"])
    home = machine.path(HOME)
    home.mkdir(mode=0o700)
    (home / "file").write_text("some text\n", encoding="ascii")
    for path in (home, home / "file"):
        os.chown(path, ADA, ADA)
    return machine


def mount(machine: EncryptMachine) -> None:
    machine.run(["mount", "-o", "loop", "/srv/ext4-srv-disk", DISK])


def unmounted(_machine: EncryptMachine, _image: Path) -> None:
    """The bare mount point."""


def another_disk(machine: EncryptMachine, image: Path) -> None:
    """With directories of the same names, as the copy of a disk has."""
    other = machine.path("/srv/other")
    make_image(other)
    machine.run(["mount", "-o", "loop", "/srv/other", DISK])
    for path in (HOME, f"{PLACE}/home"):
        machine.path(path).mkdir(parents=True)
        os.chown(machine.path(path), ADA, ADA)


def refused(machine: EncryptMachine, *verbs: str) -> None:
    """Every verb says that the home is not there, and changes nothing."""
    metadata, record = machine.metadata(), machine.path(RECORD).read_bytes()
    for verb in verbs:
        line = machine.pyhome(*verb.split(), "ada", status=74)
        assert NOT_THERE in line, line
        assert DISK in line, line
        assert "mount its disk as it was, then give this again" in line, line
    assert NOT_THERE in machine.pyhome("status", "ada")
    said = json.loads(machine.ran("/usr/bin/pyhome", "status", "--json", "ada").stdout)["conversions"][0]
    assert (said["finished"], DISK in said["trouble"]) == (None, True)
    assert (machine.metadata(), machine.path(RECORD).read_bytes()) == (metadata, record)


VERBS = ("confirm --yes", "decrypt --yes --password-file -", "encrypt --yes --resume --password-file -")


@pytest.mark.parametrize("instead", [unmounted, another_disk])
def test_not_confirmed(disk: EncryptMachine, image: Path, instead: Callable[[EncryptMachine, Path], None]) -> None:
    disk.convert("encrypt", "ada")
    disk.run(["umount", DISK])
    instead(disk, image)
    refused(disk, *VERBS, "decrypt --yes --resume --password-file -")
    if instead is not unmounted:
        disk.run(["umount", DISK])
    mount(disk)
    assert disk.log_in(PASSWORD, f"sh=ada:cat {HOME}/file") == ["auth 0", "setcred 0", "open 0", "some text", "sh 0", "close 0"]
    disk.pyhome("lock", "ada")
    # Back again, with the disk gone in between once more.
    disk.convert("decrypt", "ada")
    disk.run(["umount", DISK])
    refused(disk, "confirm --yes", "decrypt --yes --resume --password-file -")
    mount(disk)
    disk.pyhome("confirm", "--yes", "ada")
    assert disk.path(f"{HOME}/file").read_text(encoding="ascii") == "some text\n"
    assert not disk.path(PLACE).exists()
    assert disk.metadata()["/.fscrypt/protectors"] == []


def begun(machine: EncryptMachine) -> None:
    """`encrypt` fails while it copies."""
    rsync = machine.path("/usr/bin/rsync")
    kept = rsync.read_bytes()
    rsync.unlink()
    rsync.write_text("#!/bin/sh\nexit 11\n", encoding="ascii")
    rsync.chmod(0o755)
    machine.convert("encrypt", "ada", status=72)
    rsync.write_bytes(kept)


def test_not_finished(disk: EncryptMachine, image: Path) -> None:
    begun(disk)
    disk.run(["umount", DISK])
    refused(disk, *VERBS)
    mount(disk)
    assert "is taken back; the home is as it was\n" in disk.convert("decrypt", "ada")
    assert disk.metadata()["/.fscrypt/protectors"] == []
    disk.convert("encrypt", "ada")


def test_what_opens_something_else_stays(disk: EncryptMachine) -> None:
    """The login protector, which another directory came to use meanwhile; and one that cannot be seen to open nothing."""
    begun(disk)
    protector = disk.protector()
    other = disk.path("/home/other")
    other.mkdir()
    os.chown(other, ADA, ADA)
    said = PASSWORD.decode() + "\n"
    disk.fscrypt("encrypt", "/home/other", f"--protector=/:{protector.name}", "--user=ada", "--quiet", said=said)
    assert f"{protector.name} in .fscrypt may open something else and stays" in disk.convert("decrypt", "ada")
    assert protector.exists()
    assert not disk.path(PLACE).exists()
    begun(disk)
    disk.policy().write_bytes(b"damaged")
    disk.convert("decrypt", "ada")
    assert protector.exists()


def test_mounted_over(disk: EncryptMachine) -> None:
    disk.convert("encrypt", "ada")
    disk.run(["mount", "-t", "tmpfs", "none", HOME])
    line = disk.pyhome("confirm", "--yes", "ada", status=74)
    assert f"{NOT_THERE} (none (tmpfs) is mounted on {HOME})" in line
    disk.run(["umount", HOME])


def test_what_is_mounted_in_the_copy_stays(disk: EncryptMachine) -> None:
    """As where root has had a look at the copy, with other things mounted in it."""
    home = disk.path(HOME)
    (home / "mnt").mkdir()
    os.chown(home / "mnt", ADA, ADA)
    disk.convert("encrypt", "ada")
    disk.log_in(PASSWORD)
    disk.pyhome("lock", "ada")
    data = disk.path("/srv/data")
    data.mkdir()
    (data / "letter").touch()
    disk.run(["mount", "--bind", "/srv/data", f"{PLACE}/home/mnt"])
    assert "mnt: Device or resource busy" in disk.pyhome("confirm", "--yes", "ada", status=1)
    assert (data / "letter").exists()
    disk.run(["umount", f"{PLACE}/home/mnt"])
    disk.pyhome("confirm", "--yes", "ada")
    assert not disk.path(PLACE).exists()


def test_restored_from_a_backup(disk: EncryptMachine) -> None:
    """Another directory of the same name is none of the two; whoever decides so ends it by hand, as is said."""
    disk.convert("encrypt", "ada")
    home = disk.path(HOME)
    home.rename(home.with_name("away"))
    shutil.copytree(disk.path(f"{PLACE}/home"), home)
    for path in (home, home / "file"):
        os.chown(path, ADA, ADA)
    for verb in VERBS:
        line = disk.pyhome(*verb.split(), "ada", status=74)
        assert f"the home is none of the two that were converted ({HOME}); put that one back" in line
        assert f"'rm {RECORD}'" in line
    assert disk.path(f"{PLACE}/home/file").exists()
    disk.run(["rm", RECORD])
    assert "converted" not in disk.pyhome("status", "ada", status=None)
    line = disk.convert("encrypt", "ada", status=74)
    assert f"there is a copy of a home that is on no record ({PLACE}); look at what is in it, and move it away" in line
    assert disk.path(f"{PLACE}/home/file").exists()


def old_record(machine: EncryptMachine) -> None:
    """As version 0.1.0 wrote it."""
    path = machine.path(RECORD)
    record = json.loads(path.read_text(encoding="ascii"))
    for field in ("places", "old", "new"):
        del record[field]
    path.write_text(json.dumps(record) + "\n", encoding="ascii")


def test_records_of_the_first_version(disk: EncryptMachine) -> None:
    begun(disk)
    old_record(disk)
    disk.run(["umount", DISK])
    refused(disk, *VERBS)
    machine_home = disk.path(HOME)
    machine_home.mkdir()
    line = disk.convert("decrypt", "ada", status=74)
    assert "an earlier version has begun it, and which of the two homes is in its place cannot be told" in line
    machine_home.rmdir()
    mount(disk)
    disk.convert("encrypt", "--resume", "ada")
    old_record(disk)
    disk.log_in(PASSWORD)
    disk.pyhome("lock", "ada")
    disk.run(["umount", DISK])
    refused(disk, *VERBS)
    mount(disk)
    disk.convert("decrypt", "ada")
    old_record(disk)
    disk.pyhome("confirm", "--yes", "ada")
    assert disk.path(f"{HOME}/file").exists()
    assert not disk.path(PLACE).exists()
