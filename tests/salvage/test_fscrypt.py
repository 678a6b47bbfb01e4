"""fscrypt homes on the disks of a dead machine: opened with what somebody has at hand, read-only, and closed without a trace."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.create import killed
from tests.create.machine import PASSWORD
from tests.pam.harness import eventually
from tests.salvage.machine import ADA, BOB, OLD, SalvageMachine

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

AT = "/root/at"


@contextlib.contextmanager
def moved(machine: SalvageMachine, *paths: str) -> Iterator[str]:
    """Put these away for a while; where they are meanwhile."""
    machine.run(["mkdir", "-p", "/mnt/old/away"])
    for number, path in enumerate(paths):
        machine.run(["mv", path, f"/mnt/old/away/{number}"])
    try:
        yield "/mnt/old/away"
    finally:
        for number, path in enumerate(paths):
            machine.run(["mv", f"/mnt/old/away/{number}", path])


@contextlib.contextmanager
def using(machine: SalvageMachine, path: str) -> Iterator[None]:
    """Have a process that has the file open."""
    command = machine.enter(["/bin/sh", "-c", f"exec 3< {path}; echo; exec cat"], {})
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdin is not None
        assert user.stdout is not None
        user.stdout.readline()
        yield
        user.stdin.close()
        assert user.wait() == 0


@contextlib.contextmanager
def fresh(machine: SalvageMachine, path: str = AT) -> Iterator[str]:
    """A new empty directory of root's."""
    machine.path(path).mkdir(mode=0o755)
    try:
        yield path
    finally:
        machine.run(["rm", "-rf", path])


@pytest.mark.parametrize(
    ("path", "secret", "file"),
    [(ADA, "recovery", "letter"), (ADA, "as typed", "letter"), (ADA, "password", "letter"), (BOB, "password", "secret")],
)
@pytest.mark.guarantee(17)
def test_a_home_opens_read_only(machine: SalvageMachine, path: str, secret: str, file: str) -> None:
    typed = machine.recovery.upper().replace("-", " ")
    given = {"recovery": machine.recovery.encode(), "as typed": typed.encode(), "password": PASSWORD}[secret]
    before = len(machine.records("recovered"))
    place = machine.opens(path, given)
    (told,) = machine.records("recovered")[before:]
    name, uid = path.rpartition("/")[2], machine.run(["stat", "-c", "%u", path]).strip()
    assert (told["PYHOME_WHY"], told["USER"], told["UID"]) == (f"{path} on {place}", name, uid)
    assert place == f"/run/pyhome-recover/{path.rpartition('/')[2]}"
    assert machine.run(["cat", f"{place}/{file}"]) in {"dear\n", "written while open\n"}
    for attempt in (f"touch {place}/new", f"rm {place}/{file}", f"echo x > {place}/{file}"):
        assert b"Read-only file system" in machine.try_to(attempt).stderr, attempt
    machine.close(place)


@pytest.mark.guarantee(17)
def test_nothing_in_it_makes_a_process_more_than_it_is(machine: SalvageMachine) -> None:
    place = machine.opens(ADA, PASSWORD, "--writable")
    (line,) = (line for line in machine.run(["cat", "/proc/self/mountinfo"]).splitlines() if line.split()[4] == place)
    assert set(line.split()[5].split(",")) >= {"rw", "nosuid", "nodev", "noexec"}
    assert b"Permission denied" in machine.try_to(f"{place}/deep/true").stderr
    assert machine.try_to(f"cmp {place}/deep/true /bin/true").returncode == 0
    machine.run(["touch", f"{place}/new"])
    machine.run(["rm", f"{place}/new"])
    machine.close(place)


def test_on_a_disk_that_is_read_only_itself(machine: SalvageMachine) -> None:
    disks = (OLD, f"{OLD}/home")
    try:
        for disk in disks:
            machine.run(["mount", "-o", "remount,ro", disk])
        place = machine.opens(ADA, PASSWORD, "--writable")
        assert machine.run(["cat", f"{place}/letter"]) == "dear\n"
        assert b"Read-only file system" in machine.try_to(f"touch {place}/new").stderr
        machine.close(place)
    finally:
        for disk in disks:
            machine.run(["mount", "-o", "remount,rw", disk])


@pytest.mark.guarantee(17)
def test_only_root_gets_to_where_homes_are_opened(machine: SalvageMachine) -> None:
    place = machine.opens(ADA, PASSWORD)
    uid = machine.run(["stat", "-c", "%u", ADA]).strip()
    denied = machine.try_to(f"setpriv --reuid={uid} --regid={uid} --clear-groups ls {place}")
    assert b"Permission denied" in denied.stderr
    machine.close(place)


