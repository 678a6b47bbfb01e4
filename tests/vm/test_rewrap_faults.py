"""No step of a password change can lose a home: not by SIGKILL, not by a full disk, not by a power cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell
from tests.vm.test_passwords import NEW, passwd

if TYPE_CHECKING:
    from tests.vm.people import Person
    from tests.vm.vm import VM

pytestmark = pytest.mark.one_release("bookworm")

FAULTS = Path(__file__).parent / "guest" / "rewrap_faults.py"


@pytest.mark.guarantee(11)
def test_a7_b9_struck_at_steps_of_the_rewrap(vm: VM, ada: Person) -> None:
    """Steps that change a key file, once killed there and once out of space there, leave the home openable."""
    shell.ssh(vm, ada.name, ada.password).logout()
    ada.wait_until_locked()
    vm.put(FAULTS, "/root/rewrap_faults.py")
    said = vm.out(f"python3 /root/rewrap_faults.py {ada.name} {ada.password} {NEW} {ada.keyfiles}", timeout=1200)
    undisturbed, *runs = [json.loads(line) for line in said.splitlines()]
    assert undisturbed["undisturbed"] == 0
    assert undisturbed["opens"] == ["new"]
    assert undisturbed["steps"] >= 8
    assert len(runs) == 2 * len(range(0, undisturbed["steps"], 7))
    assert all(run["struck"] for run in runs)
    lost = [run for run in runs if not run["opens"] or (run["login"] == "old" and "old" not in run["opens"])]
    assert lost == []
    silent = [run for run in runs if run["login"] not in run["opens"] and run["code"] == 0]
    assert silent == [], "the passwords drifted apart, and passwd said that all was well"
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()


@pytest.mark.guarantee(11)
def test_b9_a_power_cut_after_passwd_loses_neither_password_nor_home(vm: VM, ada: Person) -> None:
    """When passwd has said that it is done, the new key file is on the disk."""
    with shell.ssh(vm, ada.name, ada.password) as session:
        vm.run("sync")
        assert passwd(session, ada.password, NEW)[0] == 0
        vm.power_off()
    vm.power_on()
    assert ada.opens_with(NEW)
    with shell.ssh(vm, ada.name, NEW) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()
    ada.wait_until_locked()


def test_after_a_power_cut_with_a_home_open_it_opens_again(vm: VM, ada: Person) -> None:
    with shell.ssh(vm, ada.name, ada.password) as session:
        session.do("echo kept > kept; sync")
        vm.power_off()
    vm.power_on()
    assert ada.leases() == []
    assert not ada.is_open()
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat kept") == "kept"
        session.logout()
    ada.wait_until_locked()
