"""Fixtures of the tests of update and remove."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.create.machine import PASSWORD, CreateMachine
from tests.fscrypt.conftest import image
from tests.login.conftest import build, tree
from tests.login.test_daemon import daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.pam.harness import Build

__all__ = ["PASSWORD", "build", "image", "place", "served", "tree"]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, build: Build, tree: Path, image: Path) -> Iterator[CreateMachine]:
    """One machine for a module: each test has users of its own. pyhomed does not run."""
    with CreateMachine(tmp_path_factory.mktemp("upkeep"), build) as machine:
        machine.furnish(tree)
        machine.furnish_fscrypt(image=image)
        machine.furnish_create()
        yield machine


@pytest.fixture(scope="module")
def served(place: CreateMachine) -> Iterator[CreateMachine]:
    """The same with pyhomed."""
    with daemon(place):
        yield place


@pytest.fixture
def ada() -> str:
    """A name that no other test has."""
    return f"ada{next(_numbers)}"


@pytest.fixture(scope="module")
def neighbour(place: CreateMachine) -> None:
    """Somebody whose things are never touched."""
    place.create("bob")
    place.log_in(PASSWORD, name="bob")
    place.path("/home/.ecryptfs").mkdir(exist_ok=True)
