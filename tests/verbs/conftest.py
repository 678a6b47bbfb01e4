"""Fixtures of the tests of the everyday verbs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.login.conftest import PASSWORD, build, machine, tree
from tests.login.homes import BOB, LoginMachine
from tests.login.test_daemon import daemon
from tests.pam.harness import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PASSWORD", "build", "machine", "tree"]

PAT = 61003


@pytest.fixture
def place(machine: LoginMachine) -> LoginMachine:
    """Ada and Bob have encrypted homes, Pat has not; the command is installed, and pyhomed does not run."""
    shutil.copy(REPOSITORY / "packaging/files/pyhome", machine.path("/usr/bin/pyhome"))
    machine.path("/usr/bin/pyhome").chmod(0o755)
    machine.add_home("bob", BOB, b"bob's own password")
    machine.add_user("pat", PAT, encrypted=False)
    return machine


@pytest.fixture
def served(place: LoginMachine) -> Iterator[LoginMachine]:
    """The same with pyhomed."""
    with daemon(place):
        yield place
