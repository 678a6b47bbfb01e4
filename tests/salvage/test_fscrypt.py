"""fscrypt homes on the disks of a dead machine: found, opened with what somebody has at hand, read-only, and closed without a trace."""

from __future__ import annotations

import pytest

from tests.create.machine import PASSWORD
from tests.salvage.machine import ADA, BOB, OLD, SalvageMachine

pytestmark = pytest.mark.root


@pytest.mark.parametrize(
    ("path", "secret", "file"),
    [(ADA, "recovery", "letter"), (ADA, "password", "letter"), (BOB, "password", "secret")],
)
def test_a_home_opens_read_only(machine: SalvageMachine, path: str, secret: str, file: str) -> None:
    given = machine.recovery.encode() if secret == "recovery" else PASSWORD
    place = machine.opens(path, given)
    assert place == f"/run/pyhome-recover/{path.rpartition('/')[2]}"
    assert machine.run(["cat", f"{place}/{file}"]) in {"dear\n", "written while open\n"}
    for attempt in (f"touch {place}/new", f"rm {place}/{file}", f"echo x > {place}/{file}"):
        assert b"Read-only file system" in machine.try_to(attempt).stderr, attempt
    machine.close(place)


def test_the_disk_has_several(machine: SalvageMachine) -> None:
    said = machine.recover(OLD)
    head, ada, bob, note = said.splitlines()
    assert head.split() == ["USER", "UID", "BACKEND", "PATH", "OPENS", "WITH"]
    assert ada.split()[2:4] == ["fscrypt", ADA]
    assert "login password of uid" in ada
    assert "Recovery passphrase for ada" in ada
    assert bob.split()[:4] == ["bob", "61002", "fscrypt", BOB]
    assert note == f"'pyhome recover {ADA}' opens the one of ada."
