"""Fixtures of the tests of `pyhome encrypt`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.encrypt.machine import EncryptMachine
from tests.fscrypt.conftest import image
from tests.login.conftest import build, tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.pam.harness import Build

__all__ = ["build", "image", "machine", "tree"]


@pytest.fixture
def machine(tmp_path: Path, build: Build, tree: Path, image: Path) -> Iterator[EncryptMachine]:
    """A machine on which homes can be encrypted."""
    with EncryptMachine(tmp_path, build) as machine:
        machine.furnish(tree)
        machine.furnish_fscrypt(image=image)
        machine.furnish_create()
        yield machine
