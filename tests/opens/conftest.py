"""Fixtures of the tests of homes in places of their own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fscrypt.conftest import bare, image
from tests.fscrypt.conftest import machine as ada
from tests.login.conftest import PASSWORD, build, furnish, machine, tree
from tests.pam.harness import MODULES, REPOSITORY

if TYPE_CHECKING:
    from tests.fscrypt.homes import FscryptMachine
    from tests.login.homes import LoginMachine

__all__ = ["PASSWORD", "ada", "bare", "build", "furnish", "image", "machine", "tree"]


def install_command(machine: LoginMachine) -> None:
    """Put `pyhome` where the packages put it."""
    shutil.copy(REPOSITORY / "packaging/files/pyhome", machine.path("/usr/bin/pyhome"))
    machine.path("/usr/bin/pyhome").chmod(0o755)


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module of the user database in `known.c`."""
    made = tmp_path_factory.mktemp("known") / "libnss_known.so.2"
    source = str(Path(__file__).with_name("known.c"))
    subprocess.run(["cc", "-D_GNU_SOURCE", "-Wall", "-Werror", "-fPIC", "-shared", source, "-o", str(made)], check=True)
    return made


@pytest.fixture
def unlisted(bare: FscryptMachine, known: Path) -> FscryptMachine:
    """A machine whose user database has users that it does not list."""
    shutil.copy(known, bare.path(MODULES.parent / known.name))
    bare.path("/etc/nsswitch.conf").write_text("passwd: files known\ngroup: files\nshadow: files\n", encoding="ascii")
    return bare
