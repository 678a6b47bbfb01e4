"""Disk images for the virtual machines: a Debian root made by mmdebstrap, cached by the hash of what went into it.

The image holds Debian's packages and the settings below, nothing of pyhome: the package under test is installed in the booted
machine as an administrator would do it, so a change to our code never rebuilds an image.

An image is a directory in the cache: ``disk.raw`` (ext4, never written again), ``vmlinuz``, ``initrd``, ``key`` and ``key.pub``
(root's ssh key).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITES = ("trixie", "bookworm")
#: Images of a suite kept in the cache besides the newest one.
KEEP_OLD = 1

PACKAGES = (
    "adduser", "at", "cron", "dbus", "dbus-user-session", "dmsetup", "e2fsprogs", "ecryptfs-utils", "fscrypt", "iproute2",
    "keyutils", "kmod", "libargon2-1", "libpam-fscrypt", "libpam-systemd", "linux-image-amd64", "login", "lsof", "openssh-client",
    "openssh-server", "pamtester", "passwd", "procps", "python3", "python3-click", "python3-keyutils", "python3-rich", "rsync",
    "strace", "sudo", "systemd-sysv", "udev", "util-linux",
)  # fmt: skip

#: Units that only cost time in a machine that lives for minutes.
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "getty@tty1.service", "logrotate.timer", "systemd-boot-update.service", "systemd-hwdb-update.service",
    "systemd-networkd-wait-online.service", "systemd-pstore.service", "systemd-timesyncd.service",
    "systemd-tmpfiles-clean.timer",
)  # fmt: skip

#: Units of every user's own service manager that nothing here uses.
MASKED_FOR_USERS = (
    "dirmngr.socket", "gpg-agent.socket", "gpg-agent-browser.socket", "gpg-agent-extra.socket", "gpg-agent-ssh.socket",
    "keyboxd.socket", "ssh-agent.socket",
)  # fmt: skip

#: Written into the root before the kernel is installed: an initrd that knows this machine's disk and nothing else.
INITRAMFS = {
    "etc/initramfs-tools/conf.d/vm": "MODULES=list\nCOMPRESS=gzip\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
}

#: Written into the finished root.
SETTINGS = {
    "etc/fstab": "/dev/vda / ext4 rw,noatime 0 1\ntmpfs /tmp tmpfs rw,nosuid,nodev 0 0\n",
    "etc/hostname": "vm\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 vm\n",
    "etc/systemd/network/eth0.network": "[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\nLinkLocalAddressing=no\n",
    "etc/systemd/journald.conf.d/vm.conf": "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n",
    "etc/ssh/sshd_config.d/vm.conf": "UseDNS no\nMaxStartups 100:30:200\nMaxSessions 100\n",
}

#: The root password, for the console.
ROOT_PASSWORD = "root-of-the-vm"


def say(who: str, what: str) -> None:
    """Print a progress line with the time of day, so that a place where things hang can be found."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} [{who}] {what}\n")
    sys.stderr.flush()


def cache_dir() -> Path:
    """Where images are kept: ``$PYHOME_CACHE``, else /var/cache/pyhome-tests."""
    path = Path(os.environ.get("PYHOME_CACHE") or "/var/cache/pyhome-tests")
    path.mkdir(parents=True, exist_ok=True)
    return path


def image_key(suite: str) -> str:
    """The hash of everything that goes into the image of ``suite``: this file."""
    return hashlib.sha256(suite.encode() + Path(__file__).read_bytes()).hexdigest()[:16]


def image(suite: str) -> Path:
    """The directory of the image of ``suite``, built first if the cache has none."""
    target = cache_dir() / f"vm-{suite}-{image_key(suite)}"
    with _build_lock(suite):
        if not target.is_dir():
            for left_behind in target.parent.glob(f"build-{suite}-*"):
                shutil.rmtree(left_behind)
            build(suite, target)
            _prune(suite, target)
        os.utime(target)
    return target


@contextlib.contextmanager
def _build_lock(suite: str) -> Iterator[None]:
    """One builder per suite and machine; the lock dies with its holder."""
    with (cache_dir() / f"vm-{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prune(suite: str, newest: Path) -> None:
    """Remove the images of ``suite`` that nobody has used for longest."""
    others = [path for path in cache_dir().glob(f"vm-{suite}-*") if path != newest]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEEP_OLD:]:
        shutil.rmtree(path)


def build(suite: str, target: Path) -> None:
    """Make the image of ``suite`` in ``target``, which appears only when it is complete. Takes a minute or two."""
    started = time.monotonic()
    say(f"image {suite}", f"building in {target.parent}")
    with tempfile.TemporaryDirectory(prefix=f"build-{suite}-", dir=target.parent) as name:
        work = Path(name)
        root, out = work / "root", work / "out"
        out.mkdir()
        _make_root(suite, root, work)
        _configure(root, out)
        _extract_kernel(root, out)
        _run("mke2fs", "-q", "-t", "ext4", "-O", "encrypt", "-L", "root", "-d", str(root), str(out / "disk.raw"), "4G")
        out.rename(target)
    say(f"image {suite}", f"built in {time.monotonic() - started:.0f} s")


def _run(*argv: str, stdin: str = "") -> None:
    """Run a command; its output is shown only if it fails."""
    done = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} failed with {done.returncode}:\n{done.stdout[-8000:]}")


def _make_root(suite: str, root: Path, work: Path) -> None:
    early = work / "early"
    _write_files(early, INITRAMFS)
    _run(
        "mmdebstrap", "--mode=root", "--variant=apt", f"--include={','.join(PACKAGES)}",
        '--aptopt=APT::Install-Recommends "false"',
        "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
        f'--essential-hook=cp -r {early}/etc "$1"/', suite, str(root),
    )  # fmt: skip
    # What was left out of Debian's packages must not be left out of ours.
    (root / "etc/dpkg/dpkg.cfg.d/99mmdebstrap").unlink(missing_ok=True)


def _write_files(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _configure(root: Path, out: Path) -> None:
    _write_files(root, SETTINGS)
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    for unit in MASKED_FOR_USERS:
        (root / "etc/systemd/user" / unit).symlink_to("/dev/null")
    _run("systemctl", f"--root={root}", "enable", "systemd-networkd.service")
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "root of the test machine", "-f", str(out / "key"))
    ssh = root / "root/.ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(out / "key.pub", ssh / "authorized_keys")
    _run("chroot", str(root), "chpasswd", stdin=f"root:{ROOT_PASSWORD}\n")


def _extract_kernel(root: Path, out: Path) -> None:
    for kind, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd")):
        (found,) = (root / "boot").glob(kind)
        shutil.move(found, out / name)
