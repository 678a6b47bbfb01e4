"""Fixtures: a machine for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pam.harness import Build
from tests.sshd.full import FullMachine
from tests.sshd.harness import SshdMachine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[SshdMachine]:
    """Ada and bob, and no sshd running yet."""
    with SshdMachine(tmp_path) as machine:
        yield machine


@pytest.fixture
def served(machine: SshdMachine) -> SshdMachine:
    """The same with an sshd."""
    machine.start_sshd()
    return machine


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("build"), sanitized=False)


@pytest.fixture
def full(tmp_path: Path, build: Build) -> Iterator[FullMachine]:
    """All of pyhome, ada with an encrypted home, and no sshd running yet."""
    with FullMachine(tmp_path, build) as machine:
        yield machine
