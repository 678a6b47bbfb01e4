"""The login shell comes with the package and goes with it, and nobody is left with a login shell that does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.chroot import Chroot
from tests.packaging.conftest import install

STUB = "/usr/lib/pyhome/pyhome-shell"


def shells(debian: Chroot) -> list[str]:
    """The login shells that the system knows."""
    return (debian.path / "etc/shells").read_text().splitlines()


def login_shell(debian: Chroot, name: str) -> str:
    """The login shell of a user."""
    return debian.run(f"getent passwd {name}").stdout.strip().rpartition(":")[2]


@pytest.fixture
def ada(installed: Chroot) -> Chroot:
    """A user with an encrypted home has the login shell."""
    installed.run(
        "useradd -m -s /bin/bash ada; mkdir -p /home/ada/.ecryptfs /home/ada/.Private; "
        "echo x > /home/ada/.ecryptfs/wrapped-passphrase; echo /home/ada > /home/ada/.ecryptfs/Private.mnt; "
        "chown -R ada: /home/ada; "
        "pyhome shell enable --yes ada"
    )
    assert login_shell(installed, "ada") == STUB
    return installed


def test_it_is_listed_while_the_package_is_there(debian: Chroot, deb: Path) -> None:
    before = shells(debian)
    install(debian, deb)
    assert STUB in shells(debian)
    install(debian, deb)
    assert shells(debian).count(STUB) == 1
    debian.run("apt-get remove -q -y pyhome")
    assert shells(debian) == before


def test_removing_the_package_gives_the_real_shell_back(ada: Chroot) -> None:
    ada.run("apt-get purge -q -y pyhome")
    assert login_shell(ada, "ada") == "/bin/bash"
    assert not (ada.path / "etc/pyhome-shells").exists()


def test_it_is_not_removed_from_under_somebody_whose_real_shell_is_not_known(ada: Chroot) -> None:
    ada.run("rm /etc/pyhome-shells")
    done = ada.run("apt-get remove -q -y pyhome", check=False)
    assert done.returncode != 0
    assert f"ada:x:1000:1000::/home/ada:{STUB}" in done.stdout + done.stderr
    assert (ada.path / STUB.lstrip("/")).exists()
    assert "pam_pyhome.so" in (ada.path / "etc/pam.d/common-auth").read_text()
    ada.run("usermod -s /bin/sh ada; apt-get remove -q -y pyhome")
    assert not (ada.path / STUB.lstrip("/")).exists()
