"""Doctor is silent on machines that are in order, and says little of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.doctor.planted import KINDS, TREES, PlantedMachine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.pam.harness import Build

NAMES = {"ecryptfs": "ada", "fscrypt": "flo"}
BACKUPS = ("login.pam-old", "system-auth.pam-new", "sshd.bak", "su-20261125", "login.dpkg-old", "#login#", "login~")


@pytest.mark.parametrize("kinds", [KINDS, *((kind,) for kind in KINDS)], ids="+".join)
@pytest.mark.parametrize("name", TREES)
def test_doctor_is_silent_where_all_is_well(tmp_path: Path, build: Build, name: str, kinds: tuple[str, ...]) -> None:
    with PlantedMachine(tmp_path, build, name, kinds) as machine:
        for backup in BACKUPS:
            machine.add(f"/etc/pam.d/{backup}", "auth required pam_nothing.so\nnonsense\n")
        for arguments in ((), *((NAMES[kind],) for kind in kinds)):
            found = machine.doctor(*arguments)
            assert [each for each in found["findings"] if each["level"] in {"warn", "fail"}] == []
            assert found["verdict"] == "ok"
        opened = [each["subject"] for each in found["findings"] if each["check"] == "pam.service" and each["level"] == "ok"]
        assert set(opened) >= {"login", "sshd", "gdm-password"}
        if kinds == KINDS:
            said = machine.said("doctor").splitlines()
            assert len(said) == 1
            assert said[0].startswith("all is well")
            assert machine.said("doctor", "--quiet") == ""
            assert "ok    login: a right password" in machine.said("doctor", "--verbose")
