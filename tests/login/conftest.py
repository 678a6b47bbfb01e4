"""Fixtures of the login tests."""

from __future__ import annotations

import compileall
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.login.homes import ADA, LoginMachine
from tests.pam.harness import REPOSITORY, Build

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = b"correct horse"


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("build"), sanitized=False)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("tree"))


def make_tree(place: Path) -> Path:
    """The Python tree as it is installed: links resolved, compiled."""
    copy = place / "pam_pyhome"
    shutil.copytree(REPOSITORY / "pam_pyhome", copy, ignore=shutil.ignore_patterns("__pycache__", "*.c", "*.h"))
    compileall.compile_dir(copy, quiet=1, stripdir=str(copy.parent), prependdir="/usr/lib/pyhome")
    return copy


def furnish(machine: LoginMachine, tree: Path) -> LoginMachine:
    """Ada, whose home has her login password, and a service that asks pam_unix alone."""
    machine.furnish(tree)
    machine.write_stack("unix", "auth required pam_unix.so nodelay\n")
    machine.add_home("ada", ADA, PASSWORD)
    return machine


@pytest.fixture
def machine(tmp_path: Path, build: Build, tree: Path) -> Iterator[LoginMachine]:
    with LoginMachine(tmp_path, build) as machine:
        yield furnish(machine, tree)
