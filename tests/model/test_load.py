"""200 sessions of 50 users at once, and then none: nothing is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.create.machine import CreateMachine
from tests.fscrypt.conftest import image
from tests.login.conftest import build, tree
from tests.login.homes import DEBIAN
from tests.model import homes
from tests.model.play import SERVICE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.pam.harness import Build

__all__ = ["build", "image", "tree"]

pytestmark = pytest.mark.root
USERS = 50


@pytest.mark.guarantee(2)
def test_many_users_at_once_leave_nothing_behind(tmp_path: Path, build: Build, tree: Path, image: Path) -> None:
    with CreateMachine(tmp_path, build) as machine:
        machine.furnish(tree)
        machine.furnish_fscrypt(image=image)
        machine.furnish_create()
        machine.write_stack(SERVICE, DEBIAN.format(arguments=""))
        said = homes.load_here(machine, USERS)
    assert said["left"] == []
    assert (said["sessions"], said["open"], said["leases"]) == (4 * USERS, USERS, 4 * USERS)
