"""One booted machine per Debian release, with the package installed as an administrator would install it."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.vm import people
from tests.vm.image import SUITES, say
from tests.vm.people import Person
from tests.vm.vm import VM

ROOT = Path(__file__).parents[2]
Maker = Callable[..., Person]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.vm)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the machine logged during a test that failed."""
    report = yield
    vm = getattr(item, "funcargs", {}).get("vm")
    if report.failed and vm is not None and hasattr(item, "journal_cursor"):
        report.sections.append(("journal", _journal(vm, item.journal_cursor)))
    return report


def _journal(vm: VM, cursor: str) -> str:
    try:
        return vm.journal(cursor)[-15000:]
    except Exception as error:  # noqa: BLE001  # the report of a failure must not fail
        return f"not to be had: {error}"


def package() -> Path:
    """The package under test."""
    (found,) = glob.glob(str(ROOT / "dist" / "pyhome_*.deb"))
    return Path(found)


def set_profiles(vm: VM, *names: str) -> None:
    """Let /etc/pam.d name exactly these of the two modules: ``pyhome``, ``ecryptfs-utils``."""
    for name in ("pyhome", "ecryptfs-utils"):
        vm.run(f"pam-auth-update --{'enable' if name in names else 'disable'} {name}")


@pytest.fixture(scope="session", params=SUITES)
def vm(request: pytest.FixtureRequest) -> Iterator[VM]:
    """A machine with pyhome and without pam_ecryptfs in its PAM stacks."""
    machine = VM(request.param)
    try:
        machine.start()
        machine.put(package(), "/root/pyhome.deb")
        machine.run("DEBIAN_FRONTEND=noninteractive apt-get install -y /root/pyhome.deb", timeout=300)
        set_profiles(machine, "pyhome")
        say(machine.suite, "pyhome is installed")
        yield machine
    finally:
        machine.stop()


@pytest.fixture(autouse=True)
def cursor(request: pytest.FixtureRequest, vm: VM) -> str:
    """A mark in the journal at the start of the test."""
    say(vm.suite, request.node.name)
    mark = vm.cursor()
    request.node.journal_cursor = mark
    return mark


@pytest.fixture(scope="session")
def household(vm: VM) -> Callable[[str], Person]:
    """One user per kind of home, made when first asked for and shared by tests that leave homes as they find them."""
    made: dict[str, Person] = {}

    def member(kind: str) -> Person:
        if kind not in made:
            made[kind] = people.make(vm, kind, name=f"h-{kind}")
        return made[kind]

    return member


@pytest.fixture
def new_user(vm: VM) -> Iterator[Maker]:
    """Make users with encrypted homes for one test; afterwards their processes are ended."""
    made: list[Person] = []

    def maker(kind: str = "whole", password: str = "") -> Person:
        made.append(people.make(vm, kind, password=password))
        return made[-1]

    yield maker
    for person in made:
        vm.run(f"loginctl terminate-user {person.name}; pkill -KILL -u {person.uid}; userdel {person.name}", check=False)


@pytest.fixture
def ada(new_user: Maker) -> Person:
    """A user with a whole encrypted home, locked."""
    return new_user()


@contextlib.contextmanager
def set_setting(vm: VM, *lines: str) -> Iterator[None]:
    """Let /etc/pyhome.conf say these lines, and afterwards what it said before."""
    before = vm.read("/etc/pyhome.conf")
    vm.write("/etc/pyhome.conf", before + "\n".join(["", *lines, ""]).encode())
    try:
        yield
    finally:
        vm.write("/etc/pyhome.conf", before)


@contextlib.contextmanager
def sshd_setting(vm: VM, *lines: str) -> Iterator[None]:
    """Let sshd be configured with these lines besides Debian's."""
    vm.write("/etc/ssh/sshd_config.d/00-test.conf", "\n".join([*lines, ""]))
    vm.run("systemctl reload ssh")
    try:
        yield
    finally:
        vm.run("rm /etc/ssh/sshd_config.d/00-test.conf; systemctl reload ssh")