@pytest.mark.guarantee(17)
@pytest.mark.parametrize("way", ["chmod 711 /mnt", "mkdir /public; mount --bind /mnt/old/home /public"])
def test_a_disk_that_others_get_to(machine: SalvageMachine, way: str) -> None:
    """There, a local user with the uid of the owner would read and write the files while root has them open."""
    machine.run(["sh", "-c", way])
    line = machine.refuses_to("--password-file", "-", ADA, said=PASSWORD, status=91)
    assert "is on a disk that others than root get to" in line
    assert "below a directory that only root may enter, made with 'install -d -m 700 /root/disk'" in line
    assert not machine.is_unlocked(ADA)
    machine.run(["sh", "-c", "chmod 700 /mnt; ! mountpoint -q /public || umount /public; rm -rf /public"])


@pytest.mark.guarantee(17)
@pytest.mark.parametrize("how", ["name space", "inside"])
def test_a_disk_that_others_are_in(machine: SalvageMachine, how: str) -> None:
    """A copy of the mounts from before, or a working directory, which no mode of the directory takes away."""
    uid = machine.run(["stat", "-c", "%u", ADA]).strip()
    inside = f"exec setpriv --reuid={uid} --regid={uid} --clear-groups sleep 60"
    script = f"cd {OLD}/home; {inside}" if how == "inside" else f"mount --bind {OLD}/home /srv; {inside}"
    command = ["sh", "-c", f"chmod 755 /mnt; {script}"]
    apart = [] if how == "inside" else ["unshare", "--mount", "--propagation", "private"]
    with machine.background([*apart, *command]) as process:
        assert eventually(lambda: "sleep" in machine.run(["sh", "-c", "cat /proc/[0-9]*/comm"], status=None))
        machine.run(["chmod", "700", "/mnt"])
        line = machine.refuses_to("--password-file", "-", ADA, said=PASSWORD, status=91)
        assert ("others than root get to" if how == "name space" else "in use by others than root") in line
        assert process.poll() is None
    with_key = machine.opens(ADA, PASSWORD)
    for what in ("cat {}/letter", "sh -c 'echo changed > {}/letter'"):
        denied = machine.try_to(f"setpriv --reuid={uid} --regid={uid} --clear-groups {what.format(ADA)}")
        assert denied.returncode != 0
    machine.close(with_key)


def test_at_a_directory_of_choice(machine: SalvageMachine) -> None:
    with fresh(machine) as at:
        said = machine.recover("--password-file", "-", "--at", at, f"{OLD}/home/bob", said=PASSWORD)
        assert said == f"The home of bob is open at {at}, read-only. 'pyhome recover --close {at}' closes it.\n"
        shown = machine.recover()
        assert shown.splitlines()[1].split() == ["bob", "fscrypt", at, BOB]
        assert machine.parsed()["open"] == [{"user": "bob", "path": BOB, "directory": at}]
        line = machine.recover("--at", at, "--password-file", "-", ADA, said=PASSWORD, status=91)
        reason = "a home is open there already; close it with 'pyhome recover --close', or name another directory with --at"
        assert line == f"pyhome recover: {at}: {reason}\n"
        line = machine.recover("--password-file", "-", BOB, said=PASSWORD, status=91)
        assert line == f"pyhome recover: {BOB}: is open already: {at}; look there, or close it there first\n"
        assert machine.parsed("--close", at) == {"version": 1, "user": "bob", "closed": True, "directory": at}
        assert machine.path(at).is_dir()
        line = machine.refuses_to("--close", at, status=91)
        reason = "no home was opened there by 'pyhome recover'; 'pyhome recover' alone shows what is open, and where"
        assert line == f"pyhome recover: {at}: {reason}\n"
    assert "No home of another installation is open; name a PATH" in machine.recover()


def test_two_at_the_same_time(machine: SalvageMachine) -> None:
    _, second = machine.opens(ADA, machine.recovery), machine.opens(BOB, PASSWORD)
    assert "several homes that lie there are open; 'pyhome recover' alone" in machine.recover("--close", OLD, status=91)
    machine.recover("--close", ADA)  # the path that opened it will do
    assert machine.run(["cat", f"{second}/secret"]) == "written while open\n"
    assert not machine.is_unlocked(ADA)
    machine.close(second)


@pytest.mark.parametrize("defect", ["full", "foreign", "writable", "file", "missing"])
def test_a_directory_that_is_not_good(machine: SalvageMachine, defect: str) -> None:
    with fresh(machine) as at:
        make = {
            "full": f"touch {at}/x", "foreign": f"chown 5000 {at}", "writable": f"chmod 777 {at}",
            "file": f"rmdir {at}; touch {at}", "missing": f"rmdir {at}",
        }  # fmt: skip
        machine.run(["sh", "-c", make[defect]])
        line = machine.refuses_to("--at", at, "--password-file", "-", ADA, said=PASSWORD, status=91)
        assert ("is not empty; name an empty directory with --at" if defect == "full" else "root alone can write") in line


