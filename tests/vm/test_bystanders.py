"""Who has no encrypted home pays nothing: no Python process is started for them, at no way in."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell
from tests.vm.image import ROOT_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.people import Person
    from tests.vm.vm import VM

pytestmark = pytest.mark.one_release("trixie")

TRACING = "/sys/kernel/tracing"
#: The interpreter's names; sshd, login and su start none of them by themselves.
PYTHON = "python3"


class Programs:
    """The programs that the whole machine started, as its kernel saw it."""

    def __init__(self, vm: VM) -> None:
        self._vm = vm
        self.seen = ""

    def python(self) -> list[str]:
        """What the kernel says of the interpreters among them, and of programs of ours."""
        return [line for line in self.seen.splitlines() if PYTHON in line or "pyhome" in line]

    def read(self) -> None:
        """Take over what the kernel has recorded."""
        self.seen = self._vm.out(f"grep sched_process_exec {TRACING}/trace || true")


@contextlib.contextmanager
def recorded(vm: VM) -> Iterator[Programs]:
    """Record every program start of the machine, by the kernel's own tracing."""
    programs = Programs(vm)
    vm.run(f"echo > {TRACING}/trace; echo 1 > {TRACING}/events/sched/sched_process_exec/enable")
    try:
        yield programs
    finally:
        vm.run(f"echo 0 > {TRACING}/events/sched/sched_process_exec/enable")
        programs.read()


@pytest.fixture(scope="module")
def bob(vm: VM) -> str:
    """An ordinary user, with the uid of somebody who had an encrypted home and has left.

    The first login of a user may do more than later ones, so it is over.
    """
    people.add_user(vm, "bob")
    vm.run("install -d -m 700 /var/lib/pyhome/$(id -u bob).left; touch /var/lib/pyhome/$(id -u bob).left/wrapped-passphrase")
    shell.ssh(vm, "bob", people.PASSWORD).logout()
    return "bob"


def test_the_recording_sees_python_when_a_home_is_opened(vm: VM, ada: Person) -> None:
    """The control: without it, the tests below would pass for a recorder that records nothing."""
    with recorded(vm) as programs, shell.ssh(vm, ada.name, ada.password) as session:
        session.logout()
    assert programs.python()


def test_no_python_for_a_user_without_an_encrypted_home(vm: VM, bob: str) -> None:
    with recorded(vm) as programs:
        with shell.ssh(vm, bob, people.PASSWORD) as session:
            shell.su(session, bob, people.PASSWORD).logout()
            session.logout()
        with shell.Console(vm) as console:
            console.login(bob, people.PASSWORD)
            console.logout()
    assert "bash" in programs.seen
    assert programs.python() == []


def test_no_python_for_root_and_system_users(vm: VM) -> None:
    with recorded(vm) as programs:
        with shell.Console(vm) as console:
            console.login("root", ROOT_PASSWORD)
            console.logout()
        for command in ("su -l root -c true", "su -s /bin/sh daemon -c true", "sudo true", "sudo -u daemon true"):
            vm.run(command)
    assert "/usr/bin/sudo" in programs.seen
    assert programs.python() == []


def test_no_python_for_a_second_session_on_an_open_home(vm: VM, ada: Person) -> None:
    with shell.ssh(vm, ada.name, ada.password) as first:
        with recorded(vm) as programs, shell.ssh(vm, ada.name, ada.password) as second:
            assert second.do("cat letter") == people.LETTER
            second.logout()
        assert "bash" in programs.seen
        assert programs.python() == []
        first.logout()


def test_no_python_for_services_that_are_skipped(vm: VM, ada: Person) -> None:
    with recorded(vm) as programs:
        vm.run(f"pamtester cron {ada.name} acct_mgmt open_session close_session; sudo -u {ada.name} true")
    assert "pamtester" in programs.seen
    assert programs.python() == []
