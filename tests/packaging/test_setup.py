"""`pyhome doctor`, `setup` and `rollback` on Debian 12 and 13 as they are installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.packaging.chroot import Chroot
from tests.packaging.conftest import install

WHERE = ("/etc", "/var/lib/pam")
#: What a throw-away system in a chroot cannot have: a daemon, and a kernel of its own.
NOT_HERE = {"kernel.ecryptfs", "kernel.aes", "module.daemon", "swap", "hibernation", "dumps.setuid", "dumps.place"}


@pytest.fixture
def alone(installed: Chroot) -> Chroot:
    """Without the other tools that open homes, which the cached system has for the sake of the order."""
    installed.run("pam-auth-update --disable ecryptfs-utils libpam-mount fscrypt")
    return installed


def complaints(system: Chroot) -> set[str]:
    """The checks that are not content."""
    done = system.run("pyhome doctor --json", check=False)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)["findings"]
    return {each["check"] for each in found if each["level"] in {"warn", "fail"}} - NOT_HERE


def test_after_the_package_there_is_nothing_left_to_do(alone: Chroot) -> None:
    before = alone.snapshot(*WHERE)
    assert complaints(alone) == set()
    assert alone.run("pyhome setup --yes").stdout == "nothing to change; this machine is ready\n"
    assert alone.snapshot(*WHERE) == before


def test_pam_ecryptfs_beside_us_is_named(installed: Chroot) -> None:
    assert complaints(installed) == {"pam.others"}


def test_setup_switches_the_profile_on_and_rollback_off(alone: Chroot) -> None:
    alone.run("pam-auth-update --disable pyhome && rm /etc/systemd/system/sockets.target.wants/pyhome*")
    before = alone.snapshot(*WHERE)
    assert "pam.lines" in complaints(alone)
    said = alone.run("pyhome setup --yes").stdout
    assert "proved: " in said
    assert "reaches pyhome" in said or "opens the home" in said
    assert complaints(alone) == set()
    assert "pam_pyhome.so" in (alone.path / "etc/pam.d/common-auth").read_text()
    assert alone.run("systemctl is-enabled pyhomed.socket").stdout == "enabled\n"
    # pam-auth-update takes the files for its own still.
    made = alone.snapshot("/etc/pam.d")
    alone.run("pam-auth-update --package")
    assert alone.snapshot("/etc/pam.d") == made
    alone.run("pyhome rollback setup --yes")
    assert alone.snapshot(*WHERE) == before


def test_another_profile_since_then_stays(alone: Chroot) -> None:
    alone.run("pam-auth-update --disable pyhome && pyhome setup --yes && pam-auth-update --enable libpam-mount")
    alone.run("pyhome rollback setup --yes")
    text = (alone.path / "etc/pam.d/common-auth").read_text()
    assert "pam_mount.so" in text
    assert "pam_pyhome.so" not in text


def test_what_pam_auth_update_would_break_is_edited_instead(alone: Chroot) -> None:
    """A line put in by hand where pam-auth-update counts without it: its jump would land on pam_deny."""
    alone.run("pam-auth-update --disable pyhome; useradd -m -s /bin/sh ada; echo ada:correct-horse | chpasswd")
    alone.run("sed -i 's/success=1/success=2/; /^auth.*pam_deny/i auth optional pam_faildelay.so' /etc/pam.d/common-auth")
    before = alone.snapshot(*WHERE)
    alone.run("pyhome setup --yes")
    text = (alone.path / "etc/pam.d/common-auth").read_text()
    assert "success=2" in text
    assert "pam_faildelay.so" in text
    assert "pam_pyhome.so" in text
    alone.run("pamtester login ada authenticate open_session close_session", stdin="correct-horse\n")
    alone.run("pyhome rollback setup --yes")
    assert alone.snapshot(*WHERE) == before


def ours(system: Chroot) -> dict[str, int]:
    """How often our module is named in each of the shared files."""
    return {name: (system.path / "etc/pam.d" / name).read_text().count("pam_pyhome.so") for name in ONCE}


ONCE = {f"common-{kind}": 1 for kind in ("auth", "account", "password", "session", "session-noninteractive")}


def test_files_that_the_site_has_edited(debian: Chroot, deb: Path) -> None:
    """pam-auth-update leaves them alone. setup and the removal change nothing in them but our lines."""
    debian.run(
        "pam-auth-update --disable ecryptfs-utils libpam-mount fscrypt; useradd -m -s /bin/sh ada;"
        "echo ada:correct-horse | chpasswd;"
        "sed -i '/^# and here are more/a auth optional pam_faildelay.so delay=1000' /etc/pam.d/common-auth;"
        "sed -i '/^# end of pam-auth/i # ours' /etc/pam.d/common-session; echo '#' > /etc/pam.d/common-auth.pam-old"
    )
    before = debian.snapshot("/etc/pam.d")
    assert "run 'pyhome setup'" in install(debian, deb)
    assert debian.snapshot("/etc/pam.d") == before
    assert complaints(debian) == {"pam.lines"}
    debian.run("pyhome setup --yes")
    assert complaints(debian) == set()
    assert ours(debian) == ONCE
    # Neither a package nor somebody who wants another profile moves anything.
    made = debian.snapshot("/etc/pam.d")
    debian.run("pam-auth-update --package; pam-auth-update --enable mkhomedir")
    assert debian.snapshot("/etc/pam.d") == made
    # Misplaced, doubled, edited: what doctor says is what works.
    debian.run(
        "cd /etc/pam.d; sed -i '/pam_pyhome/{h;d};/pam_systemd/G' common-session; sed -i '/pam_pyhome/p' common-auth;"
        "sed -i '/pam_pyhome/s/acct_expired=bad //' common-account; sed -i /pam_pyhome/d common-password"
    )
    assert complaints(debian) == {"pam.order", "pam.twice", "pam.edited", "pam.password"}
    debian.run("pyhome setup --yes")
    assert debian.snapshot("/etc/pam.d") == made
    # When the site's own lines are gone, pam-auth-update takes the rest for its own.
    debian.run("cp -a /etc/pam.d /var/lib/pam /root; sed -i /pam_faildelay/d /etc/pam.d/common-auth")
    debian.run("sed -i '/^# ours/d' /etc/pam.d/common-session; pam-auth-update --enable mkhomedir")
    assert ours(debian) == ONCE
    assert "pam_mkhomedir.so" in (debian.path / "etc/pam.d/common-session").read_text()
    debian.run("pam-auth-update --disable pyhome")
    assert set(ours(debian).values()) == {0}
    debian.run("cp -a /root/pam.d /etc; cp -a /root/pam /var/lib; apt-get remove -q -y pyhome")
    assert debian.snapshot("/etc/pam.d") == before
    phases = "authenticate acct_mgmt open_session close_session"
    debian.run(f"pamtester login ada {phases}", stdin="correct-horse\n")
    assert debian.run(f"pamtester login ada {phases}", stdin="wrong\n", check=False).returncode != 0
