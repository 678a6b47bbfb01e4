"""fscrypt homes in places of their own, and those that ought to be there and are not; the real pam_fscrypt beside ours."""

from __future__ import annotations

import os
import re

import pytest

from tests.fscrypt.homes import OPENED, READ, FscryptMachine
from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, AUTHTOK_ERR, BOB, LoginMachine, answers, crypt
from tests.opens.conftest import install_command
from tests.verbs.command import ROOT, pyhome

pytestmark = pytest.mark.root

NEW = b"battery staple"
GRACE = 61007
OTHER = 61900

# Second mounts: one that comes first and that the user cannot reach; a disk as a whole that the user cannot reach, with the homes
# of it bound to their place; and places that can be entered and not listed.
PLACES = {
    "another mount first": "mkdir -m 700 /root/snap; mount --bind /home /root/snap; umount /home; mount --bind /root/snap /home",
    "the disk out of reach": "mkdir -m 700 /root/disk; mount --bind /home /root/disk; umount /home; "
    "mkdir /root/disk/homes; mv /root/disk/ada /root/disk/homes; mount --bind /root/disk/homes /home",
    "a home that is not listed": "chmod 711 /home; chown ada:ada /home/.fscrypt/policies/* /.fscrypt/protectors/*",
    "by a group": "groupadd staff2; usermod -aG staff2 ada; mkdir -m 710 /home/team; chgrp staff2 /home/team; "
    "mv /home/ada /home/team; usermod -d /home/team/ada ada",
}
#: Those that the real pam_fscrypt does not open.
OURS_ALONE = ("the disk out of reach", "a home that is not listed")


@pytest.mark.parametrize("where", PLACES)
def test_wherever_it_is_it_opens_and_is_locked(ada: FscryptMachine, where: str) -> None:
    ada.run(["sh", "-ec", PLACES[where]])
    assert ada.log_in(PASSWORD, "sh=ada:cat ~ada/secret") == OPENED
    assert not ada.path("/home/ada/secret").exists()
    assert not ada.path("/home/team/ada/secret").exists()
    assert len(os.listdir(ada.path("/home/team/ada" if where == "by a group" else "/home/ada"))) > 0
    theirs = ada.log_in(PASSWORD, "sh=ada:cat ~ada/secret", service="pam_fscrypt")
    assert (theirs == OPENED) == (where not in OURS_ALONE)


def test_whatever_name_is_typed_it_is_one_home(unlisted: FscryptMachine) -> None:
    """And the command finds who has it, though the user database lists nobody."""
    machine = unlisted
    install_command(machine)
    add_known(machine, "grace", GRACE)
    for typed in ("Grace", "CORP\\grace", "grace"):
        assert machine.log_in(PASSWORD, "sh=grace:cat /home/grace/secret", name=typed) == OPENED
    assert [path.name for path in machine.path("/var/lib/pyhome").glob("*.*")] == [f"{GRACE}.grace"]
    assert "grace" not in machine.run(["getent", "passwd"])
    assert "grace" in pyhome(machine, ROOT, "list").out
    machine.run(["rm", "-r", "/var/lib/pyhome"])
    assert "grace" in pyhome(machine, ROOT, "list").out


def add_known(machine: FscryptMachine, name: str, uid: int) -> None:
    """A user with an fscrypt home whom only the other database knows; pam_unix takes the password from there."""
    machine.path("/etc/passwd.known").write_text(f"{name}:{crypt(PASSWORD)}:{uid}:{uid}::/home/{name}:/bin/sh\n", encoding="ascii")
    home = machine.path(f"/home/{name}")
    home.mkdir(mode=0o700)
    os.chown(home, uid, uid)
    said = PASSWORD.decode() + "\n"
    machine.fscrypt("encrypt", f"/home/{name}", "--source=pam_passphrase", f"--user={name}", "--quiet", said=said)
    machine.write_secret(name, uid)
    machine.fscrypt("lock", f"/home/{name}", f"--user={name}", "--quiet")


# What ought to be there and is not


def tells(machine: LoginMachine, sentence: str) -> None:
    """One sentence at a login, the same in the command and in doctor's finding; and no password is changed without the home's."""
    install_command(machine)
    said = machine.pam("login", "ada", *answers(PASSWORD), "auth", "setcred", "open", "close")
    (told,) = [line for line in said if line.startswith("message 3")]
    assert re.search(sentence, told)
    refused = machine.pam("login", "ada", f"ruid={ADA}", *answers(PASSWORD, NEW, NEW), "chauthtok")
    assert refused[-1] == f"chauthtok {AUTHTOK_ERR}", refused
    assert machine.pam("unix", "ada", *answers(PASSWORD), "auth")[-1] == "auth 0"
    shown, examined = (pyhome(machine, ROOT, verb, "ada").out for verb in ("status", "doctor"))
    assert re.search(sentence, " ".join(shown.split())), shown
    assert re.search(f"fail  .*{sentence}", examined), examined
    assert "ls -la" not in examined


