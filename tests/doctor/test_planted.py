"""What doctor finds is found once, and goes away when its cure is typed, on the machine of each distribution."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.doctor.harness import DoctorMachine
from tests.doctor.planted import FLO, FLO_KEY, TREES, Case, add, edit, matrix, mode, over, owner, remove, several
from tests.pam.harness import MODULES
from tests.sshd.full import PASSWORD
from tests.sshd.harness import ADA, BOB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.doctor.planted import PlantedMachine

KEYS = "/home/.ecryptfs/ada/.ecryptfs"
LOWER = "/home/.ecryptfs/ada/.Private"
STUB = "/usr/lib/pyhome/pyhome-shell"
KEPT = f"/var/lib/pyhome/{ADA}.ada"
MODULE = str(MODULES / "pam_pyhome.so")
WORKER = "/usr/lib/pyhome/pyhome-worker"
SSHD = "/etc/ssh/sshd_config"
ARCH, FEDORA, TRIXIE = ("arch",), ("fedora",), ("debian13",)


def write(path: str, text: str, uid: int = ADA) -> Callable[[PlantedMachine], object]:
    """A file of a user's with this content."""

    def plant(machine: PlantedMachine) -> None:
        machine.path(path).write_text(text, encoding="utf-8")
        os.chown(machine.path(path), uid, uid)

    return plant


def run(*words: str) -> Callable[[PlantedMachine], object]:
    return lambda machine: machine.run(words)


def shadow(field: int, value: Callable[[str], str]) -> Callable[[PlantedMachine], object]:
    """A field of ada's line in /etc/shadow."""

    def plant(machine: PlantedMachine) -> None:
        lines = [line.split(":") for line in machine.path("/etc/shadow").read_text(encoding="utf-8").splitlines()]
        for line in lines:
            if line[0] == "ada":
                line[field] = value(line[field])
        machine.path("/etc/shadow").write_text("".join(":".join(line) + "\n" for line in lines), encoding="utf-8")

    return plant


def stub(real: str | None) -> Callable[[PlantedMachine], object]:
    """Ada has the login shell stub, and behind it `real`."""
    steps = [edit("/etc/passwd", f"ada:x:{ADA}:{ADA}::/home/ada:/bin/sh", f"ada:x:{ADA}:{ADA}::/home/ada:{STUB}")]
    return several(*steps, *([] if real is None else [add("/etc/pyhome-shells", f"ada:{real}\n")]))


def no_stub(machine: PlantedMachine) -> None:
    machine.run(["/usr/sbin/usermod", "--shell", "/bin/sh", "ada"])
    machine.path("/etc/pyhome-shells").unlink(missing_ok=True)


def _kept(machine: PlantedMachine) -> None:
    """Copies of ada's key files, as a login leaves them."""
    machine.run(["/bin/sh", "-ec", f"install -d -m 0700 {KEPT}; cp {KEYS}/P* {KEYS}/w* {KEPT}"])


def _save(machine: PlantedMachine) -> None:
    """Ada's password and key files as they are."""
    save = f"rm -rf /mnt/saved; mkdir /mnt/saved; cp -a /etc/shadow {KEYS} /mnt/saved; cp -a {KEPT} /mnt/saved/kept"
    machine.run(["/bin/sh", "-ec", save])


def _put_back(machine: PlantedMachine) -> None:
    saved = f"cp -a /mnt/saved/shadow /etc; rm -r {KEYS} {KEPT}; cp -a /mnt/saved/.ecryptfs {KEYS}; cp -a /mnt/saved/kept {KEPT}"
    machine.run(["/bin/sh", "-ec", saved])


def _old_tree(machine: PlantedMachine) -> None:
    machine.edit("/usr/lib/pyhome/pam_pyhome/__init__.py", '__version__ = "', '__version__ = "9')
    # The command is of the new version still, as while a package is being installed.
    machine.run(["/bin/sh", "-ec", "rm -rf /opt/older; cp -r /usr/lib/pyhome /opt/older"])
    machine.edit("/opt/older/pam_pyhome/__init__.py", '__version__ = "9', '__version__ = "')
    machine.edit("/usr/bin/pyhome", "/usr/lib/pyhome", "/opt/older")


