"""Directories besides the home that the login password opens: on which file systems they get their key, and on which not."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from pam_pyhome.formats import fscrypt_meta as meta
from tests.fscrypt.homes import OPENED, READ, make_image, mount_image
from tests.login.conftest import PASSWORD
from tests.login.homes import BOB, crypt
from tests.pam.harness import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fscrypt.homes import FscryptMachine


def encrypt(machine: FscryptMachine, where: str) -> str:
    """Have the real tool encrypt a directory of ada's for her login password, with a file in it; the policy."""
    machine.run(["sh", "-c", f"mkdir -m 700 {where}; chown ada:ada {where}"])
    protector = f"--protector=/:{machine.protector().name}"
    machine.fscrypt("encrypt", where, protector, "--user=ada", "--quiet", said=PASSWORD.decode() + "\n")
    machine.path(f"{where}/file").write_text(f"of {where}\n", encoding="ascii")
    machine.fscrypt("lock", where, "--user=ada", "--quiet")
    return machine.fscrypt("status", where).split("Policy:")[1].split()[0]


def second(machine: FscryptMachine) -> str:
    """Another file system at /data, on a loop device of root's file, with a directory of ada's; the loop device."""
    make = "truncate -s 32M /srv/ext4-data && /sbin/mkfs.ext4 -q -b 4096 -O encrypt -N 2048 /srv/ext4-data"
    machine.run(["sh", "-c", f"cd /; {make} && mkdir /data && mount -o loop /srv/ext4-data /data"])
    machine.fscrypt("setup", "/data", "--quiet")
    encrypt(machine, "/data/ada")
    return machine.run(["findmnt", "-n", "-o", "SOURCE", "/data"]).strip()


def reads(machine: FscryptMachine, *paths: str) -> list[str]:
    """What a login finds in files while it lasts."""
    steps = [f"sh=root:cat {path} 2>/dev/null" for path in paths]
    said = machine.log_in(PASSWORD, READ, *steps)
    assert said[:5] == OPENED[:5]
    return [line for line in said[5:-1] if not line.startswith("sh ")]


def write_fstab(machine: FscryptMachine, *lines: str) -> None:
    machine.path("/etc/fstab").write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


@pytest.mark.guarantee(4)
def test_a_copy_of_the_disk_gets_no_key(machine: FscryptMachine) -> None:
    """Whoever has an old copy of the disk and may mount it reads nothing, whatever uids the copy says its files have."""
    machine.add_user("bob", BOB, password=crypt(b"x"), encrypted=False)
    machine.run(
        ["sh", "-c", "sync; cp /srv/ext4-home /srv/stolen; mkdir -p /media/bob; mount -o loop /srv/stolen /media/bob"]
    )
    machine.run(["sh", "-c", "chown -R bob: /media/bob/ada; umount /media/bob"])
    machine.run(["mount", "-o", "loop,nosuid,nodev", "/srv/stolen", "/media/bob"])
    assert reads(machine, "/media/bob/ada/*") == []
    assert "/media/bob gets no key of ada's: it has a policy that the home" in machine.log()
    # Not even if root says so, in two ways.
    write_fstab(machine, "/srv/stolen /media/bob ext4 loop 0 0")
    assert reads(machine, "/media/bob/ada/*") == []


@pytest.mark.guarantee(4)
def test_a_file_system_that_root_has_not_approved(machine: FscryptMachine) -> None:
    second(machine)
    assert reads(machine, "/data/ada/file") == []
    note = "what ada has encrypted on /data stays locked: root has not approved that file system"
    note = f"{note}; if it is no copy of another disk, 'pyhome trust /data' approves it"
    assert note in machine.log()
    shutil.copy(REPOSITORY / "packaging/files/pyhome", machine.path("/usr/bin/pyhome"))
    machine.path("/usr/bin/pyhome").chmod(0o755)
    shown = machine.log_in(PASSWORD, "sh=root:pyhome status ada", "sh=root:pyhome inspect ada")
    assert f"Besides the home of ada, when it was opened: {note}." in shown
    assert f"  Besides    {note}" in shown
    assert not any("Besides" in line for line in machine.run(["pyhome", "status", "ada"]).splitlines())


FSTAB_LINES = (
    ("{device} /data ext4 defaults 0 2", True),
    ("UUID={uuid} /data ext4 rw,noatime 0 2", True),
    ("/srv/ext4-data /data/ ext4 loop", True),
    ("{device} /data ext4 noauto,user 0 2", False),
    ("{device} /data ext4 users", False),
    ("{device} /data ext4 defaults,owner", False),
    ("/dev/null /data ext4 defaults", False),
    ("UUID=00000000-0000-4000-8000-000000000000 /data ext4 defaults", False),
    ("{device} /elsewhere ext4 defaults", False),
        ("# {device} /data ext4 defaults", False),
)


