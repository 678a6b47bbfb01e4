"""The machine with an sshd, with all of pyhome installed: for what happens when sessions begin and end.

The kernel need not have eCryptfs: a home that was opened is one whose mount was tried, an open one is one on record as open.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import TYPE_CHECKING

from tests.login.homes import crypt, kill, pyhomed, wrap
from tests.pam.harness import MODULES, REPOSITORY, Build, Machine, eventually
from tests.sshd.harness import ADA, SshdMachine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "correct horse"
SIGNATURES = "849d6b79848a0296\n9487d0e1beb5be83\n"
CONFIG_DIRECTORY = "/home/.ecryptfs/ada/.ecryptfs"
STACK = """\
auth required pam_unix.so
account required pam_permit.so
session required pam_permit.so
session optional pam_pyhome.so
"""


class FullMachine(SshdMachine):
    """Use as a context manager. Ada's home is encrypted and opens with `PASSWORD`, which is no login password."""

    def __init__(self, base: Path, build: Build) -> None:
        super().__init__(base)
        self.build = build

    def _furnish(self) -> None:
        Machine._furnish(self)
        super()._furnish()
        self.install(self.path("/"))
        self.write_stack("sshd", STACK)
        self.write_stack("login", STACK)
        self._encrypt_ada()

    def install(self, root: Path) -> None:
        """Put everything where the packages put it."""
        places = [f"DESTDIR={root}", f"PAMDIR={MODULES}", f"SHIM={self.build.module}"]
        subprocess.run(["make", "-s", "-f", "packaging/install.mk", "install", *places], cwd=REPOSITORY, check=True)

    def _encrypt_ada(self) -> None:
        directory = self.path(CONFIG_DIRECTORY)
        directory.mkdir(parents=True)
        lower = directory.parent / ".Private"
        lower.mkdir(mode=0o700)
        for path in (directory, lower):
            os.chown(path, ADA, ADA)
        wrap(directory / "wrapped-passphrase", PASSWORD.encode())
        (directory / "Private.sig").write_text(SIGNATURES, encoding="ascii")
        (directory / "Private.mnt").write_text("/home/ada\n", encoding="ascii")
        for name in ("auto-mount", "auto-umount"):
            (directory / name).touch()
        for path in directory.iterdir():
            path.chmod(0o600)
            os.chown(path, ADA, ADA)

    def log(self) -> str:
        """The system log, with what is on its way to it."""
        time.sleep(0.3)
        return super().log()

    def set_password(self, user: str, password: str) -> None:
        """The login password."""
        path = self.path("/etc/shadow")
        lines = path.read_text(encoding="utf-8").splitlines()
        hashed = crypt(password.encode())
        changed = [f"{user}:{hashed}:19000:0:99999:7:::" if line.startswith(f"{user}:") else line for line in lines]
        path.write_text("\n".join([*changed, ""]), encoding="utf-8")

    def record_home(self) -> None:
        """Put ada's home on record as open."""
        self.record_open(ADA, "/home/ada")
        record = self.state(ADA) / "open"
        record.write_text(record.read_text(encoding="utf-8").replace("user=x", "user=ada"), encoding="utf-8")

    def is_open(self) -> bool:
        """Whether the home is on record as open."""
        return (self.state(ADA) / "open").exists()

    @contextlib.contextmanager
    def daemon(self) -> Iterator[None]:
        """Pyhomed in the foreground, as under any init, killed at the end without warning."""
        command = self.enter(pyhomed(), {})
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True) as process:
            try:
                assert eventually(self.path("/run/pyhomed.sock").exists)
                yield
            finally:
                kill(process)
