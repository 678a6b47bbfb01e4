"""One booted machine per Debian release, with the package installed as an administrator would install it."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.vm import fscrypt_people, people
from tests.vm.image import SUITES, say
from tests.vm.installed import install
from tests.vm.people import Person
from tests.vm.vm import VM

Maker = Callable[..., Person]

#: How often a test is run again, and reported, before it counts as failed: emulated machines are slow, and at times very slow.
RERUNS = 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is here; what does not depend on the release runs on one of them."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.vm)
            item.add_marker(pytest.mark.flaky(reruns=RERUNS))
    spared = [item for item in items if not _is_wanted(item)]
    config.hook.pytest_deselected(items=spared)
    items[:] = [item for item in items if item not in spared]


def _is_wanted(item: pytest.Item) -> bool:
    """Whether a test is to run on the release of its machine."""
    only = None if item.get_closest_marker("each_release") else item.get_closest_marker("one_release")
    return only is None or only.args[0] == _release(item)


def _release(item: pytest.Item) -> str:
    """The Debian release of a test's machine."""
    return next((suite for suite in SUITES if re.search(rf"[\[-]{suite}[\]-]", item.name)), "none")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the machine logged during a test that failed; and why, at once: nothing else tells of a test that then passes."""
    report = yield
    vm = getattr(item, "funcargs", {}).get("vm")
    if report.failed and vm is not None:
        say(vm.suite, f"{item.name} failed:\n{report.longreprtext[-2000:]}")
        if hasattr(item, "journal_cursor"):
            report.sections.append(("journal", _journal(vm, item.journal_cursor)))
    return report


def _journal(vm: VM, cursor: str) -> str:
    try:
        return vm.journal(cursor)[-15000:]
    except Exception as error:  # noqa: BLE001  # the report of a failure must not fail
        return f"not to be had: {error}"


@pytest.fixture(scope="session", params=SUITES)
def vm(request: pytest.FixtureRequest) -> Iterator[VM]:
    """A machine with pyhome and without pam_ecryptfs in its PAM stacks."""
    machine = VM(request.param)
    try:
        machine.start()
        install(machine)
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


@pytest.fixture(scope="session")
def the_ada(vm: VM) -> Person:
    """The user behind `ada`, made once."""
    person = people.make(vm, "whole", name="ada")
    person.save()
    return person


@pytest.fixture
def ada(request: pytest.FixtureRequest, vm: VM) -> Iterator[Person]:
    """A user with a whole encrypted home, locked, as if just made; put back or removed after each test."""
    if getattr(request, "param", "ecryptfs") == "fscrypt":
        person = fscrypt_people.make(vm)
        yield person
        person.discard()
    else:
        the_ada: Person = request.getfixturevalue("the_ada")
        yield the_ada
        the_ada.reset()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What holds for both kinds of homes is tested with both, each on one release."""
    if metafunc.definition.get_closest_marker("both_backends") is not None:
        kinds = {"ecryptfs": "trixie", "fscrypt": "bookworm"}
        params = [pytest.param(kind, marks=pytest.mark.one_release(release)) for kind, release in kinds.items()]
        metafunc.parametrize("ada", params, indirect=True)