def test_what_root_has_in_fstab(machine: FscryptMachine) -> None:
    device = second(machine)
    uuid = machine.run(["blkid", "-o", "value", "-s", "UUID", "/srv/ext4-data"]).strip()
    for line, opens in FSTAB_LINES:
        write_fstab(machine, "LABEL=\\x / ext4", line.format(device=device, uuid=uuid))
        assert (line, reads(machine, "/data/ada/file")) == (line, ["of /data/ada"] if opens else [])
        assert not machine.path("/data/ada/file").exists()  # locked with the home


@pytest.mark.guarantee(4)
def test_a_file_that_others_can_change_is_no_disk(machine: FscryptMachine) -> None:
    """Root mounts a user's image; whoever writes the image chooses what it says, so its place in fstab proves nothing."""
    device = second(machine)
    write_fstab(machine, f"{device} /data ext4 defaults")
    for spoil in ("chown bin /srv/ext4-data", "chown root /srv/ext4-data; chmod g+w /srv/ext4-data"):
        machine.run(["sh", "-c", spoil])
        assert reads(machine, "/data/ada/file") == []
        assert "stays locked: it is a file that others than root can change" in machine.log()
    # Nor does a name that leads to another file, which is root's, make it one of root's.
    machine.run(["sh", "-c", "mv /srv/ext4-data /srv/real; cp /srv/ext4-home /srv/ext4-data"])
    assert reads(machine, "/data/ada/file") == []


def test_two_that_root_knows_alike(machine: FscryptMachine) -> None:
    """Which of them is the copy, nobody can tell; so neither gets the key."""
    device = second(machine)
    machine.run(["sh", "-c", "sync; cp /srv/ext4-data /srv/copy; mkdir /backup; mount -o loop /srv/copy /backup"])
    write_fstab(machine, f"{device} /data ext4 defaults")
    assert reads(machine, "/data/ada/file", "/backup/ada/file") == ["of /data/ada"]
    assert "/backup gets no key of ada's" in machine.log()
    write_fstab(machine, f"{device} /data ext4 defaults", "/srv/copy /backup ext4 loop")
    assert reads(machine, "/data/ada/file", "/backup/ada/file") == []
    assert "stay locked: /data and /backup have it, as a disk and its copy have; unmount the copy" in machine.log()


@pytest.mark.parametrize(("where", "opens"), [("/etc/systemd/system", True), ("/run/systemd/transient", False)])
def test_mount_units(machine: FscryptMachine, where: str, opens: bool) -> None:
    device = second(machine)
    machine.path(where).mkdir(parents=True, exist_ok=True)
    machine.path(f"{where}/data.mount").write_text(f"[Mount]\nWhat={device}\nWhere=/data\n", encoding="ascii")
    assert reads(machine, "/data/ada/file") == (["of /data/ada"] if opens else [])
    write_fstab(machine, f"{device} /data ext4 user")  # of which systemd makes a unit as well
    assert reads(machine, "/data/ada/file") == []


@pytest.mark.guarantee(9)
def test_thousands_of_policies_on_a_strange_disk(machine: FscryptMachine, tmp_path: Path) -> None:
    """They cost a moment, after the home is open, and not what root has approved."""
    make_image(tmp_path / "evil", size=64 << 20, inodes=4096)
    mount_image(machine, tmp_path / "evil", "/stick")
    place = machine.path("/stick/.fscrypt/policies")
    place.mkdir(parents=True)
    for number in range(2000):
        name = f"{number:032x}"
        data = meta.emit_policy(name, (("00" * 8, meta.WrappedKey(bytes(16), bytes(64), bytes(32))),))
        (place / name).write_bytes(data + b"\x78\x00" * ((16384 - len(data)) // 2))
    machine.run(["chown", "-R", "ada:ada", "/stick/.fscrypt"])
    encrypt(machine, "/home/more")
    reads(machine)
    start = time.monotonic()
    assert reads(machine, "/home/more/file") == ["of /home/more"]
    assert time.monotonic() - start < 10


@pytest.mark.guarantee(9)
def test_rubbish_of_a_neighbours_among_the_policies(machine: FscryptMachine, tmp_path: Path) -> None:
    """It costs no time to speak of, and does not hide what was opened before."""
    make_image(tmp_path / "many", size=64 << 20, inodes=22000)
    mount_image(machine, tmp_path / "many", "/data")
    machine.fscrypt("setup", "/data", "--quiet", "--all-users")
    encrypt(machine, "/data/ada")
    write_fstab(machine, "/srv/many-data /data ext4 loop")
    assert reads(machine, "/data/ada/file") == ["of /data/ada"]
    place = machine.path("/data/.fscrypt/policies")
    assert place.stat().st_mode & 0o1777 == 0o1777
    for number in range(20000):
        path = place / f"{number:032x}"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        os.chown(path, BOB, BOB)
    start = time.monotonic()
    assert reads(machine, "/data/ada/file") == ["of /data/ada"]
    assert time.monotonic() - start < 10
