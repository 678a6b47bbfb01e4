"""Random games with an eCryptfs home, and many users at once: what pyhome says is what the kernel says, and nothing is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.model import homes
from tests.model.known import BOTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.vm import VM

pytestmark = [pytest.mark.one_release("bookworm"), pytest.mark.guarantee(2)]

STEPS = 20
SHRINK_SECONDS = 240
USERS = 50
#: What the games and the crowd leave otherwise: no daemon, and fifty homes for every command to look at.
AS_IT_WAS = """
systemctl start pyhomed.socket pyhomed-unlock.socket
sed -i -E '/^(model|user[0-9]+):/d' /etc/passwd /etc/group /etc/shadow
rm -rf /home/{,.ecryptfs/}{model,user[0-9]*} /var/lib/pyhome/*.{model,user[0-9]*}
"""


@pytest.fixture(autouse=True)
def as_it_was(vm: VM) -> Iterator[None]:
    """Leave the machine to other tests as they know it."""
    yield
    vm.run(AS_IT_WAS)


def test_what_is_said_of_the_home_is_so(vm: VM) -> None:
    homes.there(vm)
    found = homes.play_there(vm, homes.order(STEPS, None, BOTH, SHRINK_SECONDS))
    assert homes.shown(found) == ""


def test_many_users_at_once_leave_nothing_behind(vm: VM) -> None:
    said = homes.load_there(vm, USERS)
    assert said["left"] == []
    assert (said["sessions"], said["open"], said["leases"]) == (4 * USERS, USERS, 4 * USERS)
