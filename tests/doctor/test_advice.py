"""What doctor tells root to type about files that the user has written does nothing to anything but the home."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.doctor.test_faults import KEYS
from tests.login.homes import ADA

if TYPE_CHECKING:
    from tests.doctor.harness import DoctorMachine

PLACES = ["/etc", "/home/ada/x; cp /bin/sh /tmp/s; chmod 4755 /tmp/s #", "/home/ada/$(id)", "/home/ada/a\x1b[2Jb", "/home/../etc"]


def found(machine: DoctorMachine) -> list[dict[str, str]]:
    done = subprocess.run(machine.enter(["/usr/bin/pyhome", "doctor", "--json", "ada"], {}), capture_output=True, check=False)
    findings: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    return findings


@pytest.mark.parametrize("place", PLACES)
def test_a_mount_point_of_the_users_choice(machine: DoctorMachine, place: str) -> None:
    (machine.path(KEYS) / "Private.mnt").write_text(place + "\n", encoding="utf-8")
    about = [each for each in found(machine) if each["check"] in ("keys.mountpoint", "keys.file")]
    # Nothing but the one file is written, with ada's rights, and nothing of what she has put there is in the command.
    file, who = f"{KEYS}/Private.mnt", "runuser -u ada --"
    usual = f"{who} rm -f {file} && printf '%s\\n' /home/ada | {who} tee {file}"
    assert {each["mend"] for each in about if each["mend"]} <= {usual}


@pytest.mark.parametrize("name", ["wrapped-passphrase", "Private.sig"])
def test_a_key_file_that_leads_elsewhere(machine: DoctorMachine, name: str) -> None:
    """Neither the file that it leads to nor anything else is to be given to the user."""
    path = machine.path(KEYS) / name
    path.unlink()
    path.symlink_to("/etc/shadow")
    os.chown(path, ADA, ADA, follow_symlinks=False)
    mends = [each["mend"] for each in found(machine) if each["check"].startswith("keys.")]
    assert not any(word in mend.split() for mend in mends for word in ("chown", "cp", "install"))
    assert all(mend.startswith("runuser -u ada -- ") for mend in mends if "chmod" in mend)
