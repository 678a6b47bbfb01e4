"""Fixtures: a place per module for tests that leave it as they find it, and a place of its own for every other test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pam.harness import Build
from tests.stub.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("build"), sanitized=False)


@pytest.fixture
def place(tmp_path: Path, build: Build) -> Iterator[Place]:
    """Without sshd, without a broker."""
    with Place(tmp_path, build) as place:
        yield place


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, build: Build) -> Iterator[Place]:
    """With an sshd; shared."""
    with Place(tmp_path_factory.mktemp("served"), build) as place:
        place.sshd()
        yield place
