"""What pyhome says is locked is locked, for the kernel: whatever became of paths, mounts, groups and records meanwhile."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.fscrypt.homes import OPENED, READ, FscryptMachine
from tests.fscrypt.test_sessions import start
from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, AS_ADA, BOB, LoginMachine, answers, first_line, pyhomed
from tests.pam.harness import REPOSITORY, eventually
from tests.verbs.command import ROOT, pyhome

pytestmark = [pytest.mark.root, pytest.mark.guarantee(2)]

AS_BOB = ("setpriv", f"--reuid={BOB}", f"--regid={BOB}", "--clear-groups")
LOCKED = "locked the home"


def is_locked(machine: FscryptMachine) -> bool:
    """What the real tool says."""
    return "Unlocked: No" in machine.fscrypt("status", "/home/ada")


def says(machine: LoginMachine, *arguments: str, uid: int = ROOT) -> tuple[int, str]:
    """What the command says, and how it ends."""
    shutil.copy(REPOSITORY / "packaging/files/pyhome", machine.path("/usr/bin/pyhome"))
    machine.path("/usr/bin/pyhome").chmod(0o755)
    ran = pyhome(machine, uid, *arguments)
    return ran.code, ran.out + ran.err


def record_of(machine: LoginMachine) -> str:
    path = machine.state(ADA) / "open"
    return path.read_text(encoding="ascii") if path.exists() else ""


def test_a_file_system_that_only_a_group_may_enter(machine: FscryptMachine) -> None:
    """Ada is in it by her primary group, which is not called after her."""
    passwd = machine.path("/etc/passwd")
    passwd.write_text(passwd.read_text().replace("ada:x:61001:61001:", "ada:x:61001:100:"))
    machine.run(["sh", "-c", "chgrp users /home; chmod 750 /home"])
    assert machine.log_in(PASSWORD, READ) == OPENED
    assert is_locked(machine)


def test_the_mount_that_was_there_at_the_login_is_gone(machine: FscryptMachine) -> None:
    """Another mount of the file system is as good, and no mount is needed but one that there is."""
    machine.run(["sh", "-c", "mkdir /mnt/second; mount --bind /home /mnt/second"])
    session, _ = start(machine, "wait", "close")
    for line in record_of(machine).splitlines():
        assert not line.startswith("claim=") or line.endswith(" /home")
    machine.run(["umount", "/mnt/second"])
    opened = machine.state(ADA) / "open"
    opened.write_text(re.sub(r"(claim=.*) /home\n", r"\1 /mnt/second\n", record_of(machine)), encoding="ascii")
    session.go_on()
    assert session.finish() == ["close 0"]
    assert is_locked(machine)
    assert record_of(machine) == ""


def test_a_home_that_was_renamed_while_it_was_open(machine: FscryptMachine) -> None:
    session, _ = start(machine, "wait", "close")
    machine.path("/home/ada").rename(machine.path("/home/moved"))
    session.go_on()
    assert session.finish() == ["close 0"]
    assert "Unlocked: No" in machine.fscrypt("status", "/home/moved")


def test_a_record_of_the_version_before(machine: FscryptMachine) -> None:
    """The package was upgraded while the home was open."""
    session, _ = start(machine, "wait", "close")
    opened = machine.state(ADA) / "open"
    text = re.sub(r"inode=.*\n", "", re.sub(r"(claim=\d+ \w+) [0-9:]+ ", r"\1 ", record_of(machine)))
    assert re.search(r"claim=61001 [0-9a-f]{32} /home\n", text)
    opened.write_text(text, encoding="ascii")
    assert machine.pam("login", "ada", "open", READ, "close")[1] == "written while open"
    session.go_on()
    assert session.finish() == ["close 0"]
    assert is_locked(machine)


def test_what_cannot_be_recorded_is_not_opened(machine: FscryptMachine) -> None:
    """The disk of /run is full. The login goes on."""
    machine.run(["sh", "-c", "mkdir -p /run/pyhome && mount -t tmpfs -o size=64k,mode=700 tmpfs /run/pyhome"])
    machine.run(["sh", "-c", "head -c 1M /dev/zero > /run/pyhome/full; true"])
    said = machine.pam("login", "ada", *answers(PASSWORD), "auth", "setcred", "open", READ, "close")
    assert any("could not be opened" in line for line in said)
    assert ("open 0" in said, "written while open" in said, said[-1]) == (True, False, "close 0")
    assert is_locked(machine)
    machine.path("/run/pyhome/full").unlink()
    assert machine.log_in(PASSWORD, READ) == OPENED
    assert is_locked(machine)


def test_what_a_killed_worker_was_opening_is_locked(machine: FscryptMachine) -> None:
    """Killed after the key was given, and before that was recorded."""
    session, pid = start(machine, "wait")
    opened = machine.state(ADA) / "open"
    opened.write_text(record_of(machine).replace("user=ada\n", "user=ada\nstate=opening\n"), encoding="ascii")
    assert machine.pam("login", "ada", "open", READ, "close")[1] == "written while open"
    opened.write_text(record_of(machine).replace("user=ada\n", "user=ada\nstate=opening\n"), encoding="ascii")
    session.kill(pid)
    with machine.background(pyhomed()):
        assert eventually(lambda: record_of(machine) == "")
    assert is_locked(machine)


def test_a_busy_home_stays_open_until_it_is_free(machine: FscryptMachine) -> None:
    """What was left running goes on with all of the home, as with eCryptfs, and is named once, however often its number changes."""
    loop = "cd /home/ada; echo ready; while sleep 0.2; do cat secret >>copy; done"
    with machine.background(pyhomed()):
        assert eventually(lambda: machine.path("/run/pyhomed.sock").exists())
        session, _ = start(machine, "wait", "close")
        with machine.background([*AS_ADA, "sh", "-c", loop]) as busy:
            assert first_line(busy) == "ready"
            session.go_on()
            session.finish()
            assert eventually(lambda: "user ada: the home stays open while it is busy: pid " in machine.log())
            code, said = says(machine, "lock", "ada")
            assert (code, "stays open while it is used by pid" in said) == (16, True)
            assert eventually(machine.path("/home/ada/copy").exists)
            size = machine.path("/home/ada/copy").stat().st_size
            assert eventually(lambda: machine.path("/home/ada/copy").stat().st_size > size)
            assert "Unlocked: Yes" in machine.fscrypt("status", "/home/ada")
            assert machine.log().count("(sh, uid 61001)") <= 2  # pam_pyhome's line, and pyhomed's
        assert eventually(lambda: is_locked(machine), 30)
    assert LOCKED in machine.log()


def test_a_neighbours_process_does_not_keep_it_open(machine: FscryptMachine) -> None:
    """It keeps what it has open itself, and that is what is said."""
    machine.add_user("bob", BOB, encrypted=False)
    with machine.background(pyhomed()):
        assert eventually(lambda: machine.path("/run/pyhomed.sock").exists())
        session, _ = start(machine, "wait", "close")
        machine.path("/home/ada").chmod(0o755)
        with machine.background([*AS_BOB, "sh", "-c", "exec 5</home/ada/secret; echo ready; exec sleep 600"]) as busy:
            assert first_line(busy) == "ready"
            session.go_on()
            session.finish()
            assert eventually(lambda: "user ada: the home is only partly locked: pid " in machine.log())
            assert re.search(r"\((sh|sleep), uid 61002\): fd 5 /home/ada/", machine.log())
            assert LOCKED not in machine.log()
            assert "incompletely locked" in machine.fscrypt("status", "/home/ada")
            assert "partly locked" in says(machine, "inspect", "ada")[1]
        assert eventually(lambda: LOCKED in machine.log(), 30)
    assert is_locked(machine)


def test_a_sandbox_and_a_bind_mount_are_uses(machine: FscryptMachine) -> None:
    """The path by which a process sees the home is not that of the home."""
    sandbox = "mount --bind /home/ada /mnt && cd / && exec setpriv --reuid=61001 --clear-groups "
    sandbox += "sh -c 'cd /mnt; echo ready; exec sleep 600'"
    session, _ = start(machine, "wait", "close")
    with machine.background(["unshare", "--mount", "sh", "-c", sandbox]) as busy:
        assert first_line(busy) == "ready"
        session.go_on()
        session.finish()
        assert machine.is_open()
    machine.run(["mount", "--bind", "/home/ada", "/mnt"])
    code, said = says(machine, "lock", "ada")
    assert (code, "/mnt is mounted in it" in said) == (16, True)
    assert machine.is_open()
    machine.run(["umount", "/mnt"])
    assert says(machine, "lock", "ada")[0] == 0
    assert is_locked(machine)


def test_a_key_that_somebody_else_claims_is_not_locked(machine: FscryptMachine) -> None:
    """Root has unlocked it by hand: it stays open, and on record, until root locks it as well."""
    unlock = ("unlock", "/home/ada", f"--unlock-with=/:{machine.protector().name}", "--quiet")
    session, _ = start(machine, "wait", "close")
    machine.fscrypt(*unlock, said=PASSWORD.decode() + "\n", status=None)
    session.go_on()
    session.finish()
    assert LOCKED not in machine.log()
    assert "stays open while it is busy: another user has a claim on its key" in machine.log()
    assert machine.is_open()
    machine.fscrypt("lock", "/home/ada", "--quiet", status=None)
    with machine.background(pyhomed()):
        assert eventually(lambda: record_of(machine) == "")
    assert is_locked(machine)


def test_two_users_with_one_uid(machine: FscryptMachine) -> None:
    """The second has a home of their own, which is not opened while the first one's is, nor does it lock that one."""
    machine.path("/home/.ecryptfs").mkdir()
    machine.add_home("bob", ADA, b"bob's own password")
    session, _ = start(machine, "wait", "close")
    steps = ("auth", "setcred", "open", "close")
    assert machine.pam("login", "bob", *answers(b"bob's own password"), *steps)[-2:] == ["open 0", "close 0"]
    assert machine.is_open()
    assert machine.leases(ADA) != []
    assert "another user with the same uid has their home open" in machine.log()
    code, said = says(machine, "lock", "bob")
    assert (code, machine.is_open()) == (49, True), said
    session.go_on()
    session.finish()
    assert is_locked(machine)


HOLD = """
import sys, time
sys.path.insert(0, "/usr/lib/pyhome")
from pam_pyhome.policy.leases import CONVERSION, UserState
with UserState(61001) as state:
    assert state.close_gate(1)
    lease = state.take_lease(CONVERSION)
print("held", flush=True)
time.sleep(600)
"""


def test_a_home_that_is_being_converted_is_not_taken_away(machine: FscryptMachine) -> None:
    """Neither by a logout nor by whoever insists; and a conversion that is killed does not keep it open."""
    session, _ = start(machine, "wait", "close")
    machine.path("/opt/test/hold").write_text(HOLD, encoding="ascii")
    with machine.background(["/usr/bin/python3", "-I", "/opt/test/hold"]) as conversion:
        assert first_line(conversion) == "held"
        session.go_on()
        assert session.finish() == ["close 0"]
        for force in ((), ("--force",)):
            code, said = says(machine, "lock", "ada", *force)
            assert (code, "is being converted by pid" in said) == (44, True)
        assert machine.is_open()
    with machine.background(pyhomed()):
        assert eventually(lambda: is_locked(machine))
