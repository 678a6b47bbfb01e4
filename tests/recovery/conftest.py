"""Fixtures of the recovery tests."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.fscrypt.conftest import bare, image
from tests.fscrypt.homes import FscryptMachine
from tests.login.conftest import PASSWORD, build, machine, tree
from tests.login.homes import ADA, LoginMachine, crypt
from tests.login.test_daemon import daemon
from tests.pam.harness import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KEY", "PASSWORD", "bare", "build", "image", "machine", "tree"]

#: The 20 bytes 0, 1, 2, … as `formats.recovery` writes them.
KEY = b"000gd-40r4s-0m308-e209z-185gk-r38es-1w81s-24gk3"


def install(machine: LoginMachine) -> None:
    """The command."""
    shutil.copy(REPOSITORY / "packaging/files/pyhome", machine.path("/usr/bin/pyhome"))
    machine.path("/usr/bin/pyhome").chmod(0o755)


@pytest.fixture
def place(bare: FscryptMachine) -> FscryptMachine:
    """Ada's home is one as `pyhome create` makes it, with a recovery key; pyhomed does not run."""
    install(bare)
    bare.add_user("ada", ADA, password=crypt(PASSWORD), encrypted=False)
    bare.inside("create", PASSWORD, KEY)
    bare.write_secret("ada", ADA)
    bare.inside("lock")
    return bare


@pytest.fixture
def served(place: FscryptMachine) -> Iterator[FscryptMachine]:
    """The same with pyhomed."""
    with daemon(place):
        yield place


@pytest.fixture
def ecryptfs(machine: LoginMachine) -> LoginMachine:
    """Ada's home is one of ecryptfs-utils, whose mount passphrase is `tests.login.homes.PASSPHRASE`."""
    install(machine)
    return machine
