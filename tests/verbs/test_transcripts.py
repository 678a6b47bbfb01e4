"""What the verbs print, word for word, when all is well and when it is not."""

from __future__ import annotations

import re

import pytest

from tests.login.homes import ADA, LoginMachine
from tests.login.test_daemon import record, session
from tests.verbs.command import ROOT, pyhome
from tests.verbs.conftest import PASSWORD, PAT

pytestmark = pytest.mark.root

TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
PID = re.compile(r"pid \d+")


def plain(text: str) -> str:
    """Without what is different each time."""
    return PID.sub("PID", TIME.sub("TIME", text))


INSPECTED = """\
The home of ada is locked.

  Backend    ecryptfs
  Where      /home/ada
  Stored in  /home/.ecryptfs/ada/.Private
  State      locked
  Opens      at login, with the login password; locks after the last session
  Sessions   none
  Used by    nobody
  Recovery   no key: 'pyhome recovery new' makes one
  Key slots  /home/.ecryptfs/ada/.ecryptfs/wrapped-passphrase: login password
  Next       it opens at the next login with the password; 'pyhome unlock ada' opens it now
"""
LISTED_BY_ROOT = """\
USER  STATE   BACKEND   SINCE  SESSIONS  RECOVERY  HOME       TROUBLE
ada   locked  ecryptfs  -      0         none      /home/ada  -
bob   locked  ecryptfs  -      0         none      /home/bob  -
"""
LISTED_BY_ADA = "".join(LISTED_BY_ROOT.splitlines(keepends=True)[:2])

SAID = {
    "root lists": (ROOT, "list", LISTED_BY_ROOT),
    "ada lists": (ADA, "list", LISTED_BY_ADA),
    "root asks about all": (ROOT, "status", "The home of ada is locked.\nThe home of bob is locked.\n"),
    "root asks about one": (ROOT, "status bob", "The home of bob is locked.\n"),
    "ada asks": (ADA, "status", "The home of ada is locked.\n"),
    "ada names herself": (ADA, "status ada", "The home of ada is locked.\n"),
    "root inspects": (ROOT, "inspect ada", INSPECTED),
    "ada inspects": (ADA, "inspect", INSPECTED),
    "root locks what is locked": (ROOT, "lock ada", "The home of ada was locked already.\n"),
    "ada locks what is locked": (ADA, "lock", "The home of ada was locked already.\n"),
}


def test_what_is_said_when_all_is_well(served: LoginMachine) -> None:
    for name, (uid, line, expected) in SAID.items():
        ran = pyhome(served, uid, *line.split())
        assert (ran.code, ran.err, ran.out) == (0, "", expected), name


def test_users_are_reminded_of_another_copy(served: LoginMachine) -> None:
    """Which only root can remove, and is told of in other words."""
    records = served.path("/var/lib/pyhome/converting")
    records.mkdir(parents=True)
    (records / "ada").touch()
    said = pyhome(served, ADA, "status").out
    what = "'pyhome status ada', given by root, tells what is to be done with it."
    reminder = f"Another copy of the home of ada is still kept; {what}"
    assert said == f"The home of ada is locked.\n{reminder}\n"