def test_a_disk_that_is_not_mounted(ada: FscryptMachine) -> None:
    machine = ada
    assert machine.log_in(PASSWORD, READ) == OPENED
    machine.path("/etc/fstab").write_text("/srv/ext4-home /home ext4 loop 0 0\n", encoding="ascii")
    machine.run(["sh", "-ec", "umount /home; umount /home"])  # the second is that of the test machine
    machine.path("/home/ada").mkdir(mode=0o700)  # as pam_mkhomedir does
    os.chown(machine.path("/home/ada"), ADA, ADA)
    tells(machine, "as if its disk was not mounted")
    # What root sets is root's to know; a login that depends on a new password is not prevented.
    said = machine.pam("login", "ada", *answers(NEW, NEW), "chauthtok")
    assert said[-1] == "chauthtok 0"
    assert "will be asked for it at the next login" in " ".join(said)
    # The cure that doctor gives.
    (mend,) = re.findall(r"mend: (mount .*)", pyhome(machine, ROOT, "doctor", "ada").out)
    machine.run(mend.split())
    said = machine.pam("login", "ada", *answers(NEW, PASSWORD), "auth", "setcred", "open", READ, "close")
    assert "written while open" in said


def test_a_home_that_is_not_encrypted_any_more(ada: FscryptMachine) -> None:
    """Somebody has put the files into an ordinary directory: nothing is missing, and doctor says what to do with the copies."""
    machine = ada
    assert machine.log_in(PASSWORD, READ) == OPENED
    machine.run(["sh", "-ec", "rm -r /home/ada; install -d -o ada -m 700 /home/ada"])
    assert machine.log_in(PASSWORD) == ["auth 0", "setcred 0", "open 0", "close 0"]
    assert machine.pam("login", "ada", f"ruid={ADA}", *answers(PASSWORD, NEW, NEW), "chauthtok")[-1] == "chauthtok 0"
    install_command(machine)
    (mend,) = re.findall(r"mend: (mv .*)", pyhome(machine, ROOT, "doctor", "ada").out)
    machine.run(mend.split())
    assert "keys.left" not in pyhome(machine, ROOT, "doctor", "ada", "--json").out


@pytest.mark.parametrize("chowned", ["nothing", "the home", "the home and its metadata"])
def test_another_uid(ada: FscryptMachine, chowned: str) -> None:
    machine = ada
    metadata = "/home/.fscrypt/policies/* /.fscrypt/protectors/*"
    machine.run(["sh", "-ec", f"chown {ADA}:{ADA} {metadata}; usermod -u {OTHER} ada; chown {ADA} /home/ada"])
    if chowned == "nothing":
        tells(machine, f"uid {ADA}.* ada has uid {OTHER}")
        return
    machine.run(["chown", f"{OTHER}", "/home/ada"])
    if chowned == "the home":
        tells(machine, f"uid {ADA}.* ada has uid {OTHER}")
        return
    machine.run(["sh", "-ec", f"chown {OTHER}:{ADA} {metadata}"])
    assert machine.log_in(PASSWORD, READ) == OPENED
    install_command(machine)
    assert re.search(f"warn  ada: .* uid {ADA}.*\n *mend: pyhome adopt ada", pyhome(machine, ROOT, "doctor", "ada").out)
    assert machine.pam("login", "ada", f"ruid={OTHER}", *answers(PASSWORD, NEW, NEW), "chauthtok")[-1] == "chauthtok 0"
    assert machine.log_in(NEW, READ) == OPENED


def test_somebody_who_shares_the_home_of_another_is_told_nothing(ada: FscryptMachine) -> None:
    """It is Ada's, and Ada opens it; and bob's password is his own."""
    ada.add_user("bob", BOB, password=crypt(PASSWORD), encrypted=False)
    ada.run(["usermod", "-d", "/home/ada", "bob"])
    said = ada.pam("login", "bob", *answers(PASSWORD), "auth", "setcred", "open", "close")
    assert not [line for line in said if line.startswith("message 3")]
    assert ada.pam("login", "bob", f"ruid={BOB}", *answers(PASSWORD, NEW, NEW), "chauthtok")[-1] == "chauthtok 0"


def test_a_directory_beside_a_plain_home_is_pam_fscrypts_and_passwd_says_so(bare: FscryptMachine) -> None:
    """The command that it names does what it says."""
    machine = bare
    machine.add_user("ada", ADA, password=crypt(PASSWORD), encrypted=False)
    machine.run(["install", "-d", "-o", "ada", "-m", "700", "/home/ada/Private"])
    said = PASSWORD.decode() + "\n"
    machine.fscrypt("encrypt", "/home/ada/Private", "--source=pam_passphrase", "--user=ada", "--quiet", said=said)
    machine.fscrypt("lock", "/home/ada/Private", "--user=ada", "--quiet")
    assert machine.log_in(PASSWORD) == ["auth 0", "setcred 0", "open 0", "close 0"]
    changed = machine.pam("login", "ada", f"ruid={ADA}", *answers(PASSWORD, NEW, NEW), "chauthtok")
    assert changed[-1] == "chauthtok 0"
    (command,) = re.findall(r"'fscrypt (metadata .*)'", " ".join(changed))
    machine.fscrypt(*command.split(), said=f"{PASSWORD.decode()}\n{NEW.decode()}\n{NEW.decode()}\n")
    unlock = ("unlock", "/home/ada/Private", f"--unlock-with=/:{machine.protector().name}", "--user=ada")
    machine.fscrypt(*unlock, said=f"{NEW.decode()}\n")
