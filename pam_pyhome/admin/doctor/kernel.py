"""Whether the kernel can do what the homes need, and how fast."""

from __future__ import annotations

import glob
import os
import shutil
from typing import TYPE_CHECKING

from pam_pyhome.admin.doctor.finding import FAIL, OK, SKIP, WARN, Finding, edit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

#: The packages with a kernel that has eCryptfs, as far as the distributions have one.
_KERNELS = {"apt-get": "apt-get install linux-image-amd64", "pacman": "pacman -S linux"}
_MODPROBE = ("/etc/modprobe.d/*.conf", "/run/modprobe.d/*.conf", "/usr/lib/modprobe.d/*.conf", "/lib/modprobe.d/*.conf")


def check(kinds: Collection[str]) -> Iterator[Finding]:
    """What the homes of these `kinds` need, and AES in the processor."""
    yield _about_ecryptfs(needed="ecryptfs" in kinds)
    yield _about_aes()


def _about_ecryptfs(*, needed: bool) -> Finding:
    name, subject = "kernel.ecryptfs", f"kernel {os.uname().release}"
    if any(line.split()[-1:] == ["ecryptfs"] for line in read_lines("/proc/filesystems")):
        return Finding(OK, name, subject, "has eCryptfs")
    blocked = _blocked("ecryptfs")
    if blocked is None and _is_module("ecryptfs"):
        return Finding(OK, name, subject, "has eCryptfs as a module that is loaded when it is needed")
    if not needed:
        return Finding(SKIP, name, subject, "has no eCryptfs, which no home here needs")
    if blocked is not None:
        return Finding(FAIL, name, subject, f"may not load eCryptfs: {blocked}", edit(blocked.rpartition(":")[0]))
    text = "has no eCryptfs, so no eCryptfs home can be mounted; it takes a kernel with CONFIG_ECRYPT_FS"
    return Finding(FAIL, name, subject, text, next((words for tool, words in _KERNELS.items() if shutil.which(tool)), ""))


def _blocked(module: str) -> str | None:
    """Where modprobe is told never to load a module, ``file:line``."""
    for path in (path for pattern in _MODPROBE for path in sorted(glob.glob(pattern))):
        for number, line in enumerate(read_lines(path), 1):
            words = line.split()
            if words[:2] == ["blacklist", module] or (words[:2] == ["install", module] and len(words) > 2):
                return f"{path}:{number}"
    return None


def _is_module(module: str) -> bool:
    """Whether the running kernel's modules, built in or not, have one of this name."""
    directory = f"/lib/modules/{os.uname().release}"
    lists = (line.partition(":")[0] for name in ("modules.dep", "modules.builtin") for line in read_lines(f"{directory}/{name}"))
    return any(os.path.basename(path).partition(".")[0] == module for path in lists)


def _about_aes() -> Finding:
    lines = [line for line in read_lines("/proc/cpuinfo") if line.lower().startswith(("flags", "features"))]
    flags = [line.partition(":")[2].split() for line in lines]
    if not flags:
        return Finding(SKIP, "kernel.aes", "processor", "does not say whether it has AES")
    if all("aes" in each for each in flags):
        return Finding(OK, "kernel.aes", "processor", "has AES")
    text = "has no AES instructions, or they are hidden from this machine: open homes are slow"
    return Finding(WARN, "kernel.aes", "processor", text, "on a virtual machine: give it the host's CPU model")


def read_lines(path: str) -> list[str]:
    """The lines of a text file; none if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
