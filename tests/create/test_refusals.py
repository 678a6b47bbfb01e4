"""What `pyhome create` refuses: in one line that says what is wrong and what to do, and without changing anything."""

from __future__ import annotations

import os
from pathlib import Path

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from tests.create.machine import PASSWORD, PYHOME, CreateMachine
from tests.fscrypt.homes import make_image, mount_image
from tests.login.homes import crypt

pytestmark = pytest.mark.root


def test_passwords(machine: CreateMachine) -> None:
    assert "the password cannot be used (it is empty); choose another one" in machine.refuses("ada", said=b"")
    assert "(it is empty)" in machine.refuses("ada", said=b"\nsecond line\n")
    assert "more than 511 bytes" in machine.refuses("ada", said=b"x" * 512 + b"\n")
    assert "more than 511 bytes" in machine.refuses("ada", said=b"x" * 9000)
    assert "a NUL in it" in machine.refuses("ada", said=b"a\0b\n")
    line = machine.refuses("ada", "--password-file", "/root/none", status=47)
    assert line == "pyhome create: /root/none: No such file or directory; type it at the prompt, or give it with --password-file\n"


def test_a_password_is_not_taken_from_what_is_no_terminal_unless_told_so(machine: CreateMachine) -> None:
    done = machine.ran("/usr/bin/setsid", "--wait", PYHOME, "create", "ada")
    assert done.returncode == 47
    assert b"there is no terminal to ask for the password on; type it at the prompt, or give it with --password-file" in done.stderr


def test_passwords_typed_at_a_terminal(machine: CreateMachine) -> None:
    command = machine.enter(["/usr/bin/setsid", "--ctty", PYHOME, "create", "ada"], {})
    for again, status in ((b"another", 47), (PASSWORD, 0)):
        terminal = pexpect.spawn(command[0], command[1:], timeout=30)
        for answer in (PASSWORD, again) * (3 if status else 1):
            terminal.expect_exact(b"Login password of ada")
            terminal.sendline(answer)
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert PASSWORD not in terminal.before
        assert terminal.exitstatus == status, terminal.before
        assert machine.has_account() == (status == 0)
    assert machine.logs_in(PASSWORD)


@pytest.mark.parametrize("name", ["Ada", "1ada", "a b", "../ada", "a" * 33, "ada:", "a\nb", "", "-ada", "ada\x1b[2J"])
def test_names(machine: CreateMachine, name: str) -> None:
    line = machine.refuses("--", name)
    assert "is not a name for a user; use up to 32 small letters" in line
    assert line.strip().isprintable()


def test_the_command_line(machine: CreateMachine) -> None:
    for arguments, reason in (
        (("ada", "--backend", "zfs"), "'zfs' is not one of 'fscrypt', 'ecryptfs'"),
        ((), "Missing argument 'USER'"),
        (("ada", "secret"), "unexpected extra argument (secret)"),
    ):
        done = machine.ran(PYHOME, "create", *arguments)
        assert done.returncode == 2
        assert reason in done.stderr.decode()
    assert not machine.has_account()


def test_others_than_root(machine: CreateMachine) -> None:
    done = machine.ran("setpriv", "--reuid=61001", "--clear-groups", PYHOME, "create", "ada")
    assert (done.returncode, done.stderr) == (42, b"pyhome create: makes homes for others; run it as root\n")


def test_users_who_cannot_have_one(machine: CreateMachine) -> None:
    assert "is not an ordinary user (uid 0)" in machine.refuses("root")
    assert "is not an ordinary user (uid 1)" in machine.refuses("daemon")
    machine.run(["groupadd", "staffers"])
    assert "there is a group of this name already (gid " in machine.refuses("staffers")
    machine.create("ada")
    assert "has an encrypted home already (fscrypt); there is nothing to do" in machine.refuses("ada")


def test_homes_that_are_not_empty(machine: CreateMachine) -> None:
    machine.add_user("ada", 61001, password=crypt(PASSWORD), encrypted=False)
    (machine.path("/home/ada") / "letter").write_text("dear", encoding="ascii")
    assert "has a home with files in it (/home/ada); 'pyhome encrypt ada' encrypts it" in machine.refuses("ada")
    machine.path("/home/bob").mkdir()
    (machine.path("/home/bob") / "letter").write_text("dear", encoding="ascii")
    assert "has a home with files in it (/home/bob)" in machine.refuses("bob")
    machine.path("/home/eve").symlink_to("/home/ada")
    assert "has something else where the home directory belongs (/home/eve)" in machine.refuses("eve")
    machine.path("/home/.ecryptfs/max").mkdir(parents=True)
    assert "an encrypted home of this name is left over (/home/.ecryptfs/max)" in machine.refuses("max")


def test_places_for_homes(machine: CreateMachine) -> None:
    for user, home in (("a", "/nowhere/a"), ("b", "/"), ("c", "/tmp/c"), ("d", "/etc/passwd/d")):
        machine.run(["useradd", "--no-create-home", "--home-dir", home, user])
        assert "the home directory cannot be made where it belongs" in machine.refuses(user), home


