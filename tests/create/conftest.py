"""Fixtures of the tests of `pyhome create`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.create.machine import CreateMachine
from tests.fscrypt.conftest import image
from tests.login.conftest import build, tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.pam.harness import Build

__all__ = ["build", "image", "machine", "tree"]


@pytest.fixture
def machine(tmp_path: Path, build: Build, tree: Path, image: Path) -> Iterator[CreateMachine]:
    """A machine without any users of its own."""
    with CreateMachine(tmp_path, build) as machine:
        machine.furnish(tree)
        machine.furnish_fscrypt(image=image)
        machine.furnish_create()
        yield machine
