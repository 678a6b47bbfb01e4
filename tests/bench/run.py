"""`make bench`: each figure beside its peer in one run, as ratios. Nothing here passes or fails.

First on this machine, in name spaces of its own: everything but the mount of eCryptfs, whatever the kernel, and homes of fscrypt
with everything. Then in a virtual machine with the kernel's eCryptfs: everything.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.bench.cases import PASSWORD, STACKS, case
from tests.bench.fscrypt import bench_fscrypt
from tests.bench.here import cheap_hash, install, time_here
from tests.bench.layout import bench_layout
from tests.bench.report import compare, heading
from tests.bench.stub import bench_stub
from tests.pam.harness import Build, Machine

PASSPHRASE = "0123456789abcdef0123456789abcdef"
SIGNATURES = "849d6b79848a0296\n9487d0e1beb5be83\n"
ADA, EVE, OPA = 61001, 61002, 61003
ROUNDS = 40


def furnish(machine: Machine) -> None:
    """Three users: ada with a home to be opened, opa with one that is open, eve without."""
    hashed = cheap_hash()
    for name, uid in (("ada", ADA), ("eve", EVE), ("opa", OPA)):
        machine.add_user(name, uid, password=hashed, encrypted=name != "eve")
    machine.record_open(OPA, "/home/opa", user="opa")
    config = "/home/.ecryptfs/ada/.ecryptfs"
    script = f"""
    mkdir /home/.ecryptfs/ada/.Private
    ln -s {config} /home/ada/.ecryptfs
    ln -s /home/.ecryptfs/ada/.Private /home/ada/.Private
    rm {config}/wrapped-passphrase
    printf '%s\\n%s' {PASSPHRASE} {PASSWORD} | ecryptfs-wrap-passphrase {config}/wrapped-passphrase -
    printf '{SIGNATURES}' > {config}/Private.sig
    echo /home/ada > {config}/Private.mnt
    touch {config}/auto-mount {config}/auto-umount
    chown -R ada: /home/.ecryptfs/ada /home/ada
    """
    machine.run(["/bin/sh", "-e", "-c", script])
    for service, text in STACKS.items():
        machine.write_stack(service, text)


def bench_here(machine: Machine) -> None:
    """The figures that need no eCryptfs in the kernel."""
    both = ("authenticate", "open_session")
    forget = "setpriv --reuid=ada --clear-groups keyctl clear @u"
    took = time_here(
        machine,
        ROUNDS,
        [
            case("pam_permit", "permit", "eve", *both),
            case("no encrypted home", "beside", "eve", *both),
            case("open home", "beside", "opa", *both),
            case("pam_unix", "verify", "ada", *both),
            case("pyhome", "ours", "ada", *both),
            case("pam_ecryptfs", "peer", "ada", *both, between=forget),
        ],
    )
    heading("Auth and session open with pamtester, everything but the mount; milliseconds of the whole process")
    compare(took, "pyhome", "pam_ecryptfs", "unlock beside pam_ecryptfs", "at most 0.40 x")
    compare(
        took, "no encrypted home", "pam_permit", "user without an encrypted home beside pam_permit", "at most 1.10 x"
    )
    compare(took, "open home", "pam_permit", "home open already beside pam_permit", "at most 5 ms more")
    compare(took, "pyhome", "pam_unix", "unlock beside the verification alone")


def bench_memory(machine: Machine) -> None:
    """What stays in the PAM process."""
    heading("Memory that stays in the PAM process")
    for times in (1, 1000):
        print(f"  {times:5} transactions: {machine.pam('beside', 'opa', f'repeat={times}', 'auth', 'open', 'end')}")


def main() -> None:
    """All parts."""
    with tempfile.TemporaryDirectory() as base:
        build = Build(Path(base), sanitized=False)
        with Machine(Path(base), build) as machine:
            install(machine)
            furnish(machine)
            bench_here(machine)
            bench_memory(machine)
    bench_fscrypt()
    bench_stub()
    bench_layout()
    if "--here" not in sys.argv:
        from tests.bench.virtual import bench_virtual  # noqa: PLC0415 - the first part must not need what the second needs

        bench_virtual()


if __name__ == "__main__":
    main()
