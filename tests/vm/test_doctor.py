"""`pyhome doctor` and `setup` on a booted machine, whose kernel mounts eCryptfs homes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.vm import shell
from tests.vm.installed import set_profiles

if TYPE_CHECKING:
    from tests.vm.people import Person
    from tests.vm.vm import VM

#: What the emulated processor of a test machine may lack, and what people who were made without one do.
NOT_OURS = {"kernel.aes", "keys.recovery"}
ETC = (
    "find /etc -exec stat -c '%n %U %G %a %s %N' {} + | LC_ALL=C sort | md5sum; "
    "find /etc -type f -exec md5sum {} + | LC_ALL=C sort | md5sum"
)


def complaints(vm: VM, *arguments: str) -> list[tuple[str, str]]:
    """The checks that are not content, and why."""
    found = json.loads(vm.out(f"pyhome doctor --json {' '.join(arguments)} || true"))["findings"]
    return [(each["check"], each["text"]) for each in found if each["level"] in {"warn", "fail"} and each["check"] not in NOT_OURS]


def test_doctor_is_silent_on_a_machine_in_use(vm: VM, ada: Person) -> None:
    assert complaints(vm, ada.name) == []
    with shell.ssh(vm, ada.name, ada.password):
        assert complaints(vm, ada.name) == []
    ada.wait_until_locked()
    assert complaints(vm, ada.name) == []


@pytest.mark.one_release("trixie")
def test_setup_proves_that_the_home_opens(vm: VM, ada: Person) -> None:
    try:
        vm.run("pam-auth-update --disable pyhome")
        before = vm.out(ETC)
        said = vm.out("pyhome setup --yes")
        assert "proved: login lets a right password in, keeps a wrong one out and opens the home" in said
        assert "pyhome-proof" not in vm.out("cat /etc/passwd /proc/mounts; ls /home /run/pyhome")
        assert complaints(vm, ada.name) == []
        with shell.ssh(vm, ada.name, ada.password):
            assert ada.is_open()
        ada.wait_until_locked()
        vm.run("pyhome rollback setup --yes")
        assert vm.out(ETC) == before
    finally:
        set_profiles(vm, "pyhome")
