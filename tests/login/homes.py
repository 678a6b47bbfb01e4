"""A test machine with the real worker in it, and encrypted homes made by ecryptfs-utils.

The kernel of the machine that runs the tests need not have eCryptfs: a home that was opened is one whose mount was tried.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pam_pyhome.formats.ecryptfs_key import SALT_DEFAULT, derive_key, wrapping_passphrase
from tests.pam.harness import REPOSITORY, Machine, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# A known answer: see `anchor` in the vectors' description of the derivation.
MOUNT_PASSPHRASE = b"0123456789abcdef0123456789abcdef"
FEKEK, FNEK = "849d6b79848a0296", "9487d0e1beb5be83"

SUCCESS, SYSTEM_ERR, AUTH_ERR, AUTHINFO_UNAVAIL, USER_UNKNOWN, AUTHTOK_ERR, AUTHTOK_RECOVERY_ERR = 0, 4, 7, 9, 10, 20, 21
ADA, BOB = 61001, 61002

# Debian's common-auth and the like with the packages' lines at the end, as pam-auth-update writes them.
DEBIAN = """
auth	[success=1 default=ignore]	pam_unix.so nullok
auth	requisite			pam_deny.so
auth	required			pam_permit.so
auth	optional	pam_pyhome.so unwrap {arguments}
account	[success=1 new_authtok_reqd=done default=ignore]	pam_unix.so
account	requisite			pam_deny.so
account	required			pam_permit.so
account	[success=ok perm_denied=bad acct_expired=bad default=ignore]	pam_pyhome.so {arguments}
session	[default=1]			pam_permit.so
session	requisite			pam_deny.so
session	required			pam_permit.so
session	optional	pam_pyhome.so {arguments}
password	[success=1 default=ignore]	pam_unix.so obscure sha512
password	requisite			pam_deny.so
password	required			pam_permit.so
password	[success=ok authtok_err=bad authtok_recover_err=bad authtok_lock_busy=bad try_again=bad perm_denied=bad system_err=bad default=ignore]	pam_pyhome.so {arguments}
"""  # noqa: E501 - a PAM rule is one line

Snapshot = dict[str, tuple[object, ...]]


def crypt(password: bytes) -> str:
    """What /etc/shadow keeps of a password."""
    command = ["openssl", "passwd", "-6", "-salt", "saltsalt", "-stdin"]
    return subprocess.run(command, input=password + b"\n", capture_output=True, check=True).stdout.decode().strip()


def answers(*passwords: bytes) -> list[str]:
    """Steps of the test application that queue passwords, whatever bytes they are of."""
    return [f"answerx={password.hex()}" for password in passwords]


class LoginMachine(Machine):
    """A test machine with everything of pyhome in its place, and Debian's stack as the service `login`."""

    def furnish(self, tree: Path) -> None:
        """Put the worker, the daemon and the compiled `tree` of modules where the packages put them."""
        here = self.path("/usr/lib/pyhome")
        shutil.copytree(tree, here / "pam_pyhome")
        for name in ("pyhome-worker", "pyhomed"):
            shutil.copy(REPOSITORY / "packaging/files" / name, here / name)
        self.write_debian("login")

    def write_debian(self, service: str, arguments: str = "") -> None:
        """A service with Debian's stack."""
        self.write_stack(service, DEBIAN.format(arguments=arguments))

    def add_home(self, name: str, uid: int, password: bytes, *, login: bytes | None = None) -> None:
        """An account whose home is encrypted as `ecryptfs-migrate-home` leaves it, wrapped by the real tool.

        `login`: the login password, if it is not the home's.
        """
        self.add_user(name, uid, password=crypt(password if login is None else login))
        config = self.config(name)
        lower = config.parent / ".Private"
        lower.mkdir(mode=0o700)
        os.chown(lower, uid, uid)
        (config / "wrapped-passphrase").unlink()
        wrap(config / "wrapped-passphrase", password)
        (config / "Private.sig").write_text(f"{FEKEK}\n{FNEK}\n", encoding="ascii")
        (config / "Private.mnt").write_text(f"/home/{name}\n", encoding="ascii")
        for flag in ("auto-mount", "auto-umount"):
            (config / flag).touch()
        for path in config.iterdir():
            path.chmod(0o600)
            os.chown(path, uid, uid)
        for entry in (".ecryptfs", ".Private"):
            self.path(f"/home/{name}/{entry}").symlink_to(f"/home/.ecryptfs/{name}/{entry}")

    def config(self, name: str) -> Path:
        """The configuration directory of a home, from outside."""
        return self.path(f"/home/.ecryptfs/{name}/.ecryptfs")

    def wrapped(self, name: str = "ada") -> Path:
        """The key file of a home, from outside."""
        return self.config(name) / "wrapped-passphrase"

    def kept(self, name: str = "ada", uid: int = ADA) -> Path:
        """The directory with the good copies, from outside."""
        return self.path(f"/var/lib/pyhome/{uid}.{name}")

    def keep_copies(self, name: str = "ada", uid: int = ADA) -> None:
        """What a login with a mounted home leaves: copies of the key files that only root can reach."""
        directory = self.kept(name, uid)
        for path in (directory.parent, directory):
            path.mkdir(mode=0o700, exist_ok=True)
        for file in ("wrapped-passphrase", "Private.sig", "Private.mnt"):
            shutil.copyfile(self.config(name) / file, directory / file)

    def log(self) -> str:
        """The system log so far, with all that has been sent to it: a line of our own has come out at the other end."""
        mark = f"mark {time.monotonic_ns()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(str(self.path("/dev/log")))
            sender.send(mark.encode())
        assert eventually(lambda: mark in super(LoginMachine, self).log())
        return "".join(line for line in super().log().splitlines(keepends=True) if not line.startswith("mark "))

    def opens(self, password: bytes, name: str = "ada") -> bool:
        """Whether the real `ecryptfs-unwrap-passphrase` gets the mount passphrase out of the key file."""
        return unwrap(self.wrapped(name), password) == MOUNT_PASSPHRASE

    def logs_in(self, password: bytes, name: str = "ada") -> bool:
        """Whether pam_unix takes the password."""
        return self.pam("unix", name, *answers(password), "auth")[-1] == "auth 0"

    @contextmanager
    def background(self, arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
        """A command that runs beside the test, its standard streams piped, and is killed at the end if it has not ended by then."""
        with subprocess.Popen(self.enter(arguments, {}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                kill(process)

    def snapshot(self, *directories: str) -> Snapshot:
        """Everything about every file below the directories that an intrusion could have changed."""
        found: Snapshot = {}
        for directory in directories:
            for root, folders, files in os.walk(self.path(directory)):
                for entry in (".", *folders, *files):
                    path = Path(root) / entry
                    found[str(path)] = _describe(path)
        return found


def pyhomed() -> list[str]:
    """The daemon's command line, with no more capabilities than its unit leaves it."""
    unit = (REPOSITORY / "packaging/files/pyhomed.service").read_text(encoding="ascii")
    (line,) = [line for line in unit.splitlines() if line.startswith("CapabilityBoundingSet=")]
    names = [f"+{name.lower()}" for name in line.partition("=")[2].replace("CAP_", "").split()]
    # In the place of the unit's LimitMEMLOCK, which not every machine may raise.
    confined = ["setpriv", "--no-new-privs", f"--bounding-set={','.join(['-all', '+ipc_lock', *names])}"]
    return [*confined, "/usr/bin/python3", "-ISB", "/usr/lib/pyhome/pyhomed"]


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to what `nsenter` runs in the machine. The children that it has left live on."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
        for child in children.split():
            os.kill(int(child), signal.SIGKILL)


def first_line(process: subprocess.Popen[str]) -> str:
    """The next line that a command in the background prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


AS_ADA = ("setpriv", f"--reuid={ADA}", f"--regid={ADA}", "--clear-groups")


def _describe(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    kind = stat.S_IFMT(status.st_mode)
    content: object = None
    if stat.S_ISREG(status.st_mode) and status.st_size <= 1 << 20:
        with contextlib.suppress(OSError):  # of a locked home
            content = path.read_bytes()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    return kind, status.st_mode, status.st_uid, status.st_gid, status.st_size * (kind == stat.S_IFREG), content


def _tool(arguments: Sequence[str], said: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(arguments, input=said, capture_output=True, check=False)


def wrap(path: Path, password: bytes, passphrase: bytes = MOUNT_PASSPHRASE) -> None:
    """Make a key file with the real tool, which knows passwords of up to 64 bytes only, for the owner of the directory."""
    done = _tool(["ecryptfs-wrap-passphrase", str(path), "-"], passphrase + b"\n" + wrapping_passphrase(password))
    assert done.returncode == 0, done
    owner = path.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


def version_1(password: bytes) -> bytes:
    """A key file as ecryptfs-utils wrote it until 2014. No tool does so any more; `openssl` is the cipher."""
    key = derive_key(password, SALT_DEFAULT)
    command = ["openssl", "enc", "-aes-128-ecb", "-nopad", "-K", key.key[:16].hex()]
    return key.signature.encode() + subprocess.run(command, input=MOUNT_PASSPHRASE, capture_output=True, check=True).stdout


def unwrap(path: Path, password: bytes) -> bytes | None:
    """The passphrase in a key file, or None, by the real tool. Longer passwords count as docs/man/pam_pyhome.8 says."""
    wrapping = password if len(password) <= 64 else hashlib.sha256(password).hexdigest().encode()
    done = _tool(["ecryptfs-unwrap-passphrase", str(path), "-"], wrapping)
    return done.stdout.rstrip(b"\n") if done.returncode == 0 else None


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """The paths in which two snapshots differ, as the machine names them."""
    return sorted(
        "/" + path.partition("/root/")[2] for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    )
