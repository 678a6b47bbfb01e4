"""Fixtures of the tests of `pyhome recover`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fscrypt.conftest import image
from tests.login.conftest import build, tree
from tests.salvage.machine import SalvageMachine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.pam.harness import Build

__all__ = ["build", "image", "machine", "tree"]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, build: Build, tree: Path, image: Path) -> Iterator[SalvageMachine]:
    """One machine for all tests: making the homes takes longer than opening them."""
    with SalvageMachine(tmp_path_factory.mktemp("salvage"), build) as machine:
        machine.furnish(tree)
        machine.furnish_fscrypt(image=image)
        machine.furnish_create()
        machine.bury(image)
        yield machine


@pytest.fixture
def machine(shared: SalvageMachine) -> Iterator[SalvageMachine]:
    """The machine, on which nothing is open before a test nor after it."""
    assert shared.left() == []
    yield shared
    assert shared.left() == []
