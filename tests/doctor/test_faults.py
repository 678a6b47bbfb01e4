"""Doctor finds what is wrong, says so once and nothing else, and exits accordingly."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.pam.harness import MODULES
from tests.sshd.harness import ADA

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.doctor.harness import DoctorMachine

KEYS = "/home/.ecryptfs/ada/.ecryptfs"
LOOKED_AT = ("/etc/pam.d", "/etc/ssh", "/home", "/run")
STUB = "/usr/lib/pyhome/pyhome-shell"


@dataclass(frozen=True)
class Fault:
    """What is planted, and what is to be found: check, level and a part of the text; on which tree."""

    plant: Callable[[DoctorMachine], object]
    check: str
    level: str
    text: str
    tree: str = "debian12"
    beside: tuple[str, ...] = ()


def _edit(path: str, old: str, new: str) -> Callable[[DoctorMachine], object]:
    return lambda machine: machine.edit(path, old, new)


def _over(path: str, text: str) -> Callable[[DoctorMachine], object]:
    return lambda machine: machine.over(path, text)


def _remove(*paths: str) -> Callable[[DoctorMachine], object]:
    return lambda machine: machine.run(["/bin/rm", *paths])


def _mode(path: str, mode: int) -> Callable[[DoctorMachine], object]:
    return lambda machine: machine.path(path).chmod(mode)


def _owner(path: str, uid: int) -> Callable[[DoctorMachine], object]:
    return lambda machine: os.chown(machine.path(path), uid, uid)


def _add(path: str, text: str) -> Callable[[DoctorMachine], object]:
    return lambda machine: machine.add(path, text)


def _all(*steps: Callable[[DoctorMachine], object]) -> Callable[[DoctorMachine], object]:
    return lambda machine: [step(machine) for step in steps]


def _swap_file(machine: DoctorMachine) -> None:
    machine.path("/swap file").touch()
    machine.over("/proc/swaps", "Filename Type Size Used Priority\n/swap\\040file file 1048572 0 -2\n")


def _shell(machine: DoctorMachine) -> None:
    machine.edit("/etc/passwd", f"ada:x:{ADA}:{ADA}::/home/ada:/bin/sh", f"ada:x:{ADA}:{ADA}::/home/ada:{STUB}")


def _real_shell(path: str) -> Callable[[DoctorMachine], object]:
    return _all(_shell, _add("/etc/pyhome-shells", f"ada:{path}\n"))


def _lingers(machine: DoctorMachine) -> None:
    machine.add("/var/lib/systemd/linger/ada", "")


def _own_keys(machine: DoctorMachine) -> None:
    machine.path("/home/ada").chmod(0o700)
    machine.authorize("ada", machine.line)


def _laid_out(machine: DoctorMachine) -> None:
    machine.path("/run/sshd").mkdir(exist_ok=True)
    machine.add("/etc/ssh/authorized_keys.d/ada", machine.line.decode())
    machine.pyhome("apply", "--yes")


def _keeps_copies(machine: DoctorMachine) -> None:
    kept = f"/var/lib/pyhome/{ADA}.ada"
    machine.run(["/bin/sh", "-ec", f"install -d -m 0700 {kept}; cp {KEYS}/P* {KEYS}/w* {kept}"])


def _stale_record(machine: DoctorMachine) -> None:
    machine.record_open(ADA, "/home/ada", device=os.makedev(7, 7))


def _old_tree(machine: DoctorMachine) -> None:
    machine.edit("/usr/lib/pyhome/pam_pyhome/__init__.py", '__version__ = "', '__version__ = "9')
    # The command is of the new version still, as while a package is being installed.
    machine.run(["/bin/cp", "-r", "/usr/lib/pyhome", "/opt/older"])
    machine.edit("/opt/older/pam_pyhome/__init__.py", '__version__ = "9', '__version__ = "')
    machine.edit("/usr/bin/pyhome", "/usr/lib/pyhome", "/opt/older")


COMMON = "/etc/pam.d/common-"
FAULTS = {
    # The kernel
    "no aes": Fault(_over("/proc/cpuinfo", "flags : fpu sse2\n"), "kernel.aes", "warn", "slow"),
    # What is installed
    # The PAM stacks
    "no lines in auth": Fault(
        _edit(f"{COMMON}auth", "auth optional pam_pyhome.so unwrap\n", ""), "pam.auth", "fail", "never reaches pam_pyhome"
    ),
    "no lines in session": Fault(
        _edit(f"{COMMON}session", "session optional pam_pyhome.so\n", ""), "pam.session", "fail", "nothing is mounted"
    ),
    "no lines in password": Fault(
        _edit("/etc/pam.d/system-auth", "password [success=ok authtok_err", "#"), "pam.password", "fail", "not open the home",
        tree="arch",
    ),
    "before the password": Fault(
        _edit(f"{COMMON}auth", "auth [success=1", "auth optional pam_pyhome.so\nauth [success=1"), "pam.order", "warn", "behind",
        beside=("pam.twice",),
    ),
    "jumped over": Fault(
        _edit(f"{COMMON}auth", "success=1", "success=3"), "pam.refused", "fail", "refuses even a right",
        beside=("pam.auth",),
    ),
    "lands on deny": Fault(
        _edit(f"{COMMON}auth", "auth requisite", "auth optional pam_faildelay.so\nauth requisite"),
        "pam.refused", "fail", "pam_deny",
    ),
    "jump count too large": Fault(
        _edit("/etc/pam.d/system-auth", "auth [success=1", "auth [success=9"), "pam.refused", "fail", "refuses even a right",
        tree="arch",
    ),
    "our line inside a jump": Fault(
        _edit("/etc/pam.d/system-auth", "auth [default=die]", "auth optional pam_pyhome.so\nauth [default=die]"),
        "pam.refused", "fail", "pam_faillock", tree="arch", beside=("pam.twice",),
    ),
    "wrong password is enough": Fault(
        _edit(f"{COMMON}auth", "auth requisite pam_deny.so\n", ""), "pam.bypass", "fail", "wrong password",
        beside=("pam.refused",),
    ),
    "after systemd": Fault(
        _edit(
            f"{COMMON}session", "session optional pam_pyhome.so\nsession optional pam_systemd.so\n",
            "session optional pam_systemd.so\nsession optional pam_pyhome.so\n",
        ),
        "pam.order", "warn", "pam_systemd",
    ),
    "keyring after us": Fault(
        _all(
            _edit("/etc/pam.d/login", "session optional pam_keyinit.so force revoke\n", ""),
            _add("/etc/pam.d/login", "session optional pam_keyinit.so force revoke\n"),
        ),
        "keyinit", "warn", "only after",
    ),
    "no keyring": Fault(
        _edit("/etc/pam.d/sshd", "session optional pam_keyinit.so force revoke\n", ""), "keyinit", "warn", "not reached"
    ),
    "an include of nothing": Fault(
        _edit("/etc/pam.d/login", "@include common-auth", "@include common-oath"), "pam.syntax", "fail", "common-oath",
    ),
    "no lines on fedora": Fault(
        _edit("/etc/pam.d/postlogin", "auth optional pam_pyhome.so unwrap\n", ""), "pam.auth", "fail", "never", tree="fedora"
    ),
    # Other tools
    "pam_ecryptfs": Fault(
        _all(_add(f"{COMMON}auth", "auth required pam_ecryptfs.so unwrap\n"), _add(str(MODULES / "pam_ecryptfs.so"), "")),
        "pam.others", "warn", "same homes",
    ),
    "pam_mount": Fault(
        _all(
            _add(f"{COMMON}session", "session optional pam_mount.so\n"), _add(str(MODULES / "pam_mount.so"), ""),
            _add("/etc/security/pam_mount.conf.xml", '<pam_mount><!-- <volume/> --><volume user="ada"/></pam_mount>'),
        ),
        "pam.others", "warn", "volumes",
    ),
    "pam_fscrypt": Fault(
        _all(
            _add(f"{COMMON}auth", "auth optional pam_fscrypt.so\n"), _add(str(MODULES / "pam_fscrypt.so"), ""),
            _add("/.fscrypt/protectors/x", ""),
        ),
        "pam.others", "warn", "unlocks",
    ),
    # Key files
    "no key file": Fault(
        _all(_remove(f"{KEYS}/wrapped-passphrase"), _remove(f"{KEYS}/Private.sig")), "keys.home", "fail", "no key file"
    ),
    "no wrapped passphrase": Fault(_remove(f"{KEYS}/wrapped-passphrase"), "keys.file", "fail", "is missing"),
    "damaged key file": Fault(
        lambda machine: machine.path(f"{KEYS}/wrapped-passphrase").write_bytes(b"\0" * 10), "keys.file", "fail", "damaged"
    ),
    "no ciphertext": Fault(
        lambda machine: machine.path("/home/.ecryptfs/ada/.Private").rmdir(), "keys.storage", "fail", "all files of the home"
    ),
    # sshd
    "keys in the home": Fault(_own_keys, "keys.authorized", "warn", "while the home is locked"),
    "nothing asks after a key": Fault(_laid_out, "sshd.unlock", "warn", "nothing asks"),
    "layout for all to write": Fault(
        _all(_laid_out, _mode("/etc/ssh/authorized_keys.d", 0o777)),
        "keys.authorized", "fail", "does not count", beside=("sshd.layout",),
    ),
    # The login shell
    # Sessions
    "open without a session": Fault(lambda machine: machine.record_home(), "leases.held", "warn", "no session"),
    # Memory on disk
    "plain swap": Fault(_swap_file, "swap", "warn", "without encryption"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("machine", "name"), [(fault.tree, name) for name, fault in FAULTS.items()], indirect=["machine"], ids=list(FAULTS)
)
def test_a_planted_fault_is_found(machine: DoctorMachine, name: str) -> None:
    fault = FAULTS[name]
    fault.plant(machine)
    before = machine.snapshot(*LOOKED_AT)
    found = machine.complaints("ada")
    assert {each["check"] for each in found} - set(fault.beside) == {fault.check}, found
    mine = [each for each in found if each["check"] == fault.check]
    assert any(fault.text in each["text"] + each["subject"] and each["level"] == fault.level for each in mine), mine
    assert all(each["mend"] for each in mine), mine
    assert machine.snapshot(*LOOKED_AT) == before


def test_a_home_that_a_session_holds_is_fine(machine: DoctorMachine) -> None:
    machine.record_home()
    lease = machine.state(ADA) / "lease.1.1"
    holder = machine.enter(["/usr/bin/flock", f"/run/pyhome/{ADA}/lease.1.1", "/bin/sh", "-c", "echo held; cat"], {})
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"held\n"
        assert lease.exists()
        assert machine.complaints("ada") == []
        assert any("held by 1 " in each["text"] for each in machine.doctor("ada")["findings"])
        process.stdin.close()


def test_a_home_that_was_opened_by_hand_is_fine(machine: DoctorMachine) -> None:
    machine.record_home()
    (machine.state(ADA) / "hold").touch()
    assert machine.complaints("ada") == []
    assert any("opened by hand" in each["text"] for each in machine.doctor("ada")["findings"])


def test_a_user_who_does_not_exist(machine: DoctorMachine) -> None:
    (found,) = machine.complaints("nobody-at-all")
    assert (found["level"], found["check"]) == ("fail", "keys.user")


def test_json_is_versioned_and_complete(machine: DoctorMachine) -> None:
    described = machine.doctor("ada")
    assert (described["version"], described["verdict"], described["user"]) == (1, "ok", "ada")
    assert all(set(each) == {"level", "check", "subject", "text", "mend"} for each in described["findings"])


def test_the_transcript(machine: DoctorMachine) -> None:
    machine.over("/proc/cpuinfo", "flags : fpu\n")
    machine.edit("/etc/ssh/sshd_config", "UsePAM yes", "UsePAM no")
    said = machine.said("doctor", "ada", status=2).splitlines()
    assert said[:2] == [
        "warn  processor: has no AES instructions, or they are hidden from this machine: open homes are slow",
        "      mend: on a virtual machine: give it the host's CPU model",
    ]
    assert "fail  sshd: UsePAM is not on: no home opens or closes over SSH" in said
    assert said[-1] == "1 failure, 1 warning"


def test_only_root_may_ask(machine: DoctorMachine) -> None:
    command = ["/usr/bin/setpriv", "--reuid=61001", "--clear-groups", "/usr/bin/pyhome", "doctor"]
    ran = subprocess.run(machine.enter(command, {}), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (42, b"pyhome doctor: reads files of root; run it as root\n")
