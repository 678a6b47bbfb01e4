"""The kernel room against independent witnesses: python3-keyutils, stat(1), and what can really be opened."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import keyutils  # type: ignore[import-untyped]  # the distribution ships no types
import pytest

from pam_pyhome.kernel import forked, keyring, mounts
from pam_pyhome.kernel.holders import holders
from pam_pyhome.kernel.process import parent_of, real_user, rights_of, start_time
from tests.login.homes import ADA, AS_ADA, LoginMachine, first_line
from tests.pam.harness import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

EKEYEXPIRED, EKEYREVOKED = 127, 128
PROCESS = keyring.KEY_SPEC_PROCESS_KEYRING


def refusal(serial: int) -> int:
    """The errno of an independent attempt to read a key."""
    with pytest.raises(keyutils.Error) as refused:
        keyutils.read_key(serial)
    return int(refused.value.args[0])


def test_keys_as_others_see_them() -> None:
    payload = bytes(range(256)) * 2
    serial = keyring.add_key("user", "pyhome-test:key", payload, PROCESS)
    assert keyutils.search(PROCESS, b"pyhome-test:key") == serial
    assert keyutils.read_key(serial) == payload
    assert keyring.search(PROCESS, "user", "pyhome-test:key") == serial
    assert keyring.read(serial) == payload
    keyring.set_permissions(serial, keyring.KEY_POS_VIEW | keyring.KEY_USR_VIEW | keyring.KEY_USR_SETATTR)
    assert keyutils.describe_key(serial) == b"user;0;0;01210000;pyhome-test:key"
    assert refusal(serial) == errno.EACCES


def test_keys_that_others_made() -> None:
    serial = keyutils.add_key(b"pyhome-test:theirs", b"theirs", PROCESS)
    assert keyring.read(keyring.search(PROCESS, "user", "pyhome-test:theirs")) == b"theirs"
    keyring.unlink(serial, PROCESS)
    with pytest.raises(OSError, match="search pyhome-test:theirs") as missing:
        keyring.search(PROCESS, "user", "pyhome-test:theirs")
    assert missing.value.errno == 126  # ENOKEY


def test_the_end_of_keys() -> None:
    revoked = keyring.add_key("user", "pyhome-test:revoked", b"x", PROCESS)
    expiring = keyring.add_key("user", "pyhome-test:expiring", b"x", PROCESS)
    keyring.revoke(revoked)
    keyring.set_timeout(expiring, 1)
    assert refusal(revoked) == EKEYREVOKED
    assert keyutils.read_key(expiring) == b"x"
    time.sleep(1.2)
    assert refusal(expiring) == EKEYEXPIRED


def test_links_between_keyrings() -> None:
    ring = keyring.add_key("keyring", "pyhome-test:ring", b"", PROCESS)
    serial = keyring.add_key("user", "pyhome-test:linked", b"x", PROCESS)
    keyring.link(serial, ring)
    assert keyutils.search(ring, b"pyhome-test:linked") == serial
    keyring.unlink(serial, ring)
    assert keyutils.search(ring, b"pyhome-test:linked") is None


@pytest.fixture
def files() -> Iterator[Path]:
    """A directory that everybody may enter, with a file of root's, one of ada's and one of a group's."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        for file, uid, gid, mode in (("root", 0, 0, 0o600), ("ada", ADA, ADA, 0o600), ("group", 0, 4, 0o640)):
            (directory / file).write_bytes(b"")
            (directory / file).chmod(mode)
            os.chown(directory / file, uid, gid)
        yield directory


def test_rights_of_a_user_are_no_more_than_that(files: Path) -> None:
    before = os.getgroups()
    os.setgroups([4])
    try:
        with rights_of(ADA, ADA):
            (files / "ada").read_bytes()
            for name in ("root", "group"):
                with pytest.raises(PermissionError):
                    (files / name).read_bytes()
            with pytest.raises(PermissionError):
                (files / "new").touch()
            assert os.getgroups() == [ADA]
            assert os.getresuid() == (0, ADA, 0)  # the user cannot signal a process whose real uid is root's
            assert os.getresgid() == (0, ADA, 0)
        assert os.getgroups() == [4]
    finally:
        os.setgroups(before)
    assert (os.getresuid(), os.getresgid()) == ((0, 0, 0), (0, 0, 0))


def test_rights_come_back_after_an_error(files: Path) -> None:
    with pytest.raises(PermissionError), rights_of(ADA, ADA):
        (files / "root").read_bytes()
    assert os.geteuid() == 0
    (files / "root").read_bytes()


