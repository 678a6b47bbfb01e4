"""Fixtures of the tests of the everyday verbs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.fscrypt.conftest import bare, image
from tests.fscrypt.homes import FscryptMachine
from tests.login.conftest import PASSWORD, build, machine, tree
from tests.login.homes import ADA, BOB, LoginMachine
from tests.login.test_daemon import daemon
from tests.pam.harness import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PASSWORD", "bare", "build", "image", "machine", "tree"]

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


@pytest.fixture
def fscrypt_place(bare: FscryptMachine) -> FscryptMachine:
    """Ada's home is a real one of fscrypt's; the command is installed, and pyhomed does not run."""
    shutil.copy(REPOSITORY / "packaging/files/pyhome", bare.path("/usr/bin/pyhome"))
    bare.path("/usr/bin/pyhome").chmod(0o755)
    bare.add_fscrypt_home("ada", ADA, PASSWORD)
    return bare


@pytest.fixture
def fscrypt_served(fscrypt_place: FscryptMachine) -> Iterator[FscryptMachine]:
    """The same with pyhomed."""
    with daemon(fscrypt_place):
        yield fscrypt_place
