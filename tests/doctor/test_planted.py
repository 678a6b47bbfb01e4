"""What doctor finds goes away when its cure is typed, on the machine of each distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.doctor.planted import TREES, Case, matrix, mode, over

if TYPE_CHECKING:
    from tests.doctor.planted import PlantedMachine

CASES = {
    "setuid dumps": Case(over("/proc/sys/fs/suid_dumpable", "1\n"), "dumps.setuid", "anybody may read", trees=TREES),
    "a PAM file for everybody": Case(mode("/etc/pam.d/login", 0o666), "pam.owner", "others than root", "fail", trees=TREES),
}


@matrix(CASES)
def test_it_is_found_and_cured(planted: PlantedMachine, case: Case) -> None:
    planted.prove(case)
