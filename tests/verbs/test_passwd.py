"""``pyhome passwd``: one password or both, changed as a whole or not at all; ecryptfs-utils and pam_unix are the judges."""

from __future__ import annotations

import pytest

from tests.login.homes import ADA, LoginMachine, differences
from tests.stub.place import ended
from tests.verbs.command import ROOT, on_terminal, pyhome
from tests.verbs.conftest import PASSWORD

pytestmark = pytest.mark.root

NEW = b"battery staple"
BOTH = PASSWORD + b"\n" + NEW + b"\n"
EVERYTHING = ("/etc", "/home", "/var/lib/pyhome")
OPENS = "The home of ada opens with the new password"


@pytest.fixture
def own(served: LoginMachine) -> LoginMachine:
    """Ada's home has a passphrase of its own."""
    (served.config("ada") / "wrapping-independent").touch()
    return served


@pytest.mark.parametrize("uid", [ROOT, ADA])
def test_a_passphrase_of_its_own(own: LoginMachine, uid: int) -> None:
    ran = pyhome(own, uid, "passwd", "ada", "--password-file", "-", stdin=BOTH)
    assert (ran.code, ran.out, ran.err) == (0, f"{OPENS}.\n", "")
    assert own.opens(NEW)
    assert not own.opens(PASSWORD)
    assert own.logs_in(PASSWORD)
    assert own.wrapped().stat().st_uid == ADA


@pytest.mark.parametrize("uid", [ROOT, ADA])
@pytest.mark.parametrize(
    ("typed", "code", "reason"),
    [
        (b"wrong\n" + NEW + b"\n", 13, "this password does not open the home of ada"),
        (PASSWORD + b"\n", 47, "no new password was given"),
        (b"", 47, "no password was given"),
        (PASSWORD + b"\n" + b"x" * 600 + b"\n", 47, "the password has more than 512 bytes"),
    ],
)
def test_what_fails_changes_nothing(own: LoginMachine, uid: int, typed: bytes, code: int, reason: str) -> None:
    before = own.snapshot(*EVERYTHING)
    ran = pyhome(own, uid, "passwd", "ada", "--password-file", "-", stdin=typed)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(f"pyhome passwd: {reason}")
    assert differences(before, own.snapshot(*EVERYTHING)) == []


def test_typed_at_a_terminal(own: LoginMachine) -> None:
    terminal = on_terminal(own, ADA, "passwd")
    for prompt, typed in (
        ("Present password of the home: ", PASSWORD),
        ("New password of the home: ", NEW),
        ("New password of the home (again): ", NEW),
    ):
        terminal.expect_exact(prompt)
        terminal.waitnoecho()
        terminal.sendline(typed.decode())
    terminal.expect_exact(OPENS)
    assert ended(terminal) == 0
    assert own.opens(NEW)


def test_new_passwords_that_differ(own: LoginMachine) -> None:
    """They are asked for again, and an empty one is, too."""
    terminal = on_terminal(own, ADA, "passwd")
    for typed in (PASSWORD, NEW, b"something else", b"", NEW, b"yet another"):
        terminal.expect_exact(": ")
        terminal.waitnoecho()
        terminal.sendline(typed.decode())
    terminal.expect_exact("pyhome passwd: the new passwords do not match; nothing was changed, start again")
    assert ended(terminal) == 46
    assert own.opens(PASSWORD)


def test_ctrl_c_at_the_prompt_leaves_everything_as_it_was(own: LoginMachine) -> None:
    terminal = on_terminal(own, ADA, "passwd")
    terminal.expect_exact("Present password of the home: ")
    terminal.waitnoecho()
    terminal.sendintr()
    terminal.expect_exact("pyhome passwd: interrupted")
    assert ended(terminal) == 130
    assert own.opens(PASSWORD)


def test_a_home_that_follows_the_login_password(served: LoginMachine) -> None:
    """The system's own passwd changes both."""
    served.write_debian("passwd")
    ran = pyhome(served, ADA, "passwd", "--password-file", "-", stdin=BOTH)
    assert (ran.code, ran.out) == (0, f"{OPENS}.\n"), ran
    assert served.opens(NEW)
    assert served.logs_in(NEW)


def test_where_passwd_refuses_nothing_has_changed(served: LoginMachine) -> None:
    served.write_debian("passwd")
    before = served.snapshot(*EVERYTHING)
    ran = pyhome(served, ADA, "passwd", "--password-file", "-", stdin=b"wrong\n" + NEW + b"\n")
    assert (ran.code, ran.out) == (46, "")
    assert "pyhome passwd: /usr/bin/passwd ended with status 10; nothing was changed, start again\n" in ran.err
    assert differences(before, served.snapshot(*EVERYTHING)) == []


def test_root_cannot_change_both_but_can_bring_them_together(served: LoginMachine) -> None:
    ran = pyhome(served, ROOT, "passwd", "ada", "--password-file", "-", stdin=BOTH)
    assert (ran.code, ran.out) == (46, "")
    assert ran.err == (
        "pyhome passwd: the home follows the login password, and only its owner can change both at once; "
        "nothing was changed, have the owner do it, or give --home-only\n"
    )
    ran = pyhome(served, ROOT, "passwd", "ada", "--home-only", "--password-file", "-", stdin=BOTH)
    assert (ran.code, ran.out, ran.err) == (0, f"{OPENS}; the login password is as it was.\n", "")
    assert served.opens(NEW)
    assert served.logs_in(PASSWORD)
