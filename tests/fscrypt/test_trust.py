"""`pyhome trust`: root's word that a file system is given keys, and what it is worth when another comes in its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fscrypt.homes import mount_image
from tests.fscrypt.test_others import reads, second, write_fstab
from tests.login.conftest import PASSWORD
from tests.pam.harness import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fscrypt.homes import FscryptMachine

PROGRAM = (
    f"import sys; sys.path[:0] = [{str(REPOSITORY)!r}, *{[path for path in sys.path if path]!r}]; "
    "from pam_pyhome.cli.main import main; main()"
)


def trust(machine: FscryptMachine, *arguments: str, status: int = 0) -> str:
    """Run the verb; what it prints."""
    command = machine.enter([sys.executable, "-IB", "-c", PROGRAM, "trust", *arguments], {})
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done
    return done.stdout + done.stderr


def listed(machine: FscryptMachine, where: str) -> dict[str, object]:
    """What `trust --json` says of one file system."""
    (found,) = [each for each in json.loads(trust(machine, "--json"))["file_systems"] if each["mountpoint"] == where]
    return dict(found)


@pytest.mark.guarantee(4)
def test_approved_and_taken_back(machine: FscryptMachine) -> None:
    """What the log advises works when it is typed; and what takes that back does."""
    second(machine)
    assert reads(machine, "/data/ada/file") == []
    assert "'pyhome trust /data' approves it" in machine.log()
    assert listed(machine, "/data")["trusted_by"] is None
    assert "see 'pyhome trust --help'" in trust(machine, "/data", status=2)  # nobody to ask
    assert "'pyhome trust --remove /data' takes that back" in trust(machine, "/data", "--yes")
    assert trust(machine, "/data", "--yes") == "/data was so already.\n"
    assert reads(machine, "/data/ada/file") == ["of /data/ada"]
    assert listed(machine, "/data")["trusted_by"] == "a record"
    trust(machine, "--remove", "/data", "--yes")
    assert reads(machine, "/data/ada/file") == []
    assert "it has not been approved" in trust(machine, "--remove", "/data", "--yes", status=95)
    approved, taken_back = machine.records("trust-changed")
    assert approved["PYHOME_WHY"].endswith(" at /data is given keys of everybody")
    assert taken_back["PYHOME_WHY"].endswith(" is not given keys of everybody any more")


def test_for_one_user(machine: FscryptMachine) -> None:
    second(machine)
    trust(machine, "/data", "--user", "bin", "--yes")
    assert reads(machine, "/data/ada/file") == []
    trust(machine, "/data", "--user", "ada", "--yes")
    assert reads(machine, "/data/ada/file") == ["of /data/ada"]
    assert listed(machine, "/data")["users"] == ["ada", "bin"]
    assert "nosuchuser" in trust(machine, "/data", "--user", "nosuchuser", "--yes", status=41)


@pytest.mark.guarantee(4)
def test_another_disk_with_the_uuid(machine: FscryptMachine) -> None:
    """A UUID is what an image says. The same on another disk is not what root has approved, beside it or in its place."""
    second(machine)
    trust(machine, "/data", "--yes")
    machine.run(["sh", "-c", "sync; cp /srv/ext4-data /srv/copy; mkdir /copy; mount -o loop /srv/copy /copy"])
    assert reads(machine, "/data/ada/file", "/copy/ada/file") == ["of /data/ada"]
    assert "has the same UUID" in trust(machine, "/copy", "--yes", status=95)
    machine.run(["umount", "/data"])
    assert reads(machine, "/copy/ada/file") == []
    assert "root has approved a file system with its UUID on another disk" in machine.log()
    trust(machine, "/copy", "--yes")
    assert reads(machine, "/copy/ada/file") == ["of /data/ada"]
    # A file whose path is the same, and which is another user's.
    machine.run(["chown", "ada", "/srv/copy"])
    assert reads(machine, "/copy/ada/file") == []
    assert "a file that others than root can change" in trust(machine, "/copy", "--yes", status=95)


def test_what_cannot_be_approved(machine: FscryptMachine) -> None:
    device = second(machine)
    for path in ("/proc", "/data/ada", "/home/ada"):
        assert "is not where a file system that can be encrypted is mounted" in trust(machine, path, "--yes", status=95)
    assert "check the path" in trust(machine, "/nowhere", "--yes", status=1)
    write_fstab(machine, f"{device} /data ext4 defaults")
    assert trust(machine, "/data", "--yes") == "/data was so already.\n"
    assert "/etc/fstab" in trust(machine, "--remove", "/data", "--yes", status=95)


def test_a_name_that_is_a_command(machine: FscryptMachine, image: Path) -> None:
    """The log's advice names one path, however it reads."""
    where = "/media x; touch $(id -u) 'y'"
    machine.path(where).mkdir()
    mount_image(machine, image, "/data")
    machine.run(["mount", "--move", "/data", where])
    machine.fscrypt("setup", where, "--quiet")
    machine.run(["sh", "-c", 'mkdir -m 700 "$0/ada"; chown ada: "$0/ada"', where])
    protector = f"--protector=/:{machine.protector().name}"
    machine.fscrypt("encrypt", f"{where}/ada", protector, "--user=ada", "--quiet", said=PASSWORD.decode() + "\n")
    machine.fscrypt("lock", f"{where}/ada", "--user=ada", "--quiet")
    reads(machine)
    advice = machine.log().rpartition("another disk, '")[2].partition("' approves it")[0]
    assert machine.run(["sh", "-c", f"set -- {advice}; printf '%s\\n' \"$@\""]) == f"pyhome\ntrust\n{where}\n"


def test_records_that_are_not_roots(machine: FscryptMachine) -> None:
    second(machine)
    trust(machine, "/data", "--yes")
    place = machine.path("/var/lib/pyhome/trusted")
    (record,) = place.iterdir()
    assert record.stat().st_mode & 0o777 == 0o600
    os.chown(record, 61001, 61001)
    assert reads(machine, "/data/ada/file") == []
    os.chown(record, 0, 0)
    record.write_text(record.read_text() + "user=ada\n", encoding="ascii")
    assert reads(machine, "/data/ada/file") == []