def test_the_real_user_changes_no_rights(files: Path) -> None:
    with real_user(ADA):
        assert os.getresuid() == (ADA, 0, 0)
        (files / "root").read_bytes()
    assert os.getresuid() == (0, 0, 0)


def test_processes_and_their_parents() -> None:
    with subprocess.Popen(["sleep", "30"]) as process:
        assert parent_of(process.pid) == os.getpid()
        assert start_time(process.pid) >= start_time(os.getpid())
        process.kill()
    with pytest.raises(FileNotFoundError):
        start_time(process.pid)


@pytest.mark.parametrize("path", ["/proc", "/sys", "/dev/pts", "/tmp", "/"])
def test_file_systems_are_told_apart_as_stat_does(path: str) -> None:
    fd = os.open(path, os.O_PATH)
    said = subprocess.run(["stat", "-f", "-c", "%t", path], check=True, capture_output=True, text=True).stdout
    assert mounts.filesystem_magic(fd) == int(said, 16)
    os.close(fd)


@pytest.mark.parametrize("path", ["/proc/self", "/sys/kernel", "/dev/pts"])
def test_the_kernels_own_directories_are_not_mounted_over(path: str) -> None:
    fd = os.open(path, os.O_PATH)
    assert mounts.filesystem_magic(fd) not in mounts.MOUNTABLE_OVER
    os.close(fd)


def test_real_file_systems_are_mounted_over(machine: LoginMachine) -> None:
    fd = os.open(machine.path("/home"), os.O_PATH)  # tmpfs, as a live system has it
    assert mounts.filesystem_magic(fd) in mounts.MOUNTABLE_OVER
    os.close(fd)
    ext4, btrfs, xfs, zfs, f2fs, bcachefs, overlay = 0xEF53, 0x9123683E, 0x58465342, 0x2FC12FC1, 0xF2F52010, 0xCA451A4E, 0x794C7630
    assert {ext4, btrfs, xfs, zfs, f2fs, bcachefs, overlay} <= mounts.MOUNTABLE_OVER
    proc, sysfs, securityfs, cgroup2 = 0x9FA0, 0x62656572, 0x73636673, 0x63677270
    assert not {proc, sysfs, securityfs, cgroup2, mounts.ECRYPTFS_SUPER_MAGIC} & mounts.MOUNTABLE_OVER


MOUNTING = """
import os, sys
sys.path.insert(0, '/usr/lib/pyhome')
from pam_pyhome.formats.mountinfo import parse_mountinfo
from pam_pyhome.kernel import mounts
def shown():
    return [m.fstype for m in parse_mountinfo(mounts.read_mountinfo()) if m.mountpoint == b'/mnt/here']
os.mkdir('/mnt/here')
os.symlink('here', '/mnt/link')
target = os.open('/mnt/here', os.O_RDONLY | os.O_DIRECTORY)
mounts.mount('none', target, 'tmpfs', mounts.MS_NOSUID | mounts.MS_NODEV, 'size=64k')
os.close(target)
print(shown())
parent = os.open('/mnt', os.O_PATH)
held = os.open('/mnt/here/file', os.O_CREAT | os.O_RDWR)
for name in (b'link', b'here'):
    try:
        mounts.umount(parent, name)
    except OSError as error:
        print(error.errno)
os.close(held)
mounts.umount(parent, b'here')
print(shown(), os.getcwd())
"""


def test_mounting_and_unmounting(machine: LoginMachine) -> None:
    said = machine.run(["/usr/bin/python3", "-I", "-c", MOUNTING]).splitlines()
    assert said == ["['tmpfs']", str(errno.EINVAL), str(errno.EBUSY), "[] /"]


NAMESPACES = """
import os, sys
sys.path.insert(0, '/usr/lib/pyhome')
from pam_pyhome.kernel.process import in_first_mount_namespace, join_first_mount_namespace
os.chdir('/home')
print(in_first_mount_namespace(), os.path.ismount('/mnt'))
join_first_mount_namespace()
print(in_first_mount_namespace(), os.path.ismount('/mnt'), os.getcwd())
"""


def test_a_private_mount_namespace_is_left(machine: LoginMachine) -> None:
    machine.path("/opt/test/namespaces").write_text(NAMESPACES, encoding="ascii")
    inner = "mount -t tmpfs tmpfs /mnt && exec /usr/bin/python3 -I /opt/test/namespaces"
    said = machine.run(["unshare", "--mount", "sh", "-c", inner]).splitlines()
    assert said == ["False True", "True False /"]


