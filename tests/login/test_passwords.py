"""The password of the login and that of the home change together or not at all: real pam_unix, real files, Debian's order."""

from __future__ import annotations

import hashlib

import pytest

from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, AUTHTOK_ERR, AUTHTOK_RECOVERY_ERR, LoginMachine, answers, differences, unwrap, wrap
from tests.login.worker import Inside

pytestmark = pytest.mark.root

NEW = b"battery staple"
OTHER = b"yet another one"
HIMSELF = f"ruid={ADA}"  # passwd(1): real uid of the user, effective uid 0
AUTH_TOKEN_RECOVERY = f"chauthtok {AUTHTOK_RECOVERY_ERR}"
EVERYTHING = ("/etc", "/home", "/var/lib/pyhome")
EXPIRED = "flags=32"  # PAM_CHANGE_EXPIRED_AUTHTOK


def passwd(machine: LoginMachine, *typed: bytes) -> list[str]:
    """What a user sees who runs passwd."""
    return machine.pam("login", "ada", HIMSELF, *answers(*typed), "chauthtok")


@pytest.mark.guarantee(12)
def test_passwd_changes_both(machine: LoginMachine) -> None:
    before = machine.wrapped().read_bytes()
    assert passwd(machine, PASSWORD, NEW, NEW)[-1] == "chauthtok 0"
    assert machine.logs_in(NEW)
    assert machine.opens(NEW)
    assert not machine.opens(PASSWORD)
    assert not machine.logs_in(PASSWORD)
    status = machine.wrapped().stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (ADA, ADA, 0o600)
    assert sorted(path.name for path in machine.config("ada").iterdir()) == [
        "Private.mnt", "Private.sig", "auto-mount", "auto-umount", "wrapped-passphrase",
    ]  # fmt: skip
    # The copy follows in the same act; what was before is only set aside.
    assert (machine.kept() / "wrapped-passphrase").read_bytes() == machine.wrapped().read_bytes()
    assert (machine.kept() / "wrapped-passphrase.previous").read_bytes() == before
    assert "opens with the new password" in machine.log()


@pytest.mark.guarantee(12)
def test_a_wrong_old_password_changes_nothing(machine: LoginMachine) -> None:
    before = machine.snapshot(*EVERYTHING)
    assert passwd(machine, b"wrong", NEW, NEW)[-1] != "chauthtok 0"
    assert differences(before, machine.snapshot(*EVERYTHING)) == []


def test_new_passwords_that_differ_leave_both_as_they_were(machine: LoginMachine) -> None:
    before = machine.wrapped().read_bytes()
    assert passwd(machine, PASSWORD, NEW, OTHER)[-1] != "chauthtok 0"
    assert machine.wrapped().read_bytes() == before
    assert machine.logs_in(PASSWORD)
    assert passwd(machine, PASSWORD, NEW, NEW)[-1] == "chauthtok 0"
    assert machine.opens(NEW)
    assert not list(machine.config("ada").glob("*new*"))


@pytest.mark.guarantee(12)
def test_a_home_that_is_out_of_step_stops_the_change_before_it_begins(machine: LoginMachine) -> None:
    wrap(machine.wrapped(), OTHER)
    before = machine.snapshot(*EVERYTHING)
    said = passwd(machine, PASSWORD, b"not this either", NEW, NEW)
    assert said[-1] == AUTH_TOKEN_RECOVERY
    assert any("does not open the encrypted home of ada, so nothing was changed" in line for line in said)
    assert differences(before, machine.snapshot(*EVERYTHING)) == []


def test_passwd_asks_once_for_the_password_that_the_home_has(machine: LoginMachine) -> None:
    wrap(machine.wrapped(), OTHER)
    said = passwd(machine, PASSWORD, OTHER, NEW, NEW)
    assert sum(line.startswith("message 1 ") and line.endswith(" Old password: ") for line in said) == 1
    assert said[-1] == "chauthtok 0"
    assert machine.logs_in(NEW)
    assert machine.opens(NEW)


def test_a_passphrase_of_its_own_stays_what_it_is(machine: LoginMachine) -> None:
    wrap(machine.wrapped(), OTHER)
    (machine.config("ada") / "wrapping-independent").touch()
    before = machine.snapshot("/home", "/var/lib/pyhome")
    assert passwd(machine, PASSWORD, NEW, NEW)[-1] == "chauthtok 0"
    assert differences(before, machine.snapshot("/home", "/var/lib/pyhome")) == []
    assert machine.logs_in(NEW)
    assert machine.opens(OTHER)


