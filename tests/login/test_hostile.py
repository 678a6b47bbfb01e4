"""What a user can put in the place of their own files: it costs them their home, and nobody anything else."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pam_pyhome.formats import wire
from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, AS_ADA, BOB, LoginMachine, answers, differences, first_line
from tests.login.worker import PRELIM, UPDATE, Talk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

NEW = b"battery staple"
BOBS = b"bob's own password"
OTHERS = ("/home/bob", "/home/.ecryptfs/bob", "/etc", "/var/lib/pyhome", "/run/pyhome")
MOST_SECONDS = 15.0  # on a busy machine; what would hang hangs for minutes
GIGABYTE = 1 << 30
TRIED = "the home was not opened"


@pytest.fixture
def machine(machine: LoginMachine) -> LoginMachine:
    """Bob, another user with an encrypted home, is a witness."""
    machine.add_home("bob", BOB, BOBS)
    machine.path("/home/bob/diary").write_text("secret\n", encoding="ascii")
    machine.pam("login", "ada", *answers(PASSWORD), "auth", "open", "close")  # whatever this makes is there from now on
    return machine


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(GIGABYTE)


def unix_socket(path: Path) -> None:
    short = f"/proc/self/fd/{os.open(path.parent, os.O_PATH)}/{path.name}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(short)
    os.close(int(short.split("/")[4]))


def bobs_hard_link(path: Path) -> None:
    os.link(path.parents[2] / "bob/.ecryptfs/wrapped-passphrase", path)


def bobs_file(path: Path) -> None:
    path.write_bytes(b"x")
    os.chown(path, BOB, BOB)


TRAPS: dict[str, Callable[[Path], object]] = {
    "link to shadow": lambda path: path.symlink_to("/etc/shadow"),
    "link to bob's": lambda path: path.symlink_to("/home/.ecryptfs/bob/.ecryptfs/wrapped-passphrase"),
    "link to nowhere": lambda path: path.symlink_to("/home/bob/planted"),
    "FIFO": os.mkfifo,
    "directory": lambda path: (path / "full").mkdir(parents=True),
    "device": lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
    "socket": unix_socket,
    "hard link to bob's": bobs_hard_link,
    "bob's file": bobs_file,
    "a gigabyte": sparse,
}
FILES = ["wrapped-passphrase", "Private.sig", "Private.mnt", "auto-mount", "auto-umount", "wrapping-independent"]


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def trapped(path: Path, trap: str) -> Iterator[None]:
    """The trap in the place of `path`, which is put back afterwards."""
    aside = path.with_name("aside")
    if os.path.lexists(path):
        path.rename(aside)
    TRAPS[trap](path)
    if trap not in {"bob's file", "hard link to bob's"}:
        os.chown(path, ADA, ADA, follow_symlinks=False)
    yield
    remove(path)
    if os.path.lexists(aside):
        aside.rename(path)


def log_in(machine: LoginMachine) -> list[str]:
    """A whole login and logout with the password, which must take its usual course; what was said."""
    began = time.monotonic()
    said = machine.pam("login", "ada", *answers(PASSWORD), "auth", "account", "open", "close")
    assert time.monotonic() - began < MOST_SECONDS
    assert [line for line in said if not line.startswith("message")] == ["auth 0", "account 0", "open 0", "close 0"]
    return [line for line in said if line.startswith("message 3")]


def change_password(machine: LoginMachine) -> None:
    """Both passes of a change, whatever comes of it for ada."""
    began = time.monotonic()
    talk = Talk(machine, oldauthtok=PASSWORD, authtok=NEW)
    assert talk.phase(wire.PHASE_CHAUTHTOK, PRELIM) is not None
    assert talk.phase(wire.PHASE_CHAUTHTOK, UPDATE) is not None
    assert time.monotonic() - began < MOST_SECONDS


@pytest.mark.parametrize("name", FILES)
@pytest.mark.guarantee(6)
def test_in_place_of_a_file(machine: LoginMachine, name: str) -> None:
    path = machine.config("ada") / name
    before = machine.snapshot(*OTHERS)
    for trap in TRAPS:
        with trapped(path, trap):
            told = log_in(machine)
            assert len(told) <= 1, trap
            assert name not in {"wrapped-passphrase", "Private.sig"} or len(told) == 1, trap
            assert differences(before, machine.snapshot(*OTHERS)) == [], trap
    assert "the worker" not in machine.log()  # none of them failed


@pytest.mark.parametrize("name", ["wrapped-passphrase", "wrapped-passphrase.pyhome-new"])
def test_in_the_way_of_a_password_change(machine: LoginMachine, name: str) -> None:
    change_password(machine)  # makes the copies
    config = machine.config("ada")
    shutil.copy(machine.kept() / "wrapped-passphrase", config / "wrapped-passphrase")
    os.chown(config / "wrapped-passphrase", ADA, ADA)
    others = ("/home/bob", "/home/.ecryptfs/bob", "/etc", "/run/pyhome")
    before = machine.snapshot(*others)
    for trap in TRAPS:
        with trapped(config / name, trap):
            change_password(machine)
            assert differences(before, machine.snapshot(*others)) == [], trap
    assert not machine.path("/home/bob/planted").exists()
    assert "the worker" not in machine.log()


def test_between_the_two_passes_of_a_password_change(machine: LoginMachine) -> None:
    """The room that was made is exchanged for something else before it is filled."""
    before = machine.snapshot("/home/bob", "/home/.ecryptfs/bob", "/etc")
    original = machine.wrapped().read_bytes()
    for trap in [*TRAPS, "second name of the key file"]:
        talk = Talk(machine, oldauthtok=PASSWORD, authtok=NEW)
        assert talk.phase(wire.PHASE_CHAUTHTOK, PRELIM) == 0
        staged = machine.config("ada") / "wrapped-passphrase.pyhome-new"
        remove(staged)
        if trap in TRAPS:
            TRAPS[trap](staged)
        else:
            os.link(machine.wrapped(), staged)
        inode = machine.wrapped().stat().st_ino
        code = talk.phase(wire.PHASE_CHAUTHTOK, UPDATE)
        assert (machine.wrapped().stat().st_ino != inode) == (code == 0), trap  # never written in place
        assert machine.opens(NEW if code == 0 else PASSWORD), trap
        assert code == 0 or trap == "directory", trap
        assert differences(before, machine.snapshot("/home/bob", "/home/.ecryptfs/bob", "/etc")) == [], trap
        remove(staged)
        machine.wrapped().write_bytes(original)


@pytest.mark.parametrize("place", ["the shared directory", "the link in the home", "the ciphertext", "the home itself"])
@pytest.mark.guarantee(6)
def test_in_place_of_a_directory(machine: LoginMachine, place: str) -> None:
    path = {
        "the shared directory": machine.config("ada"),
        "the link in the home": machine.path("/home/ada/.ecryptfs"),
        "the ciphertext": machine.config("ada").parent / ".Private",
        "the home itself": machine.path("/home/ada"),
    }[place]
    before = machine.snapshot(*OTHERS)
    traps = TRAPS.keys() - {"hard link to bob's"}
    for trap in sorted(traps):
        with trapped(path, trap):
            assert len(log_in(machine)) <= 1, trap
            assert differences(before, machine.snapshot(*OTHERS)) == [], trap
    assert "the worker" not in machine.log()


@pytest.mark.parametrize("target", ["/home/.ecryptfs/bob/.ecryptfs", "/root", "/proc/self/cwd", "/home/ada/elsewhere", "."])
@pytest.mark.guarantee(6)
def test_a_link_that_leads_elsewhere(machine: LoginMachine, target: str) -> None:
    """A link counts that leads to a directory of one's own, which is read with one's own rights; others are as if not there."""
    machine.run(["cp", "-a", "/home/.ecryptfs/ada/.ecryptfs", "/home/ada/elsewhere"])
    link = machine.path("/home/ada/.ecryptfs")
    link.unlink()
    link.symlink_to(target)
    before = machine.snapshot(*OTHERS)
    (told,) = log_in(machine)
    assert "could not be opened" in told
    assert "mounting /home/.ecryptfs/ada/.Private: " in machine.log()
    assert differences(before, machine.snapshot(*OTHERS)) == []
    machine.run(["rm", "-r", "/home/.ecryptfs/ada/.ecryptfs"])
    tried = machine.log().count("mounting ")
    log_in(machine)
    assert differences(before, machine.snapshot(*OTHERS)) == []
    assert (machine.log().count("mounting ") > tried) == (target == "/home/ada/elsewhere")


@pytest.mark.parametrize("what", ["directory", "file", "inner directory", "link"])
def test_a_squatted_name(machine: LoginMachine, what: str) -> None:
    """Bob has got hold of ada's place in /home/.ecryptfs."""
    place = machine.config("ada").parent
    wrapped = machine.wrapped().read_bytes()
    if what == "inner directory":
        os.chown(place / ".ecryptfs", BOB, BOB)  # with ada's own files in it, as hard links can bring them there
        (place / ".ecryptfs").chmod(0o755)
    else:
        shutil.rmtree(place)
        if what == "directory":
            (place / ".ecryptfs").mkdir(parents=True)
            (place / ".ecryptfs/wrapped-passphrase").write_bytes(wrapped)
            machine.run(["chown", "-R", f"{BOB}:{BOB}", "/home/.ecryptfs/ada"])
        elif what == "file":
            place.write_bytes(b"")
        else:
            place.symlink_to("/home/.ecryptfs/bob")
    before = machine.snapshot(*OTHERS, "/home/.ecryptfs")
    tries = machine.log().count(TRIED)
    log_in(machine)
    change_password(machine)
    assert differences(before, machine.snapshot(*OTHERS, "/home/.ecryptfs")) == []
    assert machine.log().count(TRIED) == tries