USES = {
    "cwd": "cd /mnt/place && echo ready && exec sleep 60",
    "fd 7": "exec 7</mnt/place/file; echo ready; exec sleep 60",
    "exe": "cp /bin/sleep /mnt/place/program; echo ready; exec /mnt/place/program 60",
    "mapping": """exec /usr/bin/python3 -I -c "
import mmap, os, time
fd = os.open('/mnt/place/file', os.O_RDONLY)
kept = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
os.close(fd)
import gc; os.closerange(3, 20); print('ready', flush=True); time.sleep(60)" """,
}


@pytest.mark.parametrize("use", ["cwd", "fd 7", "exe", "mapping"])
def test_whoever_holds_a_file_system_is_named(machine: LoginMachine, use: str) -> None:
    machine.path("/mnt/place").mkdir()
    machine.run(["mount", "-t", "tmpfs", "tmpfs", "/mnt/place"])
    machine.path("/mnt/place/file").write_bytes(b"content")
    device = machine.path("/mnt/place").stat().st_dev
    major, minor = os.major(device), os.minor(device)
    assert holders(major, minor) == ()
    as_ada = AS_ADA if use in {"cwd", "fd 7"} else ()
    with machine.background([*as_ada, "sh", "-c", USES[use]]) as process:
        assert first_line(process) == "ready"
        assert eventually(lambda: holders(major, minor) != (), 5)
        (line,) = holders(major, minor)
        kind, path = {"exe": ("exe", "/program"), "cwd": ("cwd", "")}.get(use, (use, "/file"))
        assert f"): {kind} /mnt/place{path}" in line
        assert f"uid {ADA if as_ada else 0})" in line
        assert line.startswith("pid ")


SILENT = """
import ctypes, os, time
fd = os.open('/dev/fuse', os.O_RDWR)
options = b'fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other' % fd
assert ctypes.CDLL(None, use_errno=True).mount(b'silent', b'/mnt', b'fuse', 0, options) == 0
inside = os.open('/mnt', os.O_PATH)
print('ready', flush=True)
time.sleep(120)
"""
LOOK = """
import sys
sys.path.insert(0, '/usr/lib/pyhome')
from pam_pyhome.kernel.holders import holders
print(holders(7, 7))
"""


def test_who_keeps_a_look_waiting_is_given_up(tmp_path: Path) -> None:
    """What was found until then counts, and the one who looks has none of our locks meanwhile."""
    gate = os.open(tmp_path / "gate", os.O_CREAT | os.O_RDWR)
    fcntl.flock(gate, fcntl.LOCK_EX)

    def work() -> Iterator[bytes]:
        yield b"found"
        yield str(sorted(os.listdir("/proc/self/fd"))).encode()
        time.sleep(60)

    began = time.monotonic()
    lines, is_whole = forked.lines_of(work, seconds=0.5)
    assert (lines[0], is_whole) == (b"found", False)
    assert lines[1].count(b"'") <= 4  # its end of the pipe, and the listing
    assert time.monotonic() - began < 5
    assert forked.lines_of(lambda: [b"all", b"", b"of it"], seconds=5) == ((b"all", b"", b"of it"), True)
    os.close(gate)


def test_nobodys_list_of_mappings_is_read(machine: LoginMachine) -> None:
    """Reading it waits for a lock that its owner can keep for ever."""
    trace = ["strace", "-f", "-qq", "-e", "trace=open,openat", "-o", "/run/trace"]
    machine.path("/opt/test/look").write_text(LOOK, encoding="ascii")
    machine.run([*trace, "/usr/bin/python3", "-I", "/opt/test/look"])
    opened = machine.path("/run/trace").read_text(encoding="utf-8", errors="replace")
    assert "/fd" in opened
    assert not re.search(r'"/proc/\d+/(maps|smaps|cmdline|environ|mem)', opened)


@pytest.mark.guarantee(6)
def test_a_file_system_that_never_answers_does_not_stop_the_search(machine: LoginMachine) -> None:
    """Somebody else's, while the holders of a home are looked for."""
    os.mknod(machine.path("/dev/fuse"), stat.S_IFCHR | 0o666, os.makedev(10, 229))
    with machine.background(["/usr/bin/python3", "-I", "-c", SILENT]) as server:
        assert first_line(server) == "ready"
        assert machine.run(["timeout", "-s", "KILL", "15", "/usr/bin/python3", "-I", "-c", LOOK]) == "()\n"