def test_a_wrong_login_password(machine: CreateMachine) -> None:
    machine.add_user("ada", 61001, password=crypt(b"another"), encrypted=False)
    assert "this is not the login password; give the one" in machine.refuses("ada")


def test_a_login_protector_with_another_password(machine: CreateMachine) -> None:
    machine.add_user("ada", 61001, password=crypt(PASSWORD), encrypted=False)
    machine.path("/home/other").mkdir()
    os.chown(machine.path("/home/other"), 61001, 61001)
    machine.fscrypt("encrypt", "/home/other", "--source=pam_passphrase", "--user=ada", "--quiet", said=PASSWORD.decode() + "\n")
    machine.run(["sh", "-c", f"echo 'ada:{crypt(b'new')}' | chpasswd -e"])
    line = machine.refuses("ada", said=b"new\n")
    assert "has a login protector of fscrypt's that another password opens" in line
    assert machine.leftovers() == []


def test_file_systems(machine: CreateMachine, tmp_path: Path) -> None:
    image = tmp_path / "plain"
    make_image(image, features="^encrypt")
    mount_image(machine, image, "/plain")
    machine.path("/plain").chmod(0o755)
    machine.run(["useradd", "--no-create-home", "--home-dir", "/plain/ada", "ada"])
    line = machine.refuses("ada")
    device = next(line for line in machine.run(["cat", "/proc/mounts"]).splitlines() if " /plain " in line).split()[0]
    assert f"without encryption (ext4 on {device}); switch it on with 'tune2fs -O encrypt {device}' and try again" in line
    assert "'tune2fs -O encrypt" in machine.refuses("ada", "--backend", "fscrypt")
    machine.path("/opt/homes").mkdir()
    machine.run(["useradd", "--no-create-home", "--home-dir", "/opt/homes/bob", "bob"])
    assert "the file system cannot encrypt (/opt/homes: its file system is not one that can be encrypted" in machine.refuses("bob")
    machine.run(["/sbin/tune2fs", "-O", "encrypt", device])
    machine.run(["sh", "-c", "umount /plain; mount -o loop /srv/plain-plain /plain"])
    assert "ada: the home is made" in machine.create("ada")


def test_a_kernel_without_ecryptfs(machine: CreateMachine) -> None:
    line = machine.refuses("ada", "--backend", "ecryptfs")
    assert line == "pyhome create: ada: this kernel has no eCryptfs; install one that has, or use '--backend fscrypt'\n"


def test_a_configuration_that_is_none(machine: CreateMachine) -> None:
    path = machine.path("/etc/fscrypt.conf")
    path.write_text("{ nothing", encoding="ascii")
    assert machine.refuses("ada", status=10).startswith("pyhome create: /etc/fscrypt.conf: ")
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert "/etc/fscrypt.conf: is a link" in machine.refuses("ada", status=15)


def test_skeletons_that_cannot_be_copied(machine: CreateMachine) -> None:
    machine.path("/etc/skel/.profile").chmod(0o600)
    line = machine.refuses("ada", status=17)
    assert "copying /etc/skel" in line
    assert "Permission denied" in line
    assert machine.leftovers() == []


def test_what_runs_with_the_users_rights_is_handed_nothing(machine: CreateMachine) -> None:
    """Its owner could hold on to the lock that it was given, or type on root's terminal: it leads a session of its own."""
    path = machine.path("/usr/bin/cp")
    path.unlink()
    said = "$(id -u | grep -cx 0), locks: $(ls -l /proc/$$/fd | grep -c /creating/), leads: $(ps -o sid= -p $$ | grep -cw $$)"
    path.write_text(f'#!/bin/sh\necho "root: {said}" >&2; exit 1\n', encoding="ascii")
    path.chmod(0o755)
    assert "copying /etc/skel: root: 0, locks: 0, leads: 1;" in machine.refuses("ada", status=17)


def test_tools_that_fail(machine: CreateMachine) -> None:
    """After the recovery key was shown: that is said, and everything is taken back."""
    for tool in ("useradd", "chpasswd"):
        path = machine.path(f"/usr/sbin/{tool}")
        kept = path.read_bytes()
        path.write_text("#!/bin/sh\n[ $1 != -D ] || exit 0\necho out of order >&2; exit 3\n", encoding="ascii")
        said = machine.create("ada", status=30)
        assert f"the account could not be changed ({tool}: out of order); see what it says; the recovery key above is void" in said
        assert not machine.has_account()
        assert not machine.path("/home/ada").exists()
        assert machine.leftovers() == []
        assert machine.metadata()["/.fscrypt/protectors"] == machine.metadata()["/home/.fscrypt/policies"] == []
        path.write_bytes(kept)
    assert "ada: the account and home are made" in machine.create("ada")


def test_two_at_the_same_time_take_turns(machine: CreateMachine) -> None:
    holder = ["flock", "/var/lib/pyhome/creating/.lock", "sh", "-c", "echo ready; sleep 1.5"]
    machine.create("ada")
    with machine.background(holder) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert "bob: the account and home are made" in machine.create("bob")
        assert process.wait(timeout=5) == 0