@pytest.mark.parametrize(
    ("mountpoint", "reason"),
    [
        ("/home/bob", "is owned by uid 61002"),
        ("/etc", "is owned by uid 0"),
        ("/home/ada/link", "is owned by uid 61002"),
        ("/home/ada/fifo", "Not a directory"),
        ("/nowhere", "No such file or directory"),
        ("/proc/{pid}", "is on a file system of type 0x9fa0"),
    ],
)
@pytest.mark.guarantee(5)
def test_a_mount_point_that_is_not_the_users(machine: LoginMachine, mountpoint: str, reason: str) -> None:
    """Among them /proc/PID, a directory of the kernel's that looks like the user's own."""
    machine.path("/home/bob").chmod(0o755)
    machine.path("/home/ada/link").symlink_to("/home/bob")
    os.mkfifo(machine.path("/home/ada/fifo"))
    with machine.background([*AS_ADA, "sh", "-c", "echo $$; exec sleep 60"]) as sleeper:
        pid = first_line(sleeper)
        (machine.config("ada") / "Private.mnt").write_text(mountpoint.format(pid=pid), encoding="ascii")
        (told,) = log_in(machine)
    assert "could not be opened" in told
    assert reason in machine.log()


SWAPPER = """
import itertools, os, sys
os.chdir('/home/.ecryptfs/ada/.ecryptfs')
good = open('wrapped-passphrase', 'rb').read()
def regular(name, content):
    with open(name, 'wb') as file:
        file.write(content)
makers = [
    lambda name: regular(name, good), lambda name: regular(name, bytes(5000)), lambda name: os.symlink('/etc/shadow', name),
    lambda name: os.mkfifo(name), lambda name: os.symlink('/home/.ecryptfs/bob/.ecryptfs/wrapped-passphrase', name),
]
print('ready', flush=True)
for number in itertools.count():
    for name in ('wrapped-passphrase', 'wrapped-passphrase.pyhome-new', 'Private.sig', 'Private.mnt'):
        try:
            makers[number % len(makers)]('swap')
            os.rename('swap', name)
            if number % 3 == 0:
                with open(name, 'ab') as file:
                    file.write(b'x')
        except OSError:
            try:
                os.unlink('swap')
            except OSError:
                pass
"""


