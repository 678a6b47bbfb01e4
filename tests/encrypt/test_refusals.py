"""What is not encrypted: one line for each thing in the way, a number for each kind, and nothing has changed."""

from __future__ import annotations

import json
import os
import shutil
import stat

import pytest

from pam_pyhome.admin import tree
from pam_pyhome.admin.conversion_kinds import Ecryptfs
from tests.create.machine import PASSWORD, PYHOME
from tests.encrypt.machine import LONG, EncryptMachine, add_socket
from tests.login.homes import ADA, first_line

pytestmark = pytest.mark.root


def test_files_that_cannot_be_copied(machine: EncryptMachine) -> None:
    """All of them at once, each with what to do about it."""
    home = machine.add_plain()
    add_socket(home / "S.agent")
    os.mknod(home / "dev", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    for option, name in (("+i", "frozen"), ("+a", "dir/log")):
        (home / name).touch()
        machine.run(["chattr", option, f"/home/ada/{name}"])
    os.link(home / "file", machine.path("/home/elsewhere"))
    (home / "mnt").mkdir()
    machine.run(["mount", "-t", "tmpfs", "none", "/home/ada/mnt"])
    for number in range(13):
        add_socket(home / f"dir/deeper/s{number}")
    said = machine.convert("encrypt", "ada", status=70).splitlines()
    head = "pyhome encrypt: ada: "
    for line in (
        "/home/ada/S.agent is a socket; remove it, programs make their sockets anew",
        "/home/ada/dev is a device node; remove it, or move it out of the home",
        "/home/ada/frozen is immutable; run 'chattr -i' on it",
        "/home/ada/dir/log can only be appended to; run 'chattr -a' on it",
        "/home/ada/file has another name outside of the home; remove the other name, or make it a copy",
        "/home/ada/mnt is a mount point, or on another file system; unmount it",
        "each of 4 more is a socket; remove it, programs make their sockets anew",
    ):
        assert head + line in said
    assert all(line.startswith(head) for line in said)
    assert machine.remains() == []
    dry = machine.ran(PYHOME, "encrypt", "--dry-run", "--json", "ada").stdout.decode()
    assert len(json.JSONDecoder().raw_decode(dry)[0]["problems"]) == len(said)
    machine.run(["chattr", "-i", "/home/ada/frozen"])
    machine.run(["chattr", "-a", "/home/ada/dir/log"])


def test_somebody_is_at_work(machine: EncryptMachine) -> None:
    machine.add_plain()
    command = ["setpriv", f"--reuid={ADA}", f"--regid={ADA}", "--clear-groups", "sh", "-c", "echo ready; exec sleep 30"]
    with machine.background(command) as process:
        assert first_line(process) == "ready"
        line = machine.refuses("encrypt", "ada", status=16)
        assert "ada: /home/ada is in use by pid " in line
        assert f"(sleep, uid {ADA}): runs; log out there, or end what uses it" in line
    with machine.background(["sh", "-c", "exec 7</home/ada/file; echo ready; exec sleep 30"]) as process:
        assert first_line(process) == "ready"
        assert "(sleep, uid 0): fd 7 /home/ada/file;" in machine.refuses("encrypt", "ada", status=16)


def test_too_little_space(machine: EncryptMachine) -> None:
    home = machine.add_plain()
    free = shutil.disk_usage(home).free
    with (home / "big").open("wb") as file:
        file.write(os.urandom(free * 6 // 10))
    assert "/home has " in (line := machine.refuses("encrypt", "ada", status=71))
    assert "; free some space" in line


def test_passwords(machine: EncryptMachine) -> None:
    machine.add_plain()
    line = machine.refuses("encrypt", "ada", status=75, said=b"wrong\n")
    assert line == "pyhome encrypt: ada: this is not the login password; give the one that the user logs in with\n"
    assert "no password was given" in machine.refuses("encrypt", "ada", status=47, said=b"")
    machine.run(["usermod", "--lock", "ada"])
    assert "there is no login password; set one with 'passwd'" in machine.refuses("encrypt", "ada", status=75)


def test_a_password_that_is_kept_elsewhere(machine: EncryptMachine) -> None:
    """As for users of a directory service: whoever would let them log in says whether it is right."""
    machine.add_plain()
    shadow = machine.path("/etc/shadow")
    lines = shadow.read_text(encoding="ascii").splitlines(keepends=True)
    shadow.write_text("".join(line for line in lines if not line.startswith("ada:")), encoding="ascii")
    checker = machine.path("/root/checker")
    checker.write_text(f"#!/bin/sh\nread -r answer\n[ \"$answer\" = '{PASSWORD.decode()}' ]\n", encoding="ascii")
    checker.chmod(0o755)
    machine.write_stack("login", "auth required pam_exec.so expose_authtok quiet /root/checker\n")
    assert "this is not the login password" in machine.refuses("encrypt", "ada", status=75, said=b"wrong\n")
    machine.convert("encrypt", "ada")
    assert b"/file" in machine.open_state()


def test_whose_home_it_is(machine: EncryptMachine) -> None:
    assert "there is no user nobodyhere" in machine.refuses("encrypt", "nobodyhere", status=41)
    assert "is not an ordinary user" in machine.refuses("encrypt", "root", status=30)
    home = machine.add_plain()
    os.chown(home, 0, 0)
    assert "the home directory belongs to somebody else (uid 0)" in machine.refuses("encrypt", "ada", status=74)
    os.chown(home, ADA, ADA)
    assert "nothing was begun that could be gone on with" in machine.refuses("encrypt", "--resume", "ada", status=74)
    assert "has no encrypted home" in machine.refuses("decrypt", "ada", status=40)
    machine.convert("encrypt", "ada")
    machine.open_state()
    machine.pyhome("confirm", "--yes", "ada")
    assert "has an encrypted home already (fscrypt)" in machine.refuses("encrypt", "ada", status=30)
    assert "this password does not open the home" in machine.refuses("decrypt", "ada", status=13, said=b"wrong\n")


def test_a_home_below_a_directory_that_others_can_write(machine: EncryptMachine) -> None:
    """However far up, and on the way along links: whoever can write there can put something else in the place of the home."""
    machine.add_plain()
    team, home = machine.path("/home/team"), machine.path("/home/team/homes/ada")
    home.parent.mkdir(parents=True)
    machine.path("/home/ada").rename(home)
    words = "(/home/team is not a directory that root alone can write)"
    machine.path("/home/homes").symlink_to("/home/team/way")
    (team / "way").symlink_to("homes")
    for path, mode, owner in (("/home/homes/ada", 0o1777, 0), ("/home/team/homes/ada", 0o755, ADA)):
        machine.run(["usermod", "--home", path, "ada"])
        team.chmod(mode)
        os.chown(team, owner, owner)
        assert words in machine.refuses("encrypt", "ada", status=30)
    os.chown(team, 0, 0)
    machine.convert("encrypt", "ada")
    machine.pyhome("unlock", "--password-file", "-", "ada")
    machine.pyhome("lock", "ada")
    os.chown(team, ADA, ADA)
    for verb in ("decrypt", "confirm"):
        assert words in machine.pyhome(verb, "--yes", "ada", status=74)
    os.chown(team, 0, 0)
    machine.pyhome("confirm", "--yes", "ada")
    os.chown(team, ADA, ADA)
    assert words in machine.refuses("decrypt", "ada", status=30)
    assert words in machine.pyhome("remove", "--yes", "ada", status=51)
    home.rename(home.with_name("away"))
    assert words in machine.pyhome("create", "--password-file", "-", "ada", status=30)


def test_only_root_and_only_when_asked(machine: EncryptMachine) -> None:
    machine.add_plain()
    done = machine.ran("setpriv", f"--reuid={ADA}", f"--regid={ADA}", "--clear-groups", "/usr/bin/pyhome", "encrypt", "ada")
    assert (done.returncode, done.stderr.decode()) == (42, "pyhome encrypt: copies files of others; run it as root\n")
    assert "there is no terminal to ask on; --yes goes on without" in machine.pyhome("encrypt", "ada", status=2)
    assert machine.remains() == []


def test_an_encrypted_home_in_use(machine: EncryptMachine) -> None:
    machine.add_plain()
    machine.convert("encrypt", "ada")
    session = machine.start("login", "ada", f"answerx={PASSWORD.hex()}", "auth", "setcred", "open", "wait", "close")
    while not session.line().startswith("open 0"):
        pass
    said = machine.convert("decrypt", "ada", status=44)
    assert "the home is in use by pid " in said
    session.go_on()
    session.finish()
    machine.convert("decrypt", "--resume", "ada")
    assert (machine.path("/home/ada") / "file").read_text(encoding="ascii") == "some text\n"


def test_sockets_in_an_encrypted_home(machine: EncryptMachine) -> None:
    """They can be named only when it is open; it is locked again, and nothing was begun."""
    home = machine.add_plain()
    machine.convert("encrypt", "ada")
    machine.pyhome("unlock", "--password-file", "-", "ada")
    add_socket(home / "S.agent")
    assert "/home/ada/S.agent is a socket; remove it" in machine.convert("decrypt", "ada", status=70)
    machine.pyhome("confirm", "--yes", "ada")
    machine.pyhome("lock", "ada")
    assert "/home/ada/S.agent is a socket; remove it" in machine.convert("decrypt", "ada", status=70)
    assert machine.pyhome("status", "ada") == "The home of ada is locked.\n"
    assert machine.remains() == []


@pytest.mark.guarantee(16)
def test_a_home_that_is_changed_all_the_time(machine: EncryptMachine) -> None:
    """By root, who has nothing open there: the copies do not change places."""
    home = machine.add_plain()
    (home / "counter").touch()
    command = ["sh", "-c", "echo ready; while :; do chmod 600 /home/ada/counter; chmod 640 /home/ada/counter; sleep 0.01; done"]
    with machine.background(command) as process:
        assert first_line(process) == "ready"
        said = machine.convert("encrypt", "ada", status=77)
    assert "the home is changed while it is copied; stop what does that, then 'pyhome encrypt --resume ada' goes on" in said
    assert not machine.is_encrypted()
    machine.convert("encrypt", "--resume", "ada")
    assert machine.is_encrypted()
    assert machine.open_state()[b"/counter"]


def test_names_that_ecryptfs_cannot_have(machine: EncryptMachine) -> None:
    home = machine.add_plain()
    assert len(max(os.listdir(home / "dir"), key=len)) == 200
    assert "this kernel has no eCryptfs" in machine.refuses("encrypt", "--backend", "ecryptfs", "ada", status=30)
    found = tree.survey(str(home), longest=Ecryptfs.longest, reserved=Ecryptfs.own_names)
    assert [(each.path.rpartition("/")[2], each.why) for each in found.obstacles] == [(LONG, tree.LONG_NAME)]
    (home / ".ecryptfs").mkdir()
    found = tree.survey(str(home), longest=255, reserved=Ecryptfs.own_names)
    assert [(each.path, each.why) for each in found.obstacles] == [(f"{home}/.ecryptfs", tree.RESERVED)]
