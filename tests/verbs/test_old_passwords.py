"""A password that was replaced opens nothing and changes nothing, whatever copies there are and whatever becomes of them."""

from __future__ import annotations

import json

import pytest

from tests.fscrypt.homes import OPENED, READ, FscryptMachine
from tests.login.homes import ADA, LoginMachine, answers, wrap
from tests.login.worker import Inside
from tests.verbs.command import ROOT, Ran, pyhome
from tests.verbs.conftest import PASSWORD

pytestmark = pytest.mark.root

NEW, THIEF = b"battery staple", b"chosen by the thief"


def said(machine: LoginMachine, uid: int, *arguments: str, lines: tuple[bytes, ...] = ()) -> Ran:
    return pyhome(machine, uid, *arguments, "--password-file", "-", stdin=b"".join(line + b"\n" for line in lines))


def test_a_passphrase_of_its_own_is_not_undone_by_the_login_password(served: LoginMachine) -> None:
    """The copy that root keeps opened with it until the next opening."""
    served.keep_copies()
    assert said(served, ADA, "update", "--passphrase", "own", lines=(PASSWORD, NEW)).code == 0
    assert (served.kept() / "wrapped-passphrase").read_bytes() == served.wrapped().read_bytes()
    lines = served.pam("login", "ada", *answers(PASSWORD, PASSWORD), "auth", "setcred", "open", "close")
    assert any("Passphrase of the encrypted home" in line for line in lines)
    assert "the home was not opened" not in served.log()  # for want of a key nothing was tried
    with Inside(served) as inside:
        assert inside("unlock", PASSWORD) == "WrongPassphraseError"
        assert inside("unlock", NEW) == "ok"
        served.wrapped().unlink()  # the copy of it counts, and it is one of the same
        assert [inside("unlock", each) for each in (PASSWORD, NEW)] == ["WrongPassphraseError", "ok"]
        assert inside("verify", NEW) == "StorageError"


def test_passwd_of_the_home_alone(fscrypt_served: FscryptMachine) -> None:
    machine = fscrypt_served
    assert machine.log_in(PASSWORD, READ) == OPENED
    assert said(machine, ADA, "passwd", "--home-only", lines=(PASSWORD, NEW)).code == 0
    status = pyhome(machine, ROOT, "status", "ada").out
    assert "An older password of the home of ada still opens a copy of its key file" in status
    assert "written while open" not in machine.log_in(PASSWORD, READ)
    machine.protector().write_bytes(b"damaged")
    assert [machine.inside("unlock", each)[:5] for each in (PASSWORD, NEW)] == ["Wrong", "2 Tru"]
    lines = machine.pam("login", "ada", *answers(PASSWORD, NEW), "auth", "setcred", "open", READ, "close")
    assert "written while open" in lines
    assert machine.log_in(PASSWORD, READ) == OPENED  # the account's own password, so the home has it now
    assert "An older password" not in pyhome(machine, ROOT, "status", "ada").out
    assert list(machine.kept().glob("*.previous*")) == []


def test_the_old_password_changes_nothing(served: LoginMachine) -> None:
    """Another tool has changed it, and nothing has opened the home since."""
    served.keep_copies()
    wrap(served.wrapped(), NEW)
    for arguments, lines in (
        (("unlock",), (PASSWORD,)),
        (("passwd", "--home-only"), (PASSWORD, THIEF)),
        (("update", "--passphrase", "own"), (PASSWORD, THIEF)),
        (("recovery", "new"), (PASSWORD,)),
    ):
        assert said(served, ADA, *arguments, lines=lines).code == 13, arguments
        whole = served.wrapped().read_bytes()
        served.wrapped().write_bytes(b"\n")
        assert said(served, ROOT, *arguments, "ada", lines=lines).code == 10, arguments
        served.wrapped().write_bytes(whole)
    assert (served.opens(NEW), served.opens(PASSWORD), served.opens(THIEF)) == (True, False, False)


def test_an_older_password_is_told_of_until_its_copy_goes(served: LoginMachine) -> None:
    served.keep_copies()
    assert said(served, ADA, "passwd", "--home-only", lines=(PASSWORD, NEW)).code == 0
    (home,) = json.loads(pyhome(served, ADA, "inspect", "--json").out)["homes"]
    assert [slot["kind"] for slot in home["slots"]] == ["login password", "copy of the key file", "older password"]
    assert "is kept only until the present one has opened the home" in pyhome(served, ROOT, "inspect", "ada").out
    with Inside(served) as inside:
        assert inside("settle", NEW) == "kept"
    (home,) = json.loads(pyhome(served, ADA, "inspect", "--json").out)["homes"]
    assert [slot["kind"] for slot in home["slots"]] == ["login password", "copy of the key file"]
    assert "An older password" not in pyhome(served, ADA, "status").out


def test_many_changes_leave_no_more_than_the_one_that_was_proved(served: LoginMachine) -> None:
    served.keep_copies()
    first = served.wrapped().read_bytes()
    for old, new in ((PASSWORD, NEW), (NEW, THIEF), (THIEF, NEW), (NEW, THIEF)):
        assert said(served, ADA, "passwd", "--home-only", lines=(old, new)).code == 0
    (previous,) = served.kept().glob("*.previous*")
    assert previous.read_bytes() == first
