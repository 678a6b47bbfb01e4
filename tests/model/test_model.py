"""Random games with an fscrypt home: what pyhome says of it is what the kernel says, after every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.create.machine import CreateMachine
from tests.fscrypt.conftest import image
from tests.login.conftest import build, tree
from tests.model import homes
from tests.model.known import BOTH, FSCRYPT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.pam.harness import Build

__all__ = ["build", "image", "tree"]

pytestmark = pytest.mark.root
STEPS = 130
SHRINK_SECONDS = 180


@pytest.mark.guarantee(2)
def test_what_is_said_of_the_home_is_so(tmp_path: Path, build: Build, tree: Path, image: Path) -> None:
    with CreateMachine(tmp_path, build) as machine:
        homes.here(machine, tree, image)
        found = homes.play_here(machine, homes.order(STEPS, None, [*BOTH, *FSCRYPT], SHRINK_SECONDS))
    assert homes.shown(found) == ""
