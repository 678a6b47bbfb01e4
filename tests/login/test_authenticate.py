"""`authenticate`: opening the home is the verification. Without it, nothing is ever verified."""

from __future__ import annotations

import shutil
import time

import pytest

from pam_pyhome.formats import wire
from pam_pyhome.formats.ecryptfs_key import SALT_DEFAULT, SALT_FNEK, derive_key
from pam_pyhome.formats.recovery import emit_recovery
from tests.login.conftest import PASSWORD
from tests.login.homes import (
    ADA,
    AUTH_ERR,
    AUTHINFO_UNAVAIL,
    MOUNT_PASSPHRASE,
    LoginMachine,
    answers,
    differences,
    wrap,
)
from tests.login.worker import Inside, Talk
from tests.pam.harness import IGNORED, REPOSITORY
from tests.verbs.command import pyhome

pytestmark = pytest.mark.root

NEW = b"battery staple"
OTHER = b"yet another one"
TRIED = "the home was not opened"  # for want of eCryptfs: everything before that went well


@pytest.fixture
def machine(machine: LoginMachine) -> LoginMachine:
    """With a service `strict` of the module alone; the home was opened before by a version that kept copies only."""
    machine.write_pam("strict", "authenticate")
    machine.keep_copies()
    return machine


def verifies(machine: LoginMachine, password: bytes) -> str:
    return machine.pam("strict", "ada", *answers(password), "auth")[-1]


def passwd(machine: LoginMachine, old: bytes, new: bytes) -> None:
    assert machine.pam("login", "ada", f"ruid={ADA}", *answers(old, new, new), "chauthtok")[-1] == "chauthtok 0"


UNPROVED = f"auth {AUTHINFO_UNAVAIL}"
HOW = "log in once where another module verifies the password, or run as root 'pyhome passwd --home-only ada'"


def test_the_right_password(machine: LoginMachine) -> None:
    said = machine.pam("strict", "ada", *answers(PASSWORD), "auth", "setcred", "open", "close")
    assert said[:4] == ["message 1 Password: ", "auth 0", "setcred 0", said[3]]
    assert said[-2:] == ["open 0", "close 0"]
    assert TRIED in machine.log()


@pytest.mark.guarantee(14)
def test_a_wrong_password_is_slow(machine: LoginMachine) -> None:
    began = time.monotonic()
    said = machine.pam("strict", "ada", *answers(b"wrong"), "auth", "setcred", "open")
    assert time.monotonic() - began > 0.9  # libpam takes half of the two seconds, or more
    assert said[1:3] == [f"auth {AUTH_ERR}", f"setcred {AUTH_ERR}"]
    assert "a wrong password was given for the home" in machine.log()
    assert TRIED not in machine.log()


def test_how_slow_is_said_to_libpam(machine: LoginMachine) -> None:
    talk = Talk(machine, authtok=b"wrong")
    assert talk.phase(wire.PHASE_AUTHENTICATE, tokens=[b"authenticate"]) == AUTH_ERR
    assert talk.delays == [2_000_000]
    assert talk.data == {}


@pytest.mark.parametrize("given", [(), ("answer=",)], ids=["nobody answers", "an empty answer"])
@pytest.mark.guarantee(14)
def test_no_password_is_no_verification(machine: LoginMachine, given: tuple[str, ...]) -> None:
    assert machine.pam("strict", "ada", *given, "auth")[-1] == f"auth {AUTHINFO_UNAVAIL}"


def test_a_password_that_was_typed_already_is_not_asked_for(machine: LoginMachine) -> None:
    machine.write_stack("both", "auth optional pam_unix.so\nauth required pam_pyhome.so authenticate\n")
    said = machine.pam("both", "ada", *answers(PASSWORD), "auth")
    assert [line for line in said if line.startswith("message 1")] == ["message 1 Password: "]
    assert said[-1] == "auth 0"


def test_a_password_that_was_asked_for_is_there_for_later_modules(machine: LoginMachine) -> None:
    machine.write_stack("both", "auth required pam_pyhome.so authenticate\nauth required pam_unix.so use_first_pass\n")
    said = machine.pam("both", "ada", *answers(PASSWORD), "auth")
    assert said == ["message 1 Password: ", "auth 0"]