FAILED = {
    "another's home": (ADA, "status bob", 42, "status: the home of bob is not yours; run this as bob, or as root"),
    "to unlock another's": (ADA, "unlock bob", 42, "unlock: the home of bob is not yours; run this as bob, or as root"),
    "to lock root's": (ADA, "lock root", 42, "lock: the home of root is not yours; run this as root"),
    "nobody": (ROOT, "status nosuch", 41, "status: there is no user nosuch; check the name"),
    "nobody, for a user": (ADA, "inspect nosuch", 41, "inspect: there is no user nosuch; check the name"),
    "a strange name": (ROOT, "lock ../x\x1b[2J", 41, r"lock: there is no user ../x\x1b[2J; check the name"),
    "no encrypted home": (ROOT, "status pat", 40, "status: pat has no encrypted home; 'pyhome list' shows who has one"),
    "none of one's own": (PAT, "lock", 40, "lock: pat has no encrypted home; 'pyhome list' shows who has one"),
    "a system user": (ROOT, "unlock daemon", 40, "unlock: daemon has no encrypted home; 'pyhome list' shows who has one"),
    "no terminal": (
        ADA,
        "unlock",
        47,
        "unlock: there is no terminal to ask for the password on; type it at the prompt, or give it with --password-file",
    ),
    "no file": (ADA, "unlock --password-file /nosuch", 47, "unlock: /nosuch: No such file or directory; type it at the prompt"),
    "an empty file": (ADA, "unlock --password-file /dev/null", 47, "unlock: no password was given; type it at the prompt"),
    "too long a wait": (ADA, "lock --wait 3601", 2, "lock: Invalid value for '--wait': 3601 is not in the range 0<=x<=3600"),
    "a password as an argument": (ADA, "unlock ada secret", 2, "unlock: Got unexpected extra argument"),
}


def test_failures_are_one_line_with_a_way_forward(served: LoginMachine) -> None:
    for name, (uid, line, code, expected) in FAILED.items():
        ran = pyhome(served, uid, *line.split(" "))
        assert (ran.code, ran.out) == (code, ""), (name, ran)
        assert ran.err.startswith(f"pyhome {expected}"), (name, ran)
        assert ran.err.count("\n") == 1, (name, ran)


def test_without_pyhomed_users_are_told_and_root_does_not_need_it(place: LoginMachine) -> None:
    ran = pyhome(place, ADA, "status")
    assert (ran.code, ran.out) == (43, "")
    assert ran.err == (
        "pyhome status: pyhomed cannot be asked: /run/pyhome-unlock.sock: No such file or directory; "
        "run 'systemctl start pyhomed.socket pyhomed-unlock.socket' as root, or this command as root\n"
    )
    assert pyhome(place, ROOT, "status", "ada").out == "The home of ada is locked.\n"


def test_passwords_that_open_and_passwords_that_do_not(served: LoginMachine) -> None:
    """The kernel of the machine that runs the tests need not have eCryptfs: then the right one gets as far as that."""
    for uid in (ROOT, ADA):
        ran = pyhome(served, uid, "unlock", "ada", "--password-file", "-", stdin=b"wrong\n")
        assert (ran.code, ran.out) == (13, "")
        assert ran.err == (
            "pyhome unlock: this password does not open the home of ada; try the one from before its last change\n"
        )
        ran = pyhome(served, uid, "unlock", "ada", "--password-file", "-", stdin=PASSWORD + b"\n")
        assert (ran.code, ran.out) == (17, "")
        assert ran.err.startswith("pyhome unlock: mounting /home/.ecryptfs/ada/.Private: ")
        assert ran.err.endswith("; 'journalctl -b -t pam_pyhome -t pyhomed' may know more\n")
    assert served.log().count("a wrong password was given for the home") == 2


def test_sessions_are_listed_and_keep_others_from_locking(served: LoginMachine) -> None:
    assert pyhome(served, ADA, "sessions").err == "No session holds an encrypted home.\n"
    started, pid = session(served)
    opened = record(served)
    for uid in (ROOT, ADA):
        listed = pyhome(served, uid, "sessions")
        assert [line.split() for line in plain(listed.out).splitlines()] == [
            ["USER", "PID", "SERVICE", "TTY", "FROM", "SINCE"],
            ["ada", str(pid), "login", "-", "-", "TIME"],
        ]
        assert plain(pyhome(served, uid, "inspect", "ada").out).splitlines()[7] == "  Sessions   PID (login), since TIME"
        ran = pyhome(served, uid, "lock", "ada")
        assert (ran.code, ran.out) == (44, "")
        assert ran.err == (
            f"pyhome lock: the home of ada is in use by pid {pid} (login); "
            "log out there, wait for it with --wait, or insist with --force\n"
        )
        assert opened.exists()
    started.kill(pid)
