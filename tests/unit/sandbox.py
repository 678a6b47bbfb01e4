"""A user and mount namespace in which the real eCryptfs tools and ours run: with its own user keyring and its own home.

In it, uid 0 has its home at a directory of the test, and the kernel seems to support filename encryption, which the real tools
ask before they add keys.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
OURS = (sys.executable, "-B", "-m", "pam_pyhome", "ecryptfs")
REAL = {
    "unwrap": "ecryptfs-unwrap-passphrase",
    "wrap": "ecryptfs-wrap-passphrase",
    "rewrap": "ecryptfs-rewrap-passphrase",
    "add-passphrase": "ecryptfs-add-passphrase",
    "insert": "ecryptfs-insert-wrapped-passphrase-into-keyring",
}
_SETUP = """
set -e
printf 'root:x:0:0:root:%s:/bin/sh\\n' "$1" > "$1.passwd"
mount --bind "$1.passwd" /etc/passwd
mount -t tmpfs tmpfs /sys/fs
mkdir /sys/fs/ecryptfs
echo 375 > /sys/fs/ecryptfs/version
shift
exec "$@"
"""
Ran = subprocess.CompletedProcess[bytes]


class Sandbox:
    """Runs commands; each run has a fresh keyring, all of them share the `home`."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.home.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """What commands find: ours on the path of Python, messages in English."""
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}

    def argv(self, *command: str | bytes) -> list[str | bytes]:
        """The command line that runs `command` inside."""
        entry = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _SETUP, "sh", str(self.home))
        return [*entry, *command]

    def run(self, *command: str | bytes, stdin: bytes = b"") -> Ran:
        """Run a command to its end."""
        return subprocess.run(
            self.argv(*command),
            input=stdin,
            capture_output=True,
            check=False,
            timeout=60,
            cwd=self.home,
            env=self.environment,
        )

    def ours(self, *arguments: str | bytes, stdin: bytes = b"") -> Ran:
        """Run ``pyhome ecryptfs``."""
        return self.run(*OURS, *arguments, stdin=stdin)

    def real(self, verb: str, *arguments: str | bytes, stdin: bytes = b"") -> Ran:
        """Run the tool of ecryptfs-utils that our verb stands for."""
        return self.run(REAL[verb], *arguments, stdin=stdin)

    def shell(self, script: str, *arguments: str | bytes, stdin: bytes = b"") -> Ran:
        """Run a script with the arguments as ``$@`` and a session keyring of its own."""
        return self.run("keyctl", "session", "-", "sh", "-e", "-c", script, "sh", *arguments, stdin=stdin)


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """A sandbox with an empty home."""
    return Sandbox(tmp_path)