def test_a_login_without_a_password_asks_where_that_is_set(machine: LoginMachine) -> None:
    """As by fingerprint. It decides nothing; what was typed before is not asked for again, and nobody has to answer."""
    finger, later = "auth required pam_permit.so\n", "auth required pam_unix.so use_first_pass\n"
    machine.write_stack("finger", f"{finger}auth optional pam_pyhome.so ask\nsession optional pam_pyhome.so\n")
    machine.write_stack("later", f"{finger}auth optional pam_pyhome.so ask\n{later}")
    machine.write_stack("typed", "auth required pam_unix.so\nauth optional pam_pyhome.so ask\n")
    asks = "message 1 The encrypted home of ada is locked. Password: "
    said = machine.pam("finger", "ada", *answers(PASSWORD), "auth", "setcred", "open", "close")
    assert said[:2] == [asks, "auth 0"]
    assert said[-2:] == ["open 0", "close 0"]
    assert TRIED in machine.log()
    assert machine.pam("later", "ada", *answers(PASSWORD), "auth") == [asks, "auth 0"]
    said = machine.pam("finger", "ada", *answers(b"wrong"), "auth")
    assert said[0] == asks
    assert "does not open the encrypted home of ada, so it stays locked" in said[1]
    assert said[-1] == "auth 0"
    assert machine.pam("finger", "ada", "answer=", "auth") == [asks, "auth 0"]
    assert machine.pam("typed", "ada", *answers(PASSWORD), "auth") == ["message 1 Password: ", "auth 0"]


def test_a_passphrase_of_its_own(machine: LoginMachine) -> None:
    wrap(machine.wrapped(), NEW)
    machine.keep_copies()
    (machine.config("ada") / "wrapping-independent").touch()
    said = machine.pam("strict", "ada", *answers(NEW), "auth")
    assert said == ["message 1 Passphrase of the encrypted home: ", "auth 0"]
    assert machine.pam("strict", "ada", *answers(PASSWORD), "auth")[-1] == f"auth {AUTH_ERR}"


@pytest.mark.guarantee(7, 14)
def test_what_was_changed_verifies_nothing_whatever_becomes_of_the_key_file(machine: LoginMachine) -> None:
    """Its owner's processes can damage it, or put an older one back, and know what `Private.sig` has to say for another."""
    old = machine.wrapped().read_bytes()
    passwd(machine, PASSWORD, NEW)
    new = machine.wrapped().read_bytes()
    assert verifies(machine, PASSWORD) == f"auth {AUTH_ERR}"
    assert verifies(machine, NEW) == "auth 0"
    for content in (b"\n", b"", old, new[:-1] + bytes([new[-1] ^ 1])):
        machine.wrapped().write_bytes(content)
        assert [verifies(machine, password) for password in (PASSWORD, NEW)] == [UNPROVED, UNPROVED], content
    assert HOW in machine.log()
    machine.wrapped().unlink()
    assert [verifies(machine, password) for password in (PASSWORD, NEW)] == [UNPROVED, UNPROVED]
    machine.wrapped().write_bytes(new)
    assert verifies(machine, NEW) == "auth 0"
    forged = b"0" * 32
    names = [derive_key(forged, salt).signature for salt in (SALT_DEFAULT, SALT_FNEK)]
    (machine.config("ada") / "Private.sig").write_text("\n".join(names) + "\n", encoding="ascii")
    wrap(machine.wrapped(), OTHER, forged)
    assert [verifies(machine, password) for password in (OTHER, forged)] == [UNPROVED, UNPROVED]


def test_a_home_that_nothing_has_opened_verifies_nothing(machine: LoginMachine) -> None:
    shutil.rmtree(machine.kept())
    assert verifies(machine, PASSWORD) == UNPROVED
    assert HOW in machine.log()


