"""A test machine whose `/home` is an ext4 file system that can encrypt, with the real `fscrypt` and `pam_fscrypt.so` beside ours.

The file system is an image on a loop device that ends with the machine, whatever becomes of the test.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.login.homes import LoginMachine, answers, crypt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.pam.harness import Machine

MEBIBYTE = 1 << 20
LOOPS = 64
# As low as Argon2 goes, so that tests take no time; what the costs are makes no difference to anything else.
COSTS = {"time": "1", "memory": "64", "parallelism": "2", "truncation_fixed": True}
CONFIG = {
    "source": "custom_passphrase",
    "hash_costs": COSTS,
    "options": {"padding": "32", "contents": "AES_256_XTS", "filenames": "AES_256_CTS", "policy_version": "2"},
    "use_fs_keyring_for_v1_policies": False,
    "allow_cross_user_metadata": False,
}

# What Debian's libpam-fscrypt puts behind pam_unix.
PAM_FSCRYPT = """
auth required pam_unix.so
auth optional pam_fscrypt.so
account required pam_permit.so
session required pam_permit.so
session optional pam_fscrypt.so
password required pam_unix.so sha512
password optional pam_fscrypt.so
"""


def make_image(path: Path, size: int = 32 * MEBIBYTE, features: str = "encrypt", inodes: int = 2048) -> None:
    """An ext4 image."""
    with path.open("wb") as file:
        file.truncate(size)
    command = ["/sbin/mkfs.ext4", "-q", "-b", "4096", "-O", features, "-N", str(inodes), str(path)]
    subprocess.run(command, check=True, capture_output=True)


def mount_image(machine: Machine, image: Path, where: str) -> None:
    """Mount a copy of an image on a loop device that goes when the mount does."""
    if not machine.path("/dev/loop-control").exists():
        os.mknod(machine.path("/dev/loop-control"), stat.S_IFCHR | 0o600, os.makedev(10, 237))
        for number in range(LOOPS):
            os.mknod(machine.path(f"/dev/loop{number}"), stat.S_IFBLK | 0o600, os.makedev(7, number))
    for directory in (where, "/srv"):
        machine.path(directory).mkdir(exist_ok=True)
    inside = f"/srv/{image.name}{where.replace('/', '-')}"
    subprocess.run(["cp", "--sparse=always", str(image), str(machine.path(inside))], check=True)
    machine.run(["mount", "-o", "loop", inside, where])


class FscryptMachine(LoginMachine):
    """A machine with encryption: `/` and `/home` are set up for `fscrypt`, and `fscrypt` is a service with its PAM module."""

    def furnish_fscrypt(self, *, image: Path) -> None:
        """Mount the image, and have the real tool set everything up."""
        mount_image(self, image, "/home")
        self.path("/etc/fscrypt.conf").write_text(json.dumps(CONFIG), encoding="ascii")
        self.fscrypt("setup", "/", "--quiet", status=None)
        self.fscrypt("setup", "/home", "--quiet")
        self.write_stack("pam_fscrypt", PAM_FSCRYPT)
        for service in ("unix", "fscrypt"):  # the second is what the tool checks a login passphrase with
            self.write_stack(service, "auth required pam_unix.so nodelay\npassword required pam_unix.so sha512\n")

    def fscrypt(self, *arguments: str, said: str = "", status: int | None = 0, uid: int | None = None) -> str:
        """Run the real tool, which reads passphrases from its standard input; what it prints."""
        as_user: Sequence[str] = () if uid is None else ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
        command = self.enter([*as_user, "/usr/bin/fscrypt", *arguments], {})
        done = subprocess.run(command, input=said, capture_output=True, text=True, timeout=60)
        assert status is None or done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def add_fscrypt_home(self, name: str, uid: int, password: bytes) -> None:
        """An account whose home the real tool encrypts with the login password; it is left locked, with a file in it."""
        self.add_user(name, uid, password=crypt(password), encrypted=False)
        self.fscrypt(
            "encrypt", f"/home/{name}", "--source=pam_passphrase", f"--user={name}", "--quiet",
            said=password.decode() + "\n",
        )  # fmt: skip
        self.write_secret(name, uid)
        self.fscrypt("lock", f"/home/{name}", f"--user={name}", "--quiet")

    def write_secret(self, name: str, uid: int) -> None:
        """The file by which an open home is known."""
        secret = self.path(f"/home/{name}/secret")
        secret.write_text("written while open\n", encoding="ascii")
        os.chown(secret, uid, uid)

    def is_open(self, name: str = "ada") -> bool:
        """Whether the file that was written while the home was open can be read."""
        try:
            return self.path(f"/home/{name}/secret").read_text(encoding="ascii") == "written while open\n"
        except OSError:
            return False

    def protector(self) -> Path:
        """The one file with a protector on the root file system."""
        (found,) = self.path("/.fscrypt/protectors").iterdir()
        return found

    def policy(self) -> Path:
        """The one file with a policy on the file system of the homes."""
        (found,) = self.path("/home/.fscrypt/policies").iterdir()
        return found

    def inside(self, verb: str, *arguments: bytes) -> str:
        """Run `inside.py` in the machine; what it prints."""
        script = str(Path(__file__).parent / "inside.py")
        return self.run(["/usr/bin/python3", "-I", "-B", script, verb, *(value.hex() for value in arguments)]).strip()

    def log_in(self, password: bytes, *steps: str, service: str = "login", name: str = "ada") -> list[str]:
        """A login from its beginning to its end with `steps` in the middle; the lines that are no messages."""
        given = answers(password)
        said = self.pam(service, name, *given, "auth", "setcred", "open", *steps, "close")
        return [line for line in said if not line.startswith("message")]

    def opens(self, password: bytes, name: str = "ada") -> bool:
        """Whether the real tool opens the home with its login protector and this password; it is locked again."""
        protector = self.protector().name
        done = self.fscrypt(
            "unlock", f"/home/{name}", f"--unlock-with=/:{protector}", "--quiet", f"--user={name}",
            said=password.decode() + "\n", status=None,
        )  # fmt: skip
        opened = self.is_open(name)
        if opened:
            self.fscrypt("lock", f"/home/{name}", f"--user={name}", "--quiet")
        assert opened or done
        return opened


READ = "sh=ada:cat /home/ada/secret"
OPENED = ["auth 0", "setcred 0", "open 0", "written while open", "sh 0", "close 0"]