def test_a_wrong_password(machine: SalvageMachine) -> None:
    line = machine.refuses_to("--password-file", "-", ADA, said=b"wrong", status=13)
    advice = "give the recovery key, the mount passphrase, or the password of that time"
    assert line == f"pyhome recover: {ADA}: this opens nothing there; {advice}\n"
    mistyped = machine.recovery.replace(machine.recovery[0], "z" if machine.recovery[0] != "z" else "y", 1)
    line = machine.refuses_to("--password-file", "-", ADA, said=mistyped.encode(), status=13)
    assert line == f"pyhome recover: {ADA}: this recovery key is mistyped in group 1; compare it with the paper\n"
    assert machine.refuses_to("--password-file", "-", ADA, status=47)
    assert machine.refuses_to("--password-file", "/none", ADA, status=47)


def test_metadata_from_the_copies_that_pyhome_keeps(machine: SalvageMachine) -> None:
    with moved(machine, f"{OLD}/.fscrypt", f"{OLD}/home/.fscrypt"):
        machine.close(machine.opens(ADA, PASSWORD))
        line = machine.refuses_to(BOB, status=92)
        assert "the metadata of its policy" in line
        assert "mount the other disks of that machine as well, or name a backup of its key files with --metadata" in line


def test_metadata_from_somewhere_else(machine: SalvageMachine) -> None:
    with moved(machine, f"{OLD}/.fscrypt", f"{OLD}/var/lib/pyhome") as away:
        line = machine.refuses_to("--password-file", "-", BOB, said=PASSWORD, status=13)
        assert "this opens nothing there, but its protector " in line
        assert " is not found; mount the other disks of that machine as well, or name a backup" in line
        place = machine.opens(ADA, machine.recovery)
        machine.close(place)
        for named in (f"{away}/0", "/root/link"):
            machine.run(["sh", "-c", f"mkdir -p /root/link; cp -a {away}/0 /root/link/.fscrypt"])
            machine.close(machine.opens(BOB, PASSWORD, "--metadata", named))
        machine.run(["rm", "-r", "/root/link"])


def test_closing_while_it_is_used(machine: SalvageMachine) -> None:
    place = machine.opens(ADA, PASSWORD)
    with using(machine, f"{place}/letter"):
        line = machine.recover("--close", place, status=16)
        assert f"{place} stays open while it is used by pid " in line
        assert "(cat, uid 0)" in line
        assert machine.run(["cat", f"{place}/letter"]) == "dear\n"
    machine.close(place)


def test_closing_while_it_is_used_at_its_own_place(machine: SalvageMachine) -> None:
    place = machine.opens(ADA, PASSWORD)
    with using(machine, f"{ADA}/letter"):
        line = machine.recover("--close", place, status=16)
        assert f"{ADA} is only partly locked while it is used by pid " in line
        assert "Directory not empty" not in line
    machine.close(place)


def test_a_key_that_root_had_before_stays(machine: SalvageMachine) -> None:
    """What somebody else has opened is not ours to close."""
    first = machine.opens(ADA, PASSWORD)
    machine.run(["sh", "-c", "mv /run/pyhome-recover/.open/1 /root/hidden"])
    second = machine.opens(ADA, PASSWORD)
    assert second != first
    machine.recover("--close", second)
    assert machine.run(["cat", f"{first}/letter"]) == "dear\n"
    machine.run(["mv", "/root/hidden", "/run/pyhome-recover/.open/1"])
    machine.close(first)


@pytest.mark.parametrize("how", ["kill", "term"])
def test_killed_at_any_step(machine: SalvageMachine, how: str) -> None:
    """What a killed run has left, `--close` clears; one that is asked to end leaves nothing."""
    with fresh(machine) as at:
        steps = int(interrupted(machine, how, 0, at)[1].rpartition("steps=")[2])
        machine.close(at)
        # The first steps only look for the home.
        for step in range(steps // 3, steps + 1, 1 if how == "kill" else 3):
            status, said = interrupted(machine, how, step, at)
            assert status != 0, said
            left = machine.left()
            assert how == "kill" or not left, step
            if left and left != ["1.pyhome-new"]:  # a record that was not written yet announces nothing
                machine.close(at)
        machine.recover()
        assert machine.left() == []


def interrupted(machine: SalvageMachine, how: str, step: int, at: str) -> tuple[int, str]:
    """A run that something happens to at a step; status and output."""
    command = ("/usr/bin/python3", "-I", "-B", str(Path(killed.__file__)), how, str(step))
    done = machine.ran(*command, "recover", "--at", at, "--password-file", "-", ADA, said=PASSWORD + b"\n")
    return done.returncode, (done.stdout + done.stderr).decode()