def test_files_that_change_all_the_time(machine: LoginMachine) -> None:
    before = machine.snapshot("/home/bob", "/home/.ecryptfs/bob", "/etc")
    with machine.background([*AS_ADA, "/usr/bin/python3", "-I", "-c", SWAPPER]) as swapper:
        assert first_line(swapper) == "ready"
        for _ in range(8):
            log_in(machine)
            change_password(machine)
    assert differences(before, machine.snapshot("/home/bob", "/home/.ecryptfs/bob", "/etc")) == []
    for path in machine.path("/home/.ecryptfs/ada").rglob("*"):
        assert path.lstat().st_uid == ADA


SILENT_FILE_SYSTEM = """
import ctypes, os, sys, time
fd = os.open('/dev/fuse', os.O_RDWR)
options = b'fd=%d,rootmode=40000,user_id=61001,group_id=61001' % fd
assert ctypes.CDLL(None, use_errno=True).mount(b'silent', sys.argv[1].encode(), b'fuse', 0, options) == 0
print('ready', flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("place", ["/home/.ecryptfs/ada/.ecryptfs", "/home/.ecryptfs/ada/.Private", "/home/ada"])
@pytest.mark.guarantee(6)
def test_a_file_system_of_the_users_that_never_answers(machine: LoginMachine, place: str) -> None:
    """FUSE, which lets anybody make one."""
    os.mknod(machine.path("/dev/fuse"), stat.S_IFCHR | 0o666, os.makedev(10, 229))
    with machine.background(["/usr/bin/python3", "-I", "-c", SILENT_FILE_SYSTEM, place]) as server:
        assert first_line(server) == "ready"
        log_in(machine)
        change_password(machine)


LINE = re.compile(r"^(\d+) +(\w+)\((.*)$")
HARMLESS = {"mount", "close", "fstat", "fstatfs"}  # the kernel checks the first itself; the others are about open descriptors


@pytest.mark.guarantee(6)
def test_the_home_is_touched_with_its_owners_rights_only(machine: LoginMachine) -> None:
    """Each system call of each worker that names something in the home is made with the owner's effective uid."""
    talk = Talk(machine, authtok=PASSWORD, oldauthtok=PASSWORD)
    under = ["strace", "-f", "-qq", "-y", "-A", "-o", "/run/trace", "-e", "trace=%file,%desc,setresuid,setresgid,setgroups"]
    for phase, flags in (
        (wire.PHASE_AUTHENTICATE, 0),
        (wire.PHASE_OPEN_SESSION, 0),
        (wire.PHASE_CHAUTHTOK, PRELIM),
        (wire.PHASE_CHAUTHTOK, UPDATE),
        (wire.PHASE_CLOSE_SESSION, 0),
    ):
        assert talk.phase(phase, flags, under=under) == 0 or phase == wire.PHASE_AUTHENTICATE
    effective, touched = 0, 0
    for line in machine.path("/run/trace").read_text(encoding="utf-8", errors="replace").splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        _, call, rest = match.groups()
        if call == "setresuid" and rest.endswith("= 0"):
            asked = rest.partition(")")[0].split(", ")[1]
            effective = effective if asked == "-1" else int(asked)
        elif "/home/" in rest and call not in HARMLESS and "AT_EMPTY_PATH" not in rest:
            assert effective == ADA, line
            touched += 1
    assert touched > 40