def _kill_daemon(machine: PlantedMachine) -> None:
    machine.run(["/bin/sh", "-c", "kill -KILL $(grep -l '[p]yhome/pyhomed' /proc/[0-9]*/cmdline | cut -d/ -f3)"])


def _stop_daemon(machine: PlantedMachine) -> None:
    machine.run(["/bin/sh", "-c", "kill -STOP $(grep -l '[p]yhome/pyhomed' /proc/[0-9]*/cmdline | cut -d/ -f3)"])


def _protector(machine: PlantedMachine) -> Path:
    """Flo's login protector: that whose copy is not of a recovery key."""
    for path in machine.path("/.fscrypt/protectors").iterdir():
        return path
    raise AssertionError


def _lose_protector(machine: PlantedMachine) -> None:
    path = _protector(machine)
    machine.path(f"/var/lib/pyhome/{FLO}.flo/fscrypt-protector-{path.name}").unlink(missing_ok=True)
    path.unlink()


def _policy(machine: PlantedMachine) -> Path:
    (path,) = machine.path("/home/.fscrypt/policies").iterdir()
    return path


CASES = {
    # The kernel
    "no eCryptfs in the kernel": Case(
        over("/proc/filesystems", "nodev\tproc\n"), "kernel.ecryptfs", "has no eCryptfs", "fail", trees=("debian12", "arch"),
        after=over("/proc/filesystems", "nodev\tecryptfs\n"),
    ),
    "eCryptfs is forbidden": Case(
        several(over("/proc/filesystems", "\text4\n"), add("/etc/modprobe.d/x.conf", "# no\ninstall ecryptfs /bin/false\n")),
        "kernel.ecryptfs", "/etc/modprobe.d/x.conf:2", "fail", trees=("debian12", "fedora"),
        edits=(("install ecryptfs /bin/false\n", ""),), after=over("/proc/filesystems", "nodev\tecryptfs\n"),
    ),
    # What is installed
    "no module": Case(remove(MODULE), "module.shim", "is not where", "fail", trees=TREES, beside=("pam.module",)),
    "two modules": Case(add("/usr/lib/security/pam_pyhome.so", "other"), "module.shim", "more than once"),
    "a module for all to write": Case(mode(MODULE, 0o666), "module.shim", "others than root", "fail"),
    "a worker of a user's": Case(owner(WORKER, ADA), "module.programs", "others than root", "fail"),
    "no worker": Case(remove(WORKER), "module.programs", "no home opens", "fail", trees=ARCH),
    "a worker that cannot run": Case(mode(WORKER, 0o644), "module.programs", "cannot be run", "fail", trees=FEDORA),
    "half a tree": Case(
        remove("/usr/lib/pyhome/pam_pyhome/host/worker.py"), "module.versions", "does not load", "fail", trees=TRIXIE
    ),
    "two versions": Case(_old_tree, "module.versions", "this command is", "fail"),
    "a configuration of a user's": Case(owner("/etc/pyhome.conf", ADA), "module.config", "does not count", "fail"),
    "an unknown setting": Case(
        add("/etc/pyhome.conf", "keyring = everywhere\n"), "module.config", "keyring=everywhere", trees=("debian12", "arch"),
        edits=(("keyring = everywhere\n", ""),),
    ),
    "no sockets": Case(
        remove("/run/pyhomed.sock", "/run/pyhome-unlock.sock"), "module.daemon", "not there", trees=("debian12", "arch")
    ),
    "no socket of root's": Case(remove("/run/pyhomed.sock"), "module.daemon", "not there: "),
    "pyhomed is dead": Case(_kill_daemon, "module.daemon", "does not answer", trees=("debian13", "fedora")),
    "pyhomed hangs": Case(_stop_daemon, "module.daemon", "no answer in time"),
    "a socket for everybody": Case(mode("/run/pyhomed.sock", 0o666), "module.daemon", "0666", "fail"),
    "a socket for root only": Case(mode("/run/pyhome-unlock.sock", 0o600), "module.daemon", "not to root with 0666", "fail"),
    "state for everybody": Case(
        run("/bin/sh", "-c", "mkdir -p /run/pyhome; chmod 755 /run/pyhome"), "module.run", "root's alone", "fail"
    ),
    # Accounts
    "a locked account": Case(shadow(1, "!{}".format), "account.locked", "is locked", trees=("debian12", "fedora")),
    "an expired account": Case(shadow(7, lambda _: "100"), "account.expired", "ada: has expired"),
    "an account without password": Case(
        shadow(1, lambda _: ""), "account.password", "without a password", "fail", answers=(PASSWORD, PASSWORD)
    ),
    "a shell that is gone": Case(
        edit("/etc/passwd", ":/home/ada:/bin/sh", ":/home/ada:/opt/zsh"), "account.shell", "/opt/zsh", "fail",
        trees=("debian12", "arch"), after=no_stub,
    ),
    "nobody may log in": Case(add("/etc/nologin", "soon\n"), "account.nologin", "/etc/nologin", trees=("debian12", "arch")),
    # Key files of an eCryptfs home
    "a key file is damaged, there is a copy": Case(
        several(_kept, write(f"{KEYS}/wrapped-passphrase", "")), "keys.file", "the copy in /var/lib/pyhome", answers=("y",),
    ),
    "a key file is missing, there is a copy": Case(
        several(_kept, remove(f"{KEYS}/wrapped-passphrase")), "keys.file", "is missing; the copy", answers=("y",), trees=ARCH
    ),
    "a key file is another's, there is a copy": Case(
        several(_kept, owner(f"{KEYS}/wrapped-passphrase", BOB)), "keys.file", "does not count", answers=("y",), trees=FEDORA
    ),
    "signatures of another home": Case(
        several(_kept, write(f"{KEYS}/Private.sig", "0123456789abcdef\nfedcba9876543210\n")), "keys.file", "names other keys",
        answers=("y",),
    ),
    "no mount point is named": Case(
        several(remove(f"{KEYS}/Private.mnt", KEPT)), "keys.file", "Private.mnt of ada: is missing", beside=("keys.mountpoint",)
    ),
    "a mount point of the user's that is gone": Case(
        write(f"{KEYS}/Private.mnt", "/home/ada/elsewhere\n"), "keys.mountpoint", "cannot be mounted on", "fail"
    ),
    "a key file for all to read": Case(
        several(mode(f"{KEYS}/wrapped-passphrase", 0o644), mode(KEYS, 0o755)), "keys.secrecy", "read by others"
    ),
    "not opened at login": Case(remove(f"{KEYS}/auto-mount"), "keys.wishes", "opened at login", trees=("debian12", "fedora")),
    "not closed at logout": Case(remove(f"{KEYS}/auto-umount"), "keys.wishes", "closed at logout"),
    "no recovery key": Case(
        remove(f"{KEYS}/recovery-wrapped-passphrase"), "keys.recovery", "has no recovery key", answers=(PASSWORD,), trees=TREES
    ),
    "ciphertext of root's": Case(owner(LOWER, 0), "keys.owner", "is that of root", "fail", trees=("debian12", "arch")),
    "ciphertext of another uid": Case(owner(LOWER, 62222), "keys.owner", "is that of uid 62222", "fail", answers=("y",)),
    "a mount point of root's": Case(owner("/home/ada", 0), "keys.mountpoint", "belongs to uid 0", "fail"),
    "nothing to mount on": Case(run("/bin/rmdir", "/home/ada"), "keys.mountpoint", "cannot be mounted on", "fail"),
    "plain files in the locked home": Case(
        several(write("/home/ada/letter", "plain\n"), write("/home/ada/a 'strange' name", "plain\n")), "keys.plain",
        "has 2 entries without encryption", trees=("debian12", "arch"), after=remove("/home/ada.not-encrypted"),
    ),
    "the home from before": Case(
        run("/bin/mkdir", "-m", "0700", "/home/ada.Xb3dE9aZ"), "plain.copy", "/home/ada.Xb3dE9aZ", trees=("debian12", "fedora")
    ),
    "a password that was reset": Case(
        several(_save, lambda machine: machine.type("passwd ada", "another one", "another one")), "keys.reset",
        "waits for the old one", answers=(PASSWORD, "another one", "another one"), after=_put_back,
    ),
    # Metadata of an fscrypt home
    "a protector for all to write": Case(
        lambda machine: _protector(machine).chmod(0o666), "keys.slot", "can be changed by others", trees=("debian12", "debian13")
    ),
    "a policy of another's": Case(
        lambda machine: os.chown(_policy(machine), 62222, 62222), "keys.owner", "is that of uid 62222", "fail", answers=("y",),
        trees=("debian12", "fedora"),
    ),
    "an fscrypt home for all to write": Case(mode("/home/flo", 0o777), "keys.mode", "mode 0777", trees=("debian12", "debian13")),
    "the protector is lost": Case(
        _lose_protector, "keys.slot", "has lost the protector", "fail", trees=("debian12", "arch"),
        answers=(FLO_KEY, PASSWORD, PASSWORD),
    ),
    # Sessions
    "a record that is not true": Case(
        lambda machine: machine.record_open(ADA, "/home/ada", device=os.makedev(7, 7)), "leases.record", "is open nowhere"
    ),
    "a record that is none": Case(
        several(DoctorMachine.record_home, write("/run/pyhome/61001/open", "rubbish", 0)), "leases.record", "understood"
    ),
    "lingering": Case(add("/var/lib/systemd/linger/ada", ""), "lingering", "lingers", trees=("debian12", "arch")),
    # The login shell
    "no real shell": Case(
        stub(None), "shell.real", "no real shell", "fail", trees=("debian12", "fedora"), answers=("y",), after=no_stub
    ),
    "the real shell is gone": Case(
        stub("/opt/zsh"), "shell.real", "cannot be run", "fail", trees=("debian12", "arch"), answers=("y",), after=no_stub
    ),
    "the login shell is not listed": Case(
        several(stub("/bin/bash"), edit("/etc/shells", f"{STUB}\n", "")), "shell.listed", "refuse", trees=("debian12", "arch"),
        after=no_stub,
    ),
    "real shells of a user's": Case(
        several(stub("/bin/bash"), owner("/etc/pyhome-shells", ADA)), "shell.real", "does not count", "fail", after=no_stub
    ),
    # sshd
    "sshd without PAM": Case(
        edit(SSHD, "UsePAM yes", "UsePAM no"), "sshd.pam", "no home opens", "fail", trees=("debian12", "arch")
    ),
    "sshd does not start": Case(
        add(SSHD, "UsePAMM yes\n"), "sshd.config", "UsePAMM", "fail", edits=(("UsePAMM yes\n", ""),), trees=("debian12", "fedora")
    ),
    "internal sftp": Case(
        edit(SSHD, "/usr/lib/openssh/sftp-server", "internal-sftp"), "sshd.sftp", "bypasses", trees=("debian12", "arch"),
        edits=(("internal-sftp", "/usr/lib/openssh/sftp-server"),),
    ),
    # The PAM files, as far as their advice does not depend on how they came about
    "a file for everybody": Case(mode("/etc/pam.d/login", 0o666), "pam.owner", "others than root", "fail", trees=TREES),
    "a line that is none": Case(
        add("/etc/pam.d/su", "sesion optional pam_umask.so\n"), "pam.syntax", "sesion is no kind", "fail",
        edits=(("sesion optional pam_umask.so\n", ""),), trees=("debian12", "arch", "fedora"), beside=("pam.refused",),
    ),
    # Memory on disk
    "setuid dumps": Case(over("/proc/sys/fs/suid_dumpable", "1\n"), "dumps.setuid", "anybody may read", trees=TREES),
    "dumps to a directory": Case(
        over("/proc/sys/kernel/core_pattern", "/var/crash/%p\n"), "dumps.place", "outside of encrypted", trees=("debian12", "arch")
    ),
    "dumps to systemd": Case(
        over("/proc/sys/kernel/core_pattern", "|/usr/lib/systemd/systemd-coredump %P\n"), "dumps.place", "outside",
        trees=("debian12", "fedora"), after=over("/proc/sys/kernel/core_pattern", "core\n"),
    ),
    "a disk is read-only": Case(run("/bin/mount", "-o", "remount,ro", "/home"), "disk.readonly", "cannot be written", "fail"),
}  # fmt: skip


@matrix(CASES)
def test_it_is_found_and_cured(planted: PlantedMachine, case: Case) -> None:
    planted.prove(case)
