"""`make test-large`: 20 000 files, encrypted and decrypted, killed at 50 points on the way; and how long copying takes.

``python -m tests.large.run [fscrypt] [ecryptfs]``: fscrypt in a name space of this machine, eCryptfs in a virtual machine.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.here import install as install_here
from tests.create.machine import PASSWORD, CreateMachine
from tests.fscrypt.homes import make_image
from tests.login.homes import ADA, crypt
from tests.pam.harness import Build
from tests.vm import people
from tests.vm.installed import install
from tests.vm.vm import VM

HERE = Path(__file__).parent
FILES = 20_000
SUITE = "trixie"
SIZE = 2 << 30
HOURS = 3 * 3600.0
PROGRAMS = ("inside.py", "stopped.py")


def fscrypt() -> None:
    """On an ext4 image of this machine."""
    with tempfile.TemporaryDirectory() as base:
        build, image = Build(Path(base), sanitized=False), Path(base) / "ext4"
        make_image(image, SIZE, inodes=8 * FILES)
        with CreateMachine(Path(base), build) as machine:
            install_here(machine)
            machine.furnish_fscrypt(image=image)
            machine.furnish_create()
            machine.add_user("ada", ADA, password=crypt(PASSWORD), encrypted=False)
            machine.create("bob")
            machine.path("/root/password").write_bytes(PASSWORD)
            for name in PROGRAMS:
                shutil.copy(HERE / name, machine.path("/root"))
            command = ["/usr/bin/python3", "-I", "-u", "/root/inside.py", "fscrypt", "ada", "bob", str(FILES)]
            subprocess.run(machine.enter(command, {}), check=True)


def ecryptfs() -> None:
    """With the kernel of a Debian machine."""
    machine = VM(SUITE)
    try:
        machine.start()
        install(machine)
        people.add_user(machine, "ada")
        machine.run("pyhome create --backend ecryptfs --password-file - bob", stdin=f"{people.PASSWORD}\n")
        machine.write("/root/password", people.PASSWORD)
        for name in PROGRAMS:
            machine.put(HERE / name, f"/root/{name}")
        command = f"python3 -I -u /root/inside.py ecryptfs ada bob {FILES}"
        machine.relay(command, timeout=HOURS)
    finally:
        machine.stop()


def main() -> None:
    """Both, or what is named."""
    for backend in sys.argv[1:] or ("fscrypt", "ecryptfs"):
        {"fscrypt": fscrypt, "ecryptfs": ecryptfs}[backend]()


if __name__ == "__main__":
    main()
