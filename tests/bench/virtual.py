"""The part of the benchmark that mounts: in a virtual machine, where the kernel has eCryptfs. Emulated, so only ratios count."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench.cases import PASSWORD, STACKS, case, order
from tests.bench.report import compare, heading
from tests.vm.installed import install, set_profiles
from tests.vm.people import make
from tests.vm.vm import VM

SUITE = "trixie"
ROUNDS = 7
UNTIL_LOCKED = "timeout 60 sh -c 'while mountpoint -q {home}; do sleep 0.2; done'"
UNDO_PEER = (
    "umount -l {home}; rm -f /dev/shm/ecryptfs-{name}-Private; setpriv --reuid={name} --clear-groups keyctl clear @u"
)


def bench_virtual() -> None:
    """Boot, install the package, time, switch off."""
    machine = VM(SUITE)
    try:
        machine.start()
        install(machine)
        set_profiles(machine)
        _bench(machine)
    finally:
        machine.stop()


def _bench(machine: VM) -> None:
    """One home of the user ada, opened by either module in turn."""
    ada = make(machine, "whole", name="ada", password=PASSWORD)
    for service, text in STACKS.items():
        machine.write(f"/etc/pam.d/{service}", text)
    machine.put(Path(__file__).with_name("timing.py"), "/root/timing.py")
    names = {"name": ada.name, "home": ada.home}
    both = ("authenticate", "open_session")
    cases = [
        case("pam_unix", "verify", ada.name, *both),
        case("pyhome", "ours", ada.name, *both, between=UNTIL_LOCKED.format(**names)),
        case("pam_ecryptfs", "peer", ada.name, *both, between=UNDO_PEER.format(**names)),
    ]
    took = json.loads(machine.run("python3 /root/timing.py", stdin=order(ROUNDS, cases), timeout=900).out)
    heading(
        f"Auth and session open with pamtester, mount included, in an emulated {SUITE}; milliseconds of the whole process"
    )
    compare(took, "pyhome", "pam_ecryptfs", "unlock beside pam_ecryptfs", "at most 0.40 x")
    compare(took, "pyhome", "pam_unix", "unlock beside the verification alone")
