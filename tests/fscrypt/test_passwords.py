"""The password of the login and that of the home change together or not at all."""

from __future__ import annotations

import pytest

from tests.fscrypt.homes import OPENED, READ, FscryptMachine
from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, AUTHTOK_ERR, AUTHTOK_RECOVERY_ERR, answers, differences
from tests.login.worker import PRELIM, UPDATE, Talk

pytestmark = pytest.mark.root

NEW = b"battery staple"
OTHER = b"yet another one"
HIMSELF = f"ruid={ADA}"  # passwd(1): real uid of the user, effective uid 0
CHAUTHTOK = 6
EVERYTHING = ("/etc", "/.fscrypt", "/var/lib/pyhome")


def passwd(machine: FscryptMachine, *typed: bytes) -> list[str]:
    """What a user sees who runs passwd."""
    return machine.pam("login", "ada", HIMSELF, *answers(*typed), "chauthtok")


def reset(machine: FscryptMachine, new: bytes) -> list[str]:
    """What root sees who sets a password."""
    return machine.pam("login", "ada", *answers(new, new), "chauthtok")


@pytest.mark.guarantee(12)
def test_passwd_changes_both(machine: FscryptMachine) -> None:
    before = machine.protector().read_bytes()
    assert passwd(machine, PASSWORD, NEW, NEW)[-1] == "chauthtok 0"
    assert machine.logs_in(NEW)
    assert machine.opens(NEW)
    assert not machine.opens(PASSWORD)
    copy, previous = sorted(machine.kept().glob("fscrypt-protector-*"))
    assert copy.read_bytes() == machine.protector().read_bytes()  # in the same act
    assert previous.read_bytes() == before
    assert machine.log_in(NEW, READ) == OPENED
    assert not previous.exists()
    assert copy.read_bytes() == machine.protector().read_bytes()
    assert "opens with the new password" in machine.log()


def test_while_the_home_is_open(machine: FscryptMachine) -> None:
    said = machine.pam("login", "ada", *answers(PASSWORD), "auth", "open", HIMSELF, *answers(PASSWORD, NEW, NEW), "chauthtok")
    assert said[-1] == "chauthtok 0"
    assert machine.logs_in(NEW)
    machine.pam("login", "ada", "open", "close")
    assert not machine.is_open()
    assert machine.opens(NEW)


@pytest.mark.guarantee(12)
def test_a_wrong_old_password_changes_nothing(machine: FscryptMachine) -> None:
    before = machine.snapshot(*EVERYTHING)
    assert passwd(machine, b"wrong", NEW, NEW)[-1] != "chauthtok 0"
    assert differences(before, machine.snapshot(*EVERYTHING)) == []


def test_new_passwords_that_differ_leave_both_as_they_were(machine: FscryptMachine) -> None:
    before = machine.protector().read_bytes()
    assert passwd(machine, PASSWORD, NEW, OTHER)[-1] != "chauthtok 0"
    assert machine.protector().read_bytes() == before
    assert machine.logs_in(PASSWORD)
    # The room that was made for the new one is nothing that the real tool stumbles over, and is used the next time.
    assert "ERROR" not in machine.fscrypt("status", "/")
    assert passwd(machine, PASSWORD, NEW, NEW)[-1] == "chauthtok 0"
    assert machine.opens(NEW)
    assert {path.name for path in machine.path("/.fscrypt").iterdir()} == {"policies", "protectors"}


@pytest.mark.guarantee(12)
def test_a_home_that_is_out_of_step_stops_the_change_before_it_begins(machine: FscryptMachine) -> None:
    reset(machine, OTHER)
    before = machine.snapshot(*EVERYTHING)
    said = passwd(machine, OTHER, b"not this either", NEW, NEW)
    assert said[-1] == f"chauthtok {AUTHTOK_RECOVERY_ERR}"
    assert any("does not open the encrypted home of ada, so nothing was changed" in line for line in said)
    assert differences(before, machine.snapshot(*EVERYTHING)) == []


