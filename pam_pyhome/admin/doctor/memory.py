"""Where the contents of memory, and with them keys and plain text, may reach a disk unencrypted."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING

from pam_pyhome.admin.doctor.finding import OK, SKIP, WARN, Finding
from pam_pyhome.admin.doctor.kernel import read_lines
from pam_pyhome.formats.escape import undo_octal
from pam_pyhome.formats.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEPTH_MAX = 8
_NO_CORES = "/etc/systemd/coredump.conf.d"
_SYSCTL = "/etc/sysctl.d/99-local.conf"
_COREDUMP = ("/usr/lib/systemd/coredump.conf", "/etc/systemd/coredump.conf", "/etc/systemd/coredump.conf.d/*.conf")


def check() -> Iterator[Finding]:
    """Swap, hibernation, core dumps."""
    plain = [path for path in _swaps() if not _is_encrypted(path)]
    for path in plain:
        text = "is swap space without encryption: what open homes show may be found there"
        yield Finding(WARN, "swap", path, text, f"swapoff {quoted(path)}")
    if not plain:
        yield Finding(OK, "swap", "swap", "none, or encrypted" if _swaps() else "none")
    yield _about_hibernation(plain)
    yield from _about_dumps()


def _swaps() -> list[str]:
    """Devices and files in use as swap, without those in memory."""
    lines = read_lines("/proc/swaps")[1:]
    paths = [os.fsdecode(undo_octal(line.split()[0].encode(), "swaps")) for line in lines if line.split()]
    return [path for path in paths if not os.path.basename(path).startswith("zram")]


def _is_encrypted(path: str) -> bool:
    """Whether what lies under a swap device or file is encrypted by dm-crypt, as far down as the kernel shows it."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    device = status.st_rdev or status.st_dev
    return _has_crypt(os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"), 0)


def _has_crypt(block: str, depth: int) -> bool:
    if any(line.startswith("CRYPT-") for line in read_lines(f"{block}/dm/uuid")):
        return True
    slaves = glob.glob(f"{block}/slaves/*") if depth < _DEPTH_MAX else []
    return bool(slaves) and all(_has_crypt(os.path.realpath(slave), depth + 1) for slave in slaves)


def _about_hibernation(plain: list[str]) -> Finding:
    states = " ".join(read_lines("/sys/power/state")).split()
    resume = "".join(read_lines("/sys/power/resume")).strip()
    if "disk" not in states:
        return Finding(OK, "hibernation", "hibernation", "is not possible on this machine")
    if plain and resume not in {"", "0:0"}:
        text = "writes all memory, with the keys of open homes, to swap space without encryption"
        return Finding(WARN, "hibernation", "hibernation", text, "systemctl mask hibernate.target hybrid-sleep.target")
    return Finding(OK, "hibernation", "hibernation", "has no place without encryption to write to")


def _about_dumps() -> Iterator[Finding]:
    dumpable = "".join(read_lines("/proc/sys/fs/suid_dumpable")).strip()
    if dumpable == "1":
        text = "is 1: programs that change their user, like sshd and su, dump cores that anybody may read"
        yield Finding(WARN, "dumps.setuid", "fs.suid_dumpable", text, _set("fs.suid_dumpable = 0"))
    else:
        yield Finding(OK, "dumps.setuid", "fs.suid_dumpable", f"is {dumpable}" if dumpable else "is not set")
    yield _about_pattern("".join(read_lines("/proc/sys/kernel/core_pattern")).strip())


def _set(line: str) -> str:
    """The command that sets a setting of the kernel now and at each start of the machine."""
    return f"echo '{line}' >> {_SYSCTL} && sysctl --load={_SYSCTL}"


def _about_pattern(pattern: str) -> Finding:
    check, subject = "dumps.place", "kernel.core_pattern"
    if "systemd-coredump" in pattern and _storage() in {"none", "journal"}:
        return Finding(OK, check, subject, "systemd-coredump keeps no cores in files")
    if pattern.startswith("/"):
        text = f"is {pattern}: what programs had in memory is written there, outside of encrypted homes"
        return Finding(WARN, check, subject, text, _set("kernel.core_pattern = core"))
    if "systemd-coredump" in pattern:
        text = "systemd-coredump keeps what programs had in memory in /var/lib/systemd/coredump, outside of encrypted homes"
        mend = rf"mkdir -p {_NO_CORES} && printf '[Coredump]\nStorage=none\n' > {_NO_CORES}/99-local.conf"
        return Finding(WARN, check, subject, text, mend)
    if pattern.startswith("|"):
        return Finding(SKIP, check, subject, f"{pattern} is asked; where it writes is not known")
    return Finding(OK, check, subject, "cores are written to the working directory")


def _storage() -> str:
    """The last ``Storage=`` of systemd-coredump's configuration."""
    found = "external"
    for path in (path for pattern in _COREDUMP for path in sorted(glob.glob(pattern))):
        for line in read_lines(path):
            name, _, value = line.partition("=")
            if name.strip() == "Storage":
                found = value.strip()
    return found
