"""`pyhome remove` of a home on a disk of its own that is not there: nothing of it is removed, and no removal is called finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.create import killed
from tests.create.machine import PASSWORD, CreateMachine
from tests.fscrypt.homes import make_image, mount_image
from tests.login.homes import crypt
from tests.pam.harness import eventually
from tests.upkeep.homes import refuses, things, traces
from tests.verbs.command import ROOT, pyhome

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("neighbour")]

DISK = "/srv/disk"
SCRIPT = str(Path(killed.__file__))
NOT_THERE = "what is being removed is not there"


@pytest.fixture
def ada_on_disk(place: CreateMachine, image: Path, ada: str) -> str:
    """A user whose home is on the disk, and has been opened."""
    if not place.path(f"{DISK}/.fscrypt").exists():
        mount_image(place, image, DISK)
        place.fscrypt("setup", DISK, "--quiet")
    place.add_user(ada, 61100 + int(ada[3:]), password=crypt(PASSWORD), encrypted=False)
    place.path(f"/home/{ada}").rmdir()
    place.run(["usermod", "--home", f"{DISK}/{ada}", ada])
    place.create(ada)
    assert place.log_in(PASSWORD, name=ada)[2] == "open 0"
    assert eventually(lambda: pyhome(place, ROOT, "lock", ada).code == 0)
    return ada


def mount(place: CreateMachine) -> None:
    place.run(["mount", "-o", "loop", "/srv/ext4-srv-disk", DISK])


def test_not_begun(place: CreateMachine, ada_on_disk: str) -> None:
    before = things(place)
    place.run(["umount", DISK])
    refuses(place, ada_on_disk, 51, "what belongs to it is on a file system that is mounted", "mount its disk; if that is gone")
    assert place.has_account(ada_on_disk)
    mount(place)
    assert things(place) == before
    assert pyhome(place, ROOT, "remove", "--yes", ada_on_disk).code == 0
    assert traces(place, ada_on_disk) == []


@pytest.mark.parametrize("old", [False, True], ids=["", "record of the first version"])
def test_begun(place: CreateMachine, ada_on_disk: str, *, old: bool) -> None:
    """Killed when the home was moved, and its keys not destroyed."""
    record = place.path(f"/var/lib/pyhome/removing/{ada_on_disk}")
    moved = place.path(f"{DISK}/.pyhome-removing.{ada_on_disk}/home")
    for step in range(12, 80):
        place.ran("/usr/bin/python3", "-I", "-B", SCRIPT, "kill", str(step), "remove", "--yes", ada_on_disk)
        if moved.exists():
            break
    if old:
        record.write_text(json.dumps({k: v for k, v in json.loads(record.read_bytes()).items() if k != "places"}) + "\n")
    kept = record.read_bytes()
    place.run(["umount", DISK])
    refuses(place, ada_on_disk, 51, NOT_THERE, DISK, "mount its disk as it was, then give this again")
    if not place.path("/srv/other").exists():
        make_image(place.path("/srv/other"))
    place.run(["mount", "-o", "loop", "/srv/other", DISK])
    place.path(f"{DISK}/{ada_on_disk}").mkdir()
    refuses(place, ada_on_disk, 51, NOT_THERE, DISK)
    place.run(["umount", DISK])
    assert record.read_bytes() == kept
    assert place.has_account(ada_on_disk)
    mount(place)
    assert pyhome(place, ROOT, "remove", "--yes", ada_on_disk).code == 0
    assert traces(place, ada_on_disk) == []
    assert not moved.parent.exists()
    assert list(place.path(f"{DISK}/.fscrypt/policies").iterdir()) == []