def test_passwd_asks_once_for_the_password_that_the_home_has(machine: FscryptMachine) -> None:
    reset(machine, OTHER)
    said = passwd(machine, OTHER, PASSWORD, NEW, NEW)
    assert sum(line.startswith("message 1 ") and line.endswith(" Old password: ") for line in said) == 1
    assert said[-1] == "chauthtok 0"
    assert machine.logs_in(NEW)
    assert machine.opens(NEW)


@pytest.mark.guarantee(12)
def test_root_is_told_what_a_reset_means_and_the_next_login_asks_for_the_old_password(machine: FscryptMachine) -> None:
    before = machine.protector().read_bytes()
    assert any("still opens with the old password only" in line for line in reset(machine, NEW))
    (told,) = machine.records("password-reset")
    assert (told["USER"], told["UID"], told["PYHOME_SERVICE"]) == ("ada", str(ADA), "login")
    assert machine.protector().read_bytes() == before
    said = machine.pam("login", "ada", *answers(NEW, PASSWORD), "auth", "setcred", "open", READ, "close")
    assert sum(line.startswith("message 1 ") and line.endswith(" Old password: ") for line in said) == 1
    assert [line for line in said if not line.startswith("message")] == OPENED
    assert machine.opens(NEW)
    assert not machine.opens(PASSWORD)
    (previous,) = machine.kept().glob("*.previous")
    assert previous.read_bytes() == before
    assert machine.protector().stat().st_uid == ADA
    assert machine.log_in(NEW, READ) == OPENED
    assert not previous.exists()


def test_an_old_password_that_is_wrong_too_is_not_asked_for_again(machine: FscryptMachine) -> None:
    reset(machine, NEW)
    said = machine.pam("login", "ada", *answers(NEW, b"forgotten"), "auth", "open")
    assert [line for line in said if not line.startswith("message")] == ["auth 0", "open 0"]
    assert sum("does not open the encrypted home of ada" in line for line in said) == 1
    assert not machine.is_open()


@pytest.mark.parametrize("new", [b"x" * 65, b"L0ng!" * 40, b"caf\xe9 \xff\xfe latin", "pässwörd ☃".encode()])
def test_passwords_are_bytes_of_any_length(machine: FscryptMachine, new: bytes) -> None:
    assert passwd(machine, PASSWORD, new, new)[-1] == "chauthtok 0"
    assert machine.logs_in(new)
    assert machine.log_in(new, READ) == OPENED
    assert machine.log_in(new, READ, service="pam_fscrypt") == OPENED


def read_only(machine: FscryptMachine) -> None:
    """From now on nobody writes protectors."""
    machine.run(["mount", "--bind", "/.fscrypt", "/.fscrypt"])
    machine.run(["mount", "-o", "remount,bind,ro", "/.fscrypt"])


def test_a_protector_that_cannot_be_written_stops_the_change_before_it_begins(machine: FscryptMachine) -> None:
    read_only(machine)
    before = machine.snapshot("/etc", "/.fscrypt")
    said = passwd(machine, PASSWORD, NEW, NEW)
    assert said[-1] == f"chauthtok {AUTHTOK_ERR}"
    assert any("cannot be written, so nothing was changed" in line for line in said)
    assert differences(before, machine.snapshot("/etc", "/.fscrypt")) == []