@pytest.mark.parametrize(
    "new",
    [b"x" * 63, b"y" * 64, b"z" * 65, b"L0ng!" * 40, b"caf\xe9 \xff\xfe latin", "pässwörd ☃".encode(), b"per%cent %s %n \\ '\""],
    ids=["63 bytes", "64 bytes", "65 bytes", "200 bytes", "not UTF-8", "UTF-8", "punctuation"],
)
def test_passwords_are_bytes_of_any_length(machine: LoginMachine, new: bytes) -> None:
    assert passwd(machine, PASSWORD, new, new)[-1] == "chauthtok 0"
    assert machine.logs_in(new)
    assert machine.opens(new)
    assert passwd(machine, new, PASSWORD, PASSWORD)[-1] == "chauthtok 0"
    assert machine.opens(PASSWORD)


def test_a_long_password_is_known_to_other_tools_by_its_digest(machine: LoginMachine) -> None:
    new = b"sesquipedalian " * 6
    assert passwd(machine, PASSWORD, new, new)[-1] == "chauthtok 0"
    assert unwrap(machine.wrapped(), hashlib.sha256(new).hexdigest().encode()) is not None


def test_root_is_told_what_a_reset_means(machine: LoginMachine) -> None:
    before = machine.snapshot("/home")
    said = machine.pam("login", "ada", *answers(NEW, NEW), "chauthtok")
    assert said[-1] == "chauthtok 0"
    assert any("still opens with the old password only" in line for line in said)
    assert differences(before, machine.snapshot("/home")) == []
    assert machine.logs_in(NEW)
    assert machine.opens(PASSWORD)


@pytest.mark.guarantee(12)
def test_after_a_reset_the_next_login_asks_once_for_the_old_password(machine: LoginMachine) -> None:
    machine.pam("login", "ada", *answers(NEW, NEW), "chauthtok")
    before = machine.snapshot("/home")
    said = machine.pam("login", "ada", *answers(NEW, PASSWORD), "auth", "open")
    assert sum(line.startswith("message 1 ") and line.endswith(" Old password: ") for line in said) == 1
    assert [line for line in said if not line.startswith("message")] == ["auth 0", "open 0"]
    assert "the home was not opened" in machine.log()  # but it was tried, so the key was there
    assert differences(before, machine.snapshot("/home")) == []  # a repair waits for the proof of a mount


def test_the_repair_once_the_mount_has_proved_the_key(machine: LoginMachine) -> None:
    """What the session phase then does; the old file stays where only root can reach it until the new one has proved itself."""
    before = machine.wrapped().read_bytes()
    machine.pam("login", "ada", *answers(NEW, NEW), "chauthtok")
    with Inside(machine) as inside:
        assert inside("prepare", PASSWORD, NEW) == "ok"
        assert machine.wrapped().read_bytes() == before
        assert inside("finish") == "rewritten"
        assert inside("verify", NEW) == "ok"
    assert machine.opens(NEW)
    assert machine.wrapped().stat().st_uid == ADA
    assert (machine.kept() / "wrapped-passphrase.previous").read_bytes() == before
    said = machine.pam("login", "ada", *answers(NEW), "auth", "open")
    assert not any("Old password" in line for line in said)


@pytest.mark.guarantee(12)
def test_the_repair_does_not_undo_a_change_that_came_between(machine: LoginMachine) -> None:
    with Inside(machine) as inside:
        inside("prepare", PASSWORD, NEW)
        wrap(machine.wrapped(), OTHER)
        assert inside("finish") == "changed meanwhile"
    assert machine.opens(OTHER)
    assert not machine.kept().exists()


def test_an_old_password_that_is_wrong_too_is_not_asked_for_again(machine: LoginMachine) -> None:
    machine.pam("login", "ada", *answers(NEW, NEW), "chauthtok")
    said = machine.pam("login", "ada", *answers(NEW, b"forgotten"), "auth", "open")
    assert [line for line in said if not line.startswith("message")] == ["auth 0", "open 0"]
    assert sum(line.startswith("message 1 ") and line.endswith(" Old password: ") for line in said) == 1
    assert sum("does not open the encrypted home of ada" in line for line in said) == 1


