"""A home that was begun on a disk which is not there when somebody goes on: nothing is taken back, and nothing called finished."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.create import killed
from tests.create.machine import PASSWORD, CreateMachine
from tests.fscrypt.homes import make_image, mount_image
from tests.login.homes import ADA, crypt

pytestmark = pytest.mark.root

DISK, HOME, STAGED = "/srv/disk", "/srv/disk/ada", "/srv/disk/.pyhome-new.ada"
RECORD = "/var/lib/pyhome/creating/ada"
SCRIPT = str(Path(killed.__file__))


@pytest.fixture
def begun(machine: CreateMachine, image: Path) -> CreateMachine:
    """Ada's home was begun, with a login protector on the other file system, when the power failed."""
    mount_image(machine, image, DISK)
    machine.fscrypt("setup", DISK, "--quiet")
    machine.add_user("ada", ADA, password=crypt(PASSWORD), encrypted=False)
    machine.run(["usermod", "--home", HOME, "ada"])
    for step in range(20, 60):
        machine.ran("/usr/bin/python3", "-I", "-B", SCRIPT, "kill", str(step), "create", "--password-file", "-", "ada")
        if machine.path(f"{DISK}/.fscrypt/policies").is_dir() and os.listdir(machine.path(f"{DISK}/.fscrypt/policies")):
            break
    assert machine.path(STAGED).is_dir()
    return machine


def refused(machine: CreateMachine) -> None:
    record = machine.path(RECORD).read_bytes()
    line = machine.refuses("ada")
    assert f"ada: the home was begun where something else is now ({DISK}" in line
    assert "mount its disk as it was, then give this again" in line
    machine.create("bob")
    assert machine.path(RECORD).read_bytes() == record, "what is ada's waits"
    machine.run(["userdel", "--remove", "bob"], status=None)


def test_not_there(begun: CreateMachine) -> None:
    begun.run(["umount", DISK])
    refused(begun)
    make_image(begun.path("/srv/other"))
    begun.run(["mount", "-o", "loop", "/srv/other", DISK])
    for path in (HOME, STAGED):
        begun.path(path).mkdir()
    refused(begun)
    begun.run(["umount", DISK])
    begun.run(["mount", "-o", "loop", "/srv/ext4-srv-disk", DISK])
    begun.create("ada")
    assert not begun.path(STAGED).exists()
    assert begun.log_in(PASSWORD, f"sh=ada:cat {HOME}/.profile")[3] == "# from the skeleton"


def test_a_record_of_the_first_version(begun: CreateMachine) -> None:
    path = begun.path(RECORD)
    head, *steps = path.read_text(encoding="ascii").splitlines()
    old = {name: value for name, value in json.loads(head).items() if name != "places"}
    path.write_text("\n".join([json.dumps(old), *steps, ""]), encoding="ascii")
    begun.run(["umount", DISK])
    assert f"({STAGED} is not there)" in begun.refuses("ada")
    begun.run(["mount", "-o", "loop", "/srv/ext4-srv-disk", DISK])
    begun.create("ada")


def test_a_home_that_is_not_seen(begun: CreateMachine) -> None:
    """Another one on the bare mount point would be hidden by it, or be taken for it."""
    begun.create("ada")
    begun.log_in(PASSWORD)
    begun.run(["umount", DISK])
    line = begun.refuses("ada")
    assert f"which is not seen now, but the good copies of its key files are (/var/lib/pyhome/{ADA}.ada); mount its disk" in line
    begun.path(f"/var/lib/pyhome/{ADA}.ada").rename(begun.path("/root/copies"))
    begun.path("/.fscrypt/protectors").joinpath(begun.protector().name).unlink()
    assert "the file system cannot encrypt" in begun.refuses("ada"), "it would be made, if it could"


def test_a_protector_that_opens_something_else_by_now(begun: CreateMachine) -> None:
    protector = begun.protector()
    other = begun.path("/home/other")
    other.mkdir()
    os.chown(other, ADA, ADA)
    said = PASSWORD.decode() + "\n"
    begun.fscrypt("encrypt", "/home/other", f"--protector=/:{protector.name}", "--user=ada", "--quiet", said=said)
    begun.create("ada")
    assert begun.protector() == protector
    begun.fscrypt("lock", "/home/other", "--user=ada", "--quiet", status=None)
    begun.fscrypt("unlock", "/home/other", f"--unlock-with=/:{protector.name}", "--user=ada", "--quiet", said=said)