@pytest.mark.guarantee(10)
def test_a_change_on_a_full_disk_fails_before_it_begins_or_not_at_all(machine: FscryptMachine) -> None:
    """The metadata of `/` on a file system of its own, which is filled up behind the check."""
    machine.run(["cp", "-a", "/.fscrypt", "/srv/metadata"])
    machine.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=755", "none", "/.fscrypt"])
    machine.run(["cp", "-a", "/srv/metadata/.", "/.fscrypt"])
    fill = ["sh", "-c", "cat /dev/zero >> /.fscrypt/full"]
    talk = Talk(machine, oldauthtok=PASSWORD, authtok=NEW)
    assert talk.phase(CHAUTHTOK, PRELIM) == 0
    machine.run(fill, status=None)
    assert talk.phase(CHAUTHTOK, UPDATE) == 0
    assert machine.inside("verify", NEW) == "ok"
    machine.run(fill, status=None)
    assert Talk(machine, oldauthtok=NEW, authtok=OTHER).phase(CHAUTHTOK, PRELIM) == AUTHTOK_ERR
    assert machine.inside("verify", NEW) == "ok"


def test_a_change_without_room_for_copies_fails_before_it_begins_or_not_at_all(machine: FscryptMachine) -> None:
    """What root keeps, on a file system of its own, which is filled up behind the check: the copy is that of the new one."""
    assert machine.log_in(PASSWORD, READ) == OPENED
    machine.run(["cp", "-a", "/var/lib/pyhome", "/srv/kept"])
    machine.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", "/var/lib/pyhome"])
    machine.run(["cp", "-a", "/srv/kept/.", "/var/lib/pyhome"])
    fill = ["sh", "-c", "cat /dev/zero >> /var/lib/pyhome/full"]
    talk = Talk(machine, oldauthtok=PASSWORD, authtok=NEW)
    assert talk.phase(CHAUTHTOK, PRELIM) == 0
    machine.run(fill, status=None)
    assert talk.phase(CHAUTHTOK, UPDATE) == 0
    assert machine.inside("verify", NEW) == "ok"
    machine.run(fill, status=None)
    assert Talk(machine, oldauthtok=NEW, authtok=OTHER).phase(CHAUTHTOK, PRELIM) == AUTHTOK_ERR
    machine.protector().write_bytes(b"damaged")
    assert [machine.inside("unlock", each)[:5] for each in (PASSWORD, NEW)] == ["Wrong", "2 Tru"]


@pytest.mark.guarantee(11)
def test_killed_at_any_system_call_either_password_opens_the_home(machine: FscryptMachine) -> None:
    """A worker that dies at its first, second, … write, fsync, truncation or rename."""
    for call in ("write", "fsync", "ftruncate", "renameat"):
        killed = 0
        for number in range(1, 5):
            under = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e"]
            talk = Talk(machine, oldauthtok=PASSWORD, authtok=NEW)
            assert talk.phase(CHAUTHTOK, PRELIM) == 0
            code = talk.phase(CHAUTHTOK, UPDATE, under=[*under, f"inject={call}:signal=KILL:when={number}"])
            old, new = (machine.inside("verify", password) == "ok" for password in (PASSWORD, NEW))
            assert old != new, (call, number)
            if new:
                assert machine.inside("change", NEW, PASSWORD) == "ok"
            if code is not None:
                break
            killed += 1
        assert killed, call
    assert machine.log_in(PASSWORD, READ) == OPENED
    assert machine.opens(PASSWORD)


@pytest.mark.parametrize("failing", ["write:error=ENOSPC", "fsync:error=EIO", "renameat:error=EIO", "ftruncate:error=EIO"])
def test_a_failing_call_is_reported_and_leaves_one_password(machine: FscryptMachine, failing: str) -> None:
    talk = Talk(machine, oldauthtok=PASSWORD, authtok=NEW)
    assert talk.phase(CHAUTHTOK, PRELIM) == 0
    call, error = failing.split(":")
    staged = f"/.fscrypt/protectors.{machine.protector().name}.pyhome-new"
    trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-P", "/.fscrypt" if call == "renameat" else staged]
    assert talk.phase(CHAUTHTOK, UPDATE, under=[*trace, "-e", f"inject={call}:{error}"]) == AUTHTOK_ERR
    assert any("still has the old one" in line for line in talk.said)
    assert machine.inside("verify", PASSWORD) == "ok"
    assert machine.opens(PASSWORD)
