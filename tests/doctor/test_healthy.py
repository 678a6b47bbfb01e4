"""Doctor is silent on machines that are in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.doctor.harness import DoctorMachine

TREES = ("debian12", "debian13", "arch", "fedora")


@pytest.mark.parametrize("machine", TREES, indirect=True)
def test_doctor_is_silent_where_all_is_well(machine: DoctorMachine) -> None:
    for arguments in ((), ("ada",)):
        found = machine.doctor(*arguments)
        assert [each for each in found["findings"] if each["level"] in {"warn", "fail"}] == []
        assert found["verdict"] == "ok"
    opened = {each["subject"] for each in found["findings"] if each["check"] == "pam.service" and each["level"] == "ok"}
    assert opened >= {"login", "sshd", "gdm-password"}