@pytest.mark.parametrize("replies", [(), (NEW,)], ids=["no conversation", "sshd, which answers with what was typed before"])
@pytest.mark.guarantee(9)
def test_where_nobody_can_be_asked_the_login_goes_on(machine: LoginMachine, replies: tuple[bytes, ...]) -> None:
    machine.pam("login", "ada", *answers(NEW, NEW), "chauthtok")
    said = machine.pam("login", "ada", *answers(NEW, *replies), "auth", "open")
    assert [line for line in said if not line.startswith("message")] == ["auth 0", "open 0"]
    if replies:
        assert sum("log in on the console or with su" in line for line in said) == 1


def expire(machine: LoginMachine) -> None:
    """Demand a new password at the next login."""
    shadow = machine.path("/etc/shadow")
    shadow.write_text(shadow.read_text(encoding="ascii").replace(":19000:0:", ":0:0:"), encoding="ascii")


def test_an_expired_password_is_changed_at_the_login(machine: LoginMachine) -> None:
    expire(machine)
    typed = answers(PASSWORD, PASSWORD, NEW, NEW)
    said = machine.pam("login", "ada", *typed, "auth", "account", EXPIRED, "chauthtok", "flags=0", "open")
    assert [line for line in said if not line.startswith("message")] == ["auth 0", "account 12", "chauthtok 0", "open 0"]
    assert machine.logs_in(NEW)
    assert machine.opens(NEW)
    assert "the home was not opened" in machine.log()


def test_an_expired_password_and_a_repair_in_one_login(machine: LoginMachine) -> None:
    """Root has reset the password and made it expire, as `passwd --expire` does."""
    machine.pam("login", "ada", *answers(OTHER, OTHER), "chauthtok")
    shadow = machine.path("/etc/shadow")
    lines = [line.split(":") for line in shadow.read_text(encoding="ascii").splitlines()]
    shadow.write_text("".join(":".join([*f[:2], "0" if f[0] == "ada" else f[2], *f[3:]]) + "\n" for f in lines), encoding="ascii")
    typed = answers(OTHER, PASSWORD, OTHER, NEW, NEW)
    said = machine.pam("login", "ada", *typed, "auth", "account", EXPIRED, "chauthtok", "flags=0", "open")
    assert [line for line in said if not line.startswith("message")] == ["auth 0", "account 12", "chauthtok 0", "open 0"]
    assert machine.opens(NEW)
    assert "somebody else meanwhile" not in machine.log()


@pytest.mark.parametrize("broken", ["another password", "no key file", "damaged", "no room"])
@pytest.mark.guarantee(9)
def test_an_expired_password_never_keeps_anybody_out(machine: LoginMachine, broken: str) -> None:
    if broken == "another password":
        wrap(machine.wrapped(), OTHER)
    elif broken == "no key file":
        machine.wrapped().unlink()
    elif broken == "damaged":
        machine.wrapped().write_bytes(b":\2nothing")
    else:
        machine.run(["mount", "--bind", "-o", "ro", "/home/.ecryptfs", "/home/.ecryptfs"])
        machine.run(["mount", "-o", "remount,bind,ro", "/home/.ecryptfs"])
    expire(machine)
    said = machine.pam("login", "ada", EXPIRED, *answers(PASSWORD, NEW, NEW), "chauthtok")
    assert said[-1] == "chauthtok 0"
    assert machine.logs_in(NEW)
    if broken in {"another password", "no room"}:
        assert any("still has the old one" in line for line in said)
    assert not any("nothing was changed" in line for line in said)


def test_a_key_file_that_cannot_be_written_stops_the_change_before_it_begins(machine: LoginMachine) -> None:
    machine.run(["mount", "--bind", "/home/.ecryptfs", "/home/.ecryptfs"])
    machine.run(["mount", "-o", "remount,bind,ro", "/home/.ecryptfs"])
    before = machine.snapshot("/etc", "/home")
    said = passwd(machine, PASSWORD, NEW, NEW)
    assert said[-1] == f"chauthtok {AUTHTOK_ERR}"
    assert any("cannot be written, so nothing was changed" in line for line in said)
    assert differences(before, machine.snapshot("/etc", "/home")) == []


def test_people_without_a_home_change_their_passwords_as_ever(machine: LoginMachine) -> None:
    machine.add_user("bob", 61002, password="x", encrypted=False)
    assert machine.pam("login", "bob", *answers(NEW, NEW), "chauthtok")[-1] == "chauthtok 0"
    assert machine.logs_in(NEW, "bob")
