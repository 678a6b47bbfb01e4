"""Throw-away Debian systems to install packages in: a cached root made by mmdebstrap, under a layer in memory.

Nothing is started in them, and nothing that happens in them can be seen outside: each lives in name spaces of its own and
vanishes with the test.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

SUITES = ("bookworm", "trixie")

#: Whatever has a profile for pam-auth-update beside ours, so that the order can be seen; and what our package depends on.
PACKAGES = (
    "ecryptfs-utils", "libargon2-1", "libkeyutils1", "libpam-cap", "libpam-fscrypt", "libpam-mount", "libpam-runtime",
    "libpam-systemd", "pamtester", "python3", "python3-click", "python3-rich", "rsync", "systemd",
)  # fmt: skip

#: For the machines of tests that need the sshd of another release than the one they run on.
OPENSSH = (
    "libargon2-1", "libkeyutils1", "mount", "openssh-client", "openssh-server", "passwd", "procps", "python3", "python3-click",
    "python3-rich", "util-linux",
)  # fmt: skip

#: Makes the layer in memory, says so, and stays. $1: the cached root, $2: an empty directory.
_HOLD = """
mount -t tmpfs -o mode=0755 tmpfs "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" overlay "$2/root"
mount -t proc proc "$2/root/proc"
mount -t tmpfs -o mode=0755 tmpfs "$2/root/run"
mount --bind /dev/null "$2/root/dev/null"
echo ready
exec sleep infinity
"""


def cached_root(suite: str, packages: tuple[str, ...] = PACKAGES, purpose: str = "packaging") -> Path:
    """The directory with the root of ``suite``, made first if the cache in ``$PYHOME_CACHE`` has none. Takes about a minute."""
    cache = Path(os.environ.get("PYHOME_CACHE") or "/var/cache/pyhome-tests")
    cache.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(repr((suite, packages)).encode()).hexdigest()[:16]
    target = cache / f"{purpose}-{suite}-{key}"
    with (cache / f"{purpose}-{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            for old in cache.glob(f"{purpose}-{suite}-*"):
                shutil.rmtree(old)
            _make_root(suite, packages, target)
    return target


def _make_root(suite: str, packages: tuple[str, ...], target: Path) -> None:
    """Make the root beside `target` and move it there when it is complete."""
    unfinished = target.with_name(target.name + ".new")
    options = [
        "--mode=root",
        "--variant=apt",
        f"--include={','.join(packages)}",
        '--aptopt=APT::Install-Recommends "false"',
        # Suites that change daily go out of date, and a mirror may be behind.
        '--aptopt=Acquire::Check-Valid-Until "false"',
    ]
    done = subprocess.run(
        ["mmdebstrap", *options, suite, str(unfinished)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise RuntimeError(f"mmdebstrap {suite} failed:\n{done.stdout[-4000:]}")
    unfinished.rename(target)


class Chroot:
    """One such system, for the length of a ``with`` statement. `directory` must be empty; it is used as a mount point."""

    def __init__(self, suite: str, directory: Path) -> None:
        self.suite = suite
        self._directory = directory
        self._holder: subprocess.Popen[str] | None = None
        self._pid = 0

    def __enter__(self) -> Self:
        """Mount it."""
        root = cached_root(self.suite)
        argv = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-euc",
            _HOLD,
            "sh",
            str(root),
            str(self._directory),
        ]
        self._holder = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            raise RuntimeError(f"no chroot on {root}: exit status {self._holder.wait()}")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        self._pid = int(children.read_text().split()[0])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything in it; its mounts go with the namespace."""
        if self._holder is not None:
            self._holder.kill()
            self._holder.communicate()

    @property
    def path(self) -> Path:
        """Its root directory as seen from outside."""
        return Path(f"/proc/{self._pid}/root{self._directory}/root")

    def run(self, script: str, *, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell script in it as root, at most ten minutes; with `check`, AssertionError if it fails."""
        variables = [
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LC_ALL=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
        ]
        enter = ["nsenter", f"--target={self._pid}", "--mount", "--pid", "chroot", f"{self._directory}/root"]
        argv = [*enter, "env", "-i", *variables, "sh", "-euc", script]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, errors="replace", timeout=600)
        assert not check or done.returncode == 0, f"{self.suite}: {script}\n{done.stdout}{done.stderr}"
        return done

    def copy_in(self, source: Path) -> str:
        """Copy a file to /tmp in it; the path there, quoted for the shell."""
        shutil.copy(source, self.path / "tmp" / source.name)
        return shlex.quote(f"/tmp/{source.name}")

    def snapshot(self, *directories: str) -> dict[str, tuple[int, bytes]]:
        """Mode and contents of all files below `directories` (absolute paths)."""
        found: dict[str, tuple[int, bytes]] = {}
        for directory in directories:
            for path in sorted((self.path / directory.lstrip("/")).rglob("*")):
                if path.is_file():
                    found[str(path.relative_to(self.path))] = (path.stat().st_mode, path.read_bytes())
        return found
