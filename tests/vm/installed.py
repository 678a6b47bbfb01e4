"""pyhome in a machine: installing the package, choosing PAM profiles, changing settings."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.vm import VM

DIST = Path(__file__).parents[2] / "dist"


def package() -> Path:
    """The package under test, which ``make deb`` has built."""
    (found,) = DIST.glob("pyhome_*.deb")
    return found


def install(vm: VM) -> None:
    """Install the package as an administrator does, and leave the homes to pyhome alone."""
    vm.put(package(), "/root/pyhome.deb")
    vm.run("DEBIAN_FRONTEND=noninteractive apt-get install -y /root/pyhome.deb", timeout=300)
    set_profiles(vm, "pyhome")


def set_profiles(vm: VM, *names: str) -> None:
    """Let /etc/pam.d name exactly these of the profiles ``pyhome``, ``ecryptfs-utils``, ``fscrypt``."""
    others = {"pyhome", "ecryptfs-utils", "fscrypt"} - set(names)
    vm.run(f"pam-auth-update --enable {' '.join(names)} --disable {' '.join(sorted(others))}")


@contextlib.contextmanager
def set_setting(vm: VM, *lines: str) -> Iterator[None]:
    """Let /etc/pyhome.conf say these lines, and afterwards what it said before."""
    before = vm.read("/etc/pyhome.conf")
    vm.write("/etc/pyhome.conf", before + "\n".join(["", *lines, ""]).encode())
    try:
        yield
    finally:
        vm.write("/etc/pyhome.conf", before)


@contextlib.contextmanager
def sshd_setting(vm: VM, *lines: str) -> Iterator[None]:
    """Let sshd be configured with these lines besides Debian's."""
    vm.write("/etc/ssh/sshd_config.d/00-test.conf", "\n".join([*lines, ""]))
    # A restart returns when sshd listens again, a reload before; sessions survive both.
    vm.run("systemctl restart ssh")
    try:
        yield
    finally:
        vm.run("rm /etc/ssh/sshd_config.d/00-test.conf; systemctl restart ssh")
