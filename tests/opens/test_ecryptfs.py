"""eCryptfs homes whose files are in places of their own, as far as a kernel without eCryptfs can show: a mount is tried, or not."""

from __future__ import annotations

import pytest

from tests.login.conftest import PASSWORD
from tests.login.homes import BOB, LoginMachine, answers
from tests.opens.test_fscrypt import tells

pytestmark = pytest.mark.root

BOBS = b"bob's own password"

LAYOUTS = {
    "renamed": "mv /home/.ecryptfs/ada /home/.ecryptfs/old; relink /home/.ecryptfs/old",
    "elsewhere": "mkdir -p /srv/disk; mv /home/.ecryptfs/ada /srv/disk; rm -f /home/.ecryptfs/ada; relink /srv/disk/ada",
    "through a link of root's": "mv /home/.ecryptfs /srv/stored; ln -s /srv/stored /home/.ecryptfs",
    "links to somebody else's": "relink /home/.ecryptfs/bob",
    "links to nowhere": "relink /home/.ecryptfs/gone",
    "a private directory on a disk": "mkdir -p /srv/disk; mv /home/.ecryptfs/ada/.Private /srv/disk/lower; "
    "rm /home/ada/.Private; ln -s /srv/disk/lower /home/ada/.Private",
}
RELINK = 'relink() { for name in .ecryptfs .Private; do ln -sfn "$1/$name" "/home/ada/$name"; done; }\n'


@pytest.mark.parametrize("layout", LAYOUTS)
def test_wherever_it_is_a_mount_is_tried(machine: LoginMachine, layout: str) -> None:
    machine.add_home("bob", BOB, BOBS)
    machine.run(["sh", "-ec", RELINK + LAYOUTS[layout]])
    before = machine.snapshot("/home/bob", "/home/.ecryptfs/bob")
    machine.pam("login", "ada", *answers(PASSWORD), "auth", "setcred", "open", "close")
    assert "mounting " in machine.log(), machine.log()
    assert "/bob" not in machine.log()
    assert machine.snapshot("/home/bob", "/home/.ecryptfs/bob") == before


@pytest.mark.guarantee(6)
@pytest.mark.parametrize("target", ["/home/.ecryptfs/bob", "/root/secret"])
def test_a_link_gives_nobody_what_is_anothers(machine: LoginMachine, target: str) -> None:
    """Not even the knowledge of whose it is."""
    machine.add_home("bob", BOB, BOBS)
    script = "mkdir -m 700 /root/secret; cp -a /home/.ecryptfs/ada/. /root/secret; rm -r /home/.ecryptfs/ada; relink " + target
    machine.run(["sh", "-ec", RELINK + script])
    before = machine.snapshot("/home/bob", "/home/.ecryptfs/bob", "/root/secret")
    said = machine.pam("login", "ada", *answers(PASSWORD), "auth", "setcred", "open", "close")
    assert "mounting " not in machine.log()
    assert not any(word in " ".join(said) for word in (str(BOB), "bob", "root"))
    assert machine.snapshot("/home/bob", "/home/.ecryptfs/bob", "/root/secret") == before


def test_a_home_that_root_has_restored(machine: LoginMachine) -> None:
    machine.run(["chown", "-R", "0:0", "/home/ada", "/home/.ecryptfs/ada"])
    tells(machine, "(belongs to|that of) root")


def test_key_files_are_there_and_their_ciphertext_is_not(machine: LoginMachine) -> None:
    """The home was opened from a disk that is not mounted now; what is noted of it is the file system that it was on."""
    machine.keep_copies()
    (machine.kept() / "file-system").write_text("0a3407de-014b-458b-b5c1-848e92a327a3", encoding="ascii")
    machine.run(["sh", "-ec", "rm -r /home/.ecryptfs/ada /home/ada/.ecryptfs"])
    tells(machine, "as if its disk was not mounted")
