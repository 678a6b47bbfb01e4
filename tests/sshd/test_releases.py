"""The whole way of `pyhome sshd` with the sshd of Debian 12, 13 and unstable, whose answers do not look alike."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.packaging.chroot import OPENSSH, cached_root
from tests.pam.harness import ENVIRONMENT, REPOSITORY
from tests.sshd.harness import CONFIG, LAYOUT, PYHOME, SshdMachine

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST = f"{LAYOUT}/%u .ssh/authorized_keys .ssh/authorized_keys2"
# Match blocks in each form that sshd_config(5) has; those who are in none of them, ada among them, read the usual files.
BLOCKS = """\
Match Group "domain users"
    AuthorizedKeysFile .ssh/domain
Match User=bob
    AuthorizedKeysFile .ssh/bobs
Match User git,robot Group staff
    AuthorizedKeysFile none
"""
VERSIONS = {"here": "OpenSSH_9.2", "trixie": "OpenSSH_10.0", "sid": "OpenSSH_10."}


@pytest.fixture(params=VERSIONS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SshdMachine]:
    """Ada, bob and kay, who is in a group whose name has a blank, on a machine of each release."""
    lower = Path("/") if request.param == "here" else cached_root(request.param, OPENSSH, "openssh")
    with SshdMachine(tmp_path, lower) as machine:
        assert VERSIONS[request.param] in machine.run(["/bin/sh", "-c", "ssh -V 2>&1"])
        machine.run(["ssh-keygen", "-A"])
        machine.add_user("kay", 61003, encrypted=False)
        with machine.path("/etc/group").open("a", encoding="ascii") as group:
            group.write("domain users:x:61050:kay\n")
        yield machine


def doctor(machine: SshdMachine, user: str) -> dict[str, str]:
    """The levels of what `pyhome doctor` finds about sshd."""
    command = machine.enter([*PYHOME, "doctor", "--json", user], ENVIRONMENT | {"PYTHONPATH": str(REPOSITORY)})
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    findings = json.loads(ran.stdout)["findings"]
    return {each["check"]: each["level"] for each in findings if each["check"].startswith("sshd.")}


def test_from_the_plan_to_taking_it_back(machine: SshdMachine) -> None:
    machine.config(CONFIG + BLOCKS)
    for user, name in (("ada", "authorized_keys"), ("bob", "bobs"), ("kay", "domain")):
        machine.authorize(user, machine.line, name)
    before = machine.etc()
    assert "to write; nothing was changed" in machine.pyhome("plan")
    assert machine.etc() == before
    assert doctor(machine, "ada")["sshd.pam"] == "ok"
    machine.start_sshd()
    machine.pyhome("apply", "--yes")
    for user, files in (("ada", FIRST), ("bob", f"{LAYOUT}/%u .ssh/bobs"), ("kay", f"{LAYOUT}/%u .ssh/domain")):
        assert machine.effective(user) == files
        machine.hide_home(user)
        assert machine.lets_in(user, machine.key), user
        machine.show_home(user)
    said = machine.pyhome("check", "ada", "bob", "kay")
    assert said.count(" answers, with 1 keys") == len(("ada", "bob", "kay"))
    found = doctor(machine, "ada")
    assert (found["sshd.pam"], found["sshd.layout"]) == ("ok", "ok")
    machine.authorize("kay", b"", "domain")
    machine.pyhome("sync", "kay", "--yes")
    assert machine.laid_out("kay") is None
    assert not machine.lets_in("kay", machine.key)
    machine.pyhome("revert", "--yes")
    assert machine.etc() == before
    machine.pyhome("apply", "--yes", "--unlock-at-login")
    machine.pyhome("check", "ada")
    assert doctor(machine, "ada")["sshd.layout"] == "ok"
    machine.pyhome("revert", "--yes")
    assert machine.etc() == before