def test_another_tools_change_counts_once_a_login_or_root_has_proved_it(machine: LoginMachine) -> None:
    wrap(machine.wrapped(), NEW)
    assert verifies(machine, NEW) == UNPROVED
    with Inside(machine) as inside:
        assert inside("settle", NEW) == "kept"  # as an answer to `pyhome unlock` opens it: that vouches for nothing
        assert verifies(machine, NEW) == UNPROVED
        assert inside("vouch", NEW) == "ok"
    assert verifies(machine, NEW) == "auth 0"
    wrap(machine.wrapped(), OTHER)
    assert verifies(machine, OTHER) == UNPROVED
    shutil.copy(REPOSITORY / "packaging/files/pyhome", machine.path("/usr/bin/pyhome"))
    machine.path("/usr/bin/pyhome").chmod(0o755)
    lines = OTHER + b"\n" + PASSWORD + b"\n"
    assert pyhome(machine, 0, "passwd", "--home-only", "ada", "--password-file", "-", stdin=lines).code == 0
    assert verifies(machine, PASSWORD) == "auth 0"


def test_who_puts_an_older_key_file_back_cannot_have_it_approved(machine: LoginMachine) -> None:
    """Not by a change of the password, for which it opens the home."""
    old = machine.wrapped().read_bytes()
    passwd(machine, PASSWORD, NEW)
    machine.wrapped().write_bytes(old)
    with Inside(machine) as inside:
        assert inside("change", PASSWORD, OTHER) == "ok"
    assert machine.opens(OTHER)
    assert verifies(machine, OTHER) == UNPROVED


def test_recovery_keys_that_are_approved_verify_as_well(machine: LoginMachine) -> None:
    assert verifies(machine, MOUNT_PASSPHRASE) == "auth 0"
    first, second = (emit_recovery(bytes([number]) * 20) for number in (1, 2))
    with Inside(machine) as inside:
        assert inside("recovery", PASSWORD, first.encode()) == "ok"
        stolen = (machine.config("ada") / "recovery-wrapped-passphrase").read_bytes()
        assert inside("recovery", PASSWORD, second.encode()) == "ok"
    assert [verifies(machine, key.encode()) for key in (first, second)] == [f"auth {AUTH_ERR}", "auth 0"]
    (machine.config("ada") / "recovery-wrapped-passphrase").write_bytes(stolen)
    assert verifies(machine, first.encode()) != "auth 0"


@pytest.mark.guarantee(14)
def test_a_home_that_is_no_home_of_ours(machine: LoginMachine) -> None:
    link = machine.path("/home/ada/.ecryptfs")
    link.unlink()
    link.symlink_to("/tmp")
    machine.run(["mv", "/home/.ecryptfs/ada/.ecryptfs", "/home/.ecryptfs/elsewhere"])
    machine.run(["touch", "/tmp/wrapped-passphrase"])  # or it would be no home at all
    said = machine.pam("strict", "ada", *answers(PASSWORD), "auth")
    assert said[-1] == f"auth {AUTHINFO_UNAVAIL}"
    assert sum("could not be opened" in line for line in said) == 1


@pytest.mark.parametrize("password", [PASSWORD, b"wrong"])
@pytest.mark.guarantee(14)
def test_without_it_even_sufficient_lets_nobody_in(machine: LoginMachine, password: bytes) -> None:
    machine.write_pam("lax")
    rules = ("optional pam_unix.so nodelay", "sufficient pam_pyhome.so", "required pam_deny.so")
    machine.write_stack("sufficient", "".join(f"auth {rule}\n" for rule in rules))
    assert machine.pam("sufficient", "ada", *answers(password), "auth")[-1] != "auth 0"
    assert machine.pam("lax", "ada", "auth")[-1] == f"auth {IGNORED}"


def test_trying_changes_nothing(machine: LoginMachine) -> None:
    before = machine.snapshot("/home", "/var/lib/pyhome", "/etc")
    machine.pam("strict", "ada", *answers(PASSWORD), "auth", "end", *answers(b"wrong"), "auth")
    assert differences(before, machine.snapshot("/home", "/var/lib/pyhome", "/etc")) == []
