"""What a user, or another one, can put into metadata and around it."""

from __future__ import annotations

import os

import pytest

from tests.fscrypt.homes import OPENED, READ, FscryptMachine, mount_image
from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, AUTH_ERR, AUTHINFO_UNAVAIL, BOB, answers, crypt

pytestmark = pytest.mark.root

NEW = b"battery staple"


@pytest.fixture
def shared(bare: FscryptMachine) -> FscryptMachine:
    """Metadata directories that everybody may write to, in which ada has made her home herself."""
    for place in ("/", "/home"):
        bare.run(["rm", "-r", f"{place}/.fscrypt"])
        bare.fscrypt("setup", place, "--all-users", "--quiet")
        assert bare.path(f"{place}/.fscrypt/protectors").stat().st_mode & 0o7777 == 0o1777
    bare.add_user("ada", ADA, password=crypt(PASSWORD), encrypted=False)
    bare.fscrypt("encrypt", "/home/ada", "--source=pam_passphrase", "--quiet", said=PASSWORD.decode() + "\n", uid=ADA)
    bare.write_secret("ada", ADA)
    bare.fscrypt("lock", "/home/ada", "--user=ada", "--quiet")
    return bare


def test_a_home_that_its_owner_made(shared: FscryptMachine) -> None:
    assert shared.log_in(PASSWORD, READ) == OPENED
    said = shared.pam("login", "ada", f"ruid={ADA}", *answers(PASSWORD, NEW, NEW), "chauthtok")
    assert said[-1] == "chauthtok 0"
    assert shared.log_in(NEW, READ) == OPENED
    assert shared.opens(NEW)
    assert shared.protector().stat().st_uid == ADA


@pytest.mark.guarantee(5)
def test_another_users_files_count_for_nothing(shared: FscryptMachine) -> None:
    """CVE-2022-25326 and CVE-2022-25328: what bob leaves in the common directories neither stops nor delays ada."""
    script = """
        for kind in policies protectors; do
            cd /home/.fscrypt/$kind
            for n in 0 1 2 3 4 5 6 7 8 9; do
                mkfifo 0000000000000000000000000000000$n 000000000000000$n
                ln -s /dev/zero 1000000000000000000000000000000$n
                head -c 100000 /dev/urandom > 2000000000000000000000000000000$n
                truncate -s 1T 3000000000000000000000000000000$n
            done
        done
        cd /.fscrypt/protectors; mkfifo 0123456789abcdef; ln -s /dev/zero fedcba9876543210
    """
    shared.run(["setpriv", f"--reuid={BOB}", f"--regid={BOB}", "--clear-groups", "sh", "-c", script])
    assert shared.log_in(PASSWORD, READ) == OPENED
    assert "stays locked" not in shared.log()


@pytest.mark.guarantee(6)
def test_a_protector_that_says_it_is_another_users(shared: FscryptMachine) -> None:
    """It is whose file it is, as after a change of uids: hers opens for her, and root's for nobody but the one whom it names."""
    shared.add_user("bob", BOB, password=crypt(PASSWORD), encrypted=False)
    protector = shared.protector()
    protector.write_bytes(protector.read_bytes().replace(bytes.fromhex("30c9dc03"), bytes.fromhex("30cadc03")))
    assert shared.log_in(PASSWORD, READ) == OPENED
    shared.run(["chown", "0:0", f"/.fscrypt/protectors/{protector.name}"])
    shared.run(["rm", "-rf", f"/var/lib/pyhome/{ADA}.ada"])
    assert "own_passphrase=True" in shared.inside("wishes")
    said = shared.pam("login", "ada", *answers(PASSWORD), "auth", "setcred", "open", "close")
    assert [line for line in said if not line.startswith("message")] == ["auth 0", "setcred 0", "open 0", "close 0"]
    assert any(f"belongs to uid {BOB}" in line for line in said)
    assert not shared.is_open()


def test_a_name_with_a_line_break_forges_no_log(machine: FscryptMachine) -> None:
    policy = machine.policy()
    content = policy.read_bytes()
    policy.write_bytes(b"\n" + content[1:2] + b"x\nroot: opened" .ljust(32, b"\n") + content[34:])
    machine.pam("login", "ada", *answers(PASSWORD), "auth", "open", "close")
    assert all("pam_pyhome[" in line or "pamapp" in line for line in machine.log().splitlines())


def test_a_link_of_roots_to_the_metadata(machine: FscryptMachine) -> None:
    """Where the root of a file system is read-only, `.fscrypt` may be a link."""
    machine.run(["sh", "-c", "mkdir /srv/meta; mv /home/.fscrypt /home/real; ln -s real /home/.fscrypt"])
    assert machine.log_in(PASSWORD, READ) == OPENED
    os.chown(machine.path("/home/.fscrypt"), ADA, ADA, follow_symlinks=False)
    assert machine.log_in(PASSWORD, READ) == OPENED  # by the good copies; the link itself is not followed


def test_a_file_system_of_the_users_own_gives_no_rights(machine: FscryptMachine, image: os.PathLike[str]) -> None:
    """A stick with ada's own metadata on it may say what it likes: its policies are opened with her rights and keys."""
    mount_image(machine, machine.path("/srv/ext4-home"), "/stick")
    machine.run(["sh", "-c", "cp -a /home/.fscrypt /stick/; chown -R ada:ada /stick"])
    machine.run(["sh", "-c", "mkfifo /stick/.fscrypt/policies/00000000000000000000000000000000; chown -R ada:ada /stick"])
    assert machine.log_in(PASSWORD, READ) == OPENED
    assert "the worker" not in machine.log()
    assert image is not None


def test_a_home_that_is_a_link(machine: FscryptMachine) -> None:
    machine.run(["sh", "-c", "mv /home/ada /home/really; ln -s really /home/ada"])
    assert machine.log_in(PASSWORD, READ) == OPENED
    assert not machine.is_open()


@pytest.mark.guarantee(14)
def test_what_ada_puts_in_the_place_of_her_protector_verifies_nothing(machine: FscryptMachine) -> None:
    """`authenticate` believes no file that nothing but whoever wrote it speaks for."""
    machine.write_stack("strict", "auth required pam_pyhome.so authenticate\naccount required pam_permit.so\n")

    def verifies(password: bytes) -> str:
        return machine.pam("strict", "ada", *answers(password), "auth")[-1]

    unproved = f"auth {AUTHINFO_UNAVAIL}"
    assert verifies(PASSWORD) == unproved
    assert "is not the file that was last proved; log in once where another module verifies the password" in machine.log()
    assert machine.log_in(PASSWORD, READ) == OPENED
    assert verifies(PASSWORD) == "auth 0"
    old, new = machine.protector().read_bytes(), NEW
    assert machine.inside("change", PASSWORD, new) == "ok"
    assert [verifies(each) for each in (PASSWORD, new)] == [f"auth {AUTH_ERR}", "auth 0"]
    whole = machine.protector().read_bytes()
    for content in (old, b"", b"\n", whole[:-1] + bytes([whole[-1] ^ 1])):
        machine.protector().write_bytes(content)
        assert [verifies(each) for each in (PASSWORD, new)] == [unproved, unproved]
    machine.protector().write_bytes(whole)
    assert verifies(new) == "auth 0"
