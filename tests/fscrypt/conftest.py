"""Fixtures of the fscrypt tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fscrypt.homes import FscryptMachine, make_image
from tests.login.conftest import PASSWORD, build, tree  # noqa: F401 - the fixtures of the login tests
from tests.login.homes import ADA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.pam.harness import Build


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty file system that can encrypt, to be copied."""
    path = tmp_path_factory.mktemp("image") / "ext4"
    make_image(path)
    return path


@pytest.fixture
def bare(tmp_path: Path, build: Build, tree: Path, image: Path) -> Iterator[FscryptMachine]:  # noqa: F811 - the fixtures
    """A machine without any homes."""
    with FscryptMachine(tmp_path, build) as machine:
        machine.furnish(tree)
        machine.furnish_fscrypt(image=image)
        yield machine


@pytest.fixture
def machine(bare: FscryptMachine) -> FscryptMachine:
    """Ada, whose home the real tool has encrypted for her login password."""
    bare.add_fscrypt_home("ada", ADA, PASSWORD)
    return bare
