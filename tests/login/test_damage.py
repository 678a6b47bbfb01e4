"""Key files that are truncated, corrupt, foreign, empty or missing; with the good copies that root keeps, and without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.login.conftest import PASSWORD
from tests.login.homes import (
    ADA,
    AUTHINFO_UNAVAIL,
    FEKEK,
    FNEK,
    LoginMachine,
    answers,
    differences,
    version_1,
    wrap,
)
from tests.login.worker import Inside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.root

OTHER = b"somebody else's"
WATCHED = ("/home", "/var/lib/pyhome", "/etc")
KEYS = f"Signatures(fekek='{FEKEK}', fnek='{FNEK}')"


@pytest.fixture
def inside(machine: LoginMachine) -> Iterator[Inside]:
    with Inside(machine) as inside:
        yield inside


def lying(name: str, content: bytes) -> Callable[[LoginMachine], object]:
    """`content` in the place of file `name`."""
    return lambda machine: (machine.config("ada") / name).write_bytes(content)


def without(name: str) -> Callable[[LoginMachine], None]:
    """File `name` is gone."""
    return lambda machine: (machine.config("ada") / name).unlink()


def foreign(machine: LoginMachine) -> None:
    """The key file of another home that has the same password."""
    wrap(machine.wrapped(), PASSWORD, b"another mount passphrase")


def gone(machine: LoginMachine) -> None:
    """The whole configuration directory is deleted, link and all."""
    machine.run(["rm", "-r", "/home/.ecryptfs/ada/.ecryptfs", "/home/ada/.ecryptfs"])


DAMAGES: dict[str, Callable[[LoginMachine], object]] = {
    "empty": lying("wrapped-passphrase", b""),
    "text": lying("wrapped-passphrase", b"this is no key file\n" * 3),
    "zeros": lying("wrapped-passphrase", bytes(58)),
    "cut off": lambda machine: machine.wrapped().write_bytes(machine.wrapped().read_bytes()[:41]),
    "longer": lambda machine: machine.wrapped().write_bytes(machine.wrapped().read_bytes() + bytes(16)),
    "of version 3": lambda machine: machine.wrapped().write_bytes(b":\3" + machine.wrapped().read_bytes()[2:]),
    "larger than any": lying("wrapped-passphrase", b"x" * 5000),
    "of another home": foreign,
    "no Private.sig": without("Private.sig"),
    "an empty Private.sig": lying("Private.sig", b""),
    "a damaged Private.sig": lying("Private.sig", b"849d6b79848a029\n"),
    "Private.sig of another home": lying("Private.sig", b"0123456789abcdef\n0123456789abcdef\n"),
    "Private.sig with one good line": lying("Private.sig", f"{FEKEK}\n0123456789abcdef\n".encode()),
}
CURABLE = DAMAGES | {
    "no key file": without("wrapped-passphrase"),
    "no directory": gone,
    "no Private.mnt": without("Private.mnt"),
    "a damaged Private.mnt": lying("Private.mnt", b"/home/ada/../bob\n"),
    "an empty Private.mnt": lying("Private.mnt", b""),
}


def sentences(said: list[str]) -> list[str]:
    """What was shown to the user, prompts apart."""
    return [line for line in said if line.startswith("message ") and not line.startswith("message 1 ")]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.guarantee(9)
def test_without_a_copy_the_login_goes_on_with_one_sentence(machine: LoginMachine, damage: str) -> None:
    DAMAGES[damage](machine)
    before = machine.snapshot(*WATCHED)
    said = machine.pam("login", "ada", *answers(PASSWORD), "auth", "setcred", "account", "open", "close")
    assert [line for line in said if not line.startswith("message")] == [
        "auth 0", "setcred 0", "account 0", "open 0", "close 0",
    ]  # fmt: skip
    (sentence,) = sentences(said)
    assert "encrypted home" in sentence
    assert "administrator" in sentence
    details = [line for line in machine.log().splitlines() if "the home is not usable: " in line]
    assert len(details) == 1
    assert "wrapped" in details[0] or "Private.sig" in details[0]
    (told,) = machine.records("unusable")
    assert (told["USER"], told["PYHOME_SERVICE"], told["SYSLOG_IDENTIFIER"]) == ("ada", "login", "pam_pyhome")
    assert f"the home is not usable: {told['PYHOME_WHY']}" in details[0]
    assert differences(before, machine.snapshot(*WATCHED)) == []


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.guarantee(7, 14)
def test_without_a_copy_nothing_is_verified_by_it(machine: LoginMachine, damage: str) -> None:
    machine.write_pam("strict", "authenticate")
    DAMAGES[damage](machine)
    before = machine.snapshot(*WATCHED)
    said = machine.pam("strict", "ada", *answers(PASSWORD), "auth")
    assert said[-1] == f"auth {AUTHINFO_UNAVAIL}"
    assert len(sentences(said)) == 1
    assert differences(before, machine.snapshot(*WATCHED)) == []


def test_a_missing_key_file_is_no_home_until_there_was_one(machine: LoginMachine) -> None:
    machine.wrapped().unlink()
    said = machine.pam("login", "ada", *answers(PASSWORD), "auth", "open", "close")
    assert sentences(said) == []


@pytest.mark.parametrize("damage", CURABLE)
def test_with_a_copy_the_home_opens_and_is_mended(machine: LoginMachine, inside: Inside, damage: str) -> None:
    machine.keep_copies()
    good = {path.name: path.read_bytes() for path in machine.kept().iterdir()}
    CURABLE[damage](machine)
    said = machine.pam("login", "ada", *answers(PASSWORD), "auth", "open")
    (told,) = machine.records("not-unlocked")  # but it was tried: the key was there
    assert (told["USER"], told["PYHOME_SERVICE"]) == ("ada", "login")
    assert f"the home was not opened: {told['PYHOME_WHY']}" in machine.log()
    assert "auth 0" in said
    assert inside("keys", PASSWORD) == KEYS
    assert inside("mountpoint") == "/home/ada"
    assert inside("unlock", b"not the password") == "WrongPassphraseError"
    assert inside("settle", PASSWORD) in {"rewritten", "kept"}
    for name, content in good.items():
        assert (machine.config("ada") / name).read_bytes() == content
        assert (machine.config("ada") / name).stat().st_uid == ADA
        assert (machine.kept() / name).read_bytes() == content
    assert inside("verify", PASSWORD) == "ok"


@pytest.mark.guarantee(10)
def test_what_was_replaced_is_not_lost(machine: LoginMachine, inside: Inside) -> None:
    machine.keep_copies()
    machine.wrapped().write_bytes(b"perhaps somebody can make sense of this")
    inside("settle", PASSWORD)
    assert (machine.kept() / "wrapped-passphrase.previous").read_bytes() == b"perhaps somebody can make sense of this"


@pytest.mark.guarantee(10)
def test_every_truncation_is_recognised_and_cured(machine: LoginMachine, inside: Inside) -> None:
    whole = machine.wrapped().read_bytes()
    answers_without = []
    for size in range(len(whole)):
        machine.wrapped().write_bytes(whole[:size])
        answers_without.append(inside("unlock", PASSWORD))
    assert set(answers_without) == {"FormatError"}
    machine.keep_copies()
    (machine.kept() / "wrapped-passphrase").write_bytes(whole)
    for size in range(0, len(whole), 6):
        machine.wrapped().write_bytes(whole[:size])
        assert inside("settle", PASSWORD) == "rewritten", size
        assert machine.wrapped().read_bytes() == whole, size


@pytest.mark.guarantee(15)
def test_a_flipped_bit_anywhere_never_opens_to_another_key(machine: LoginMachine, inside: Inside) -> None:
    whole = machine.wrapped().read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        machine.wrapped().write_bytes(flipped)
        assert inside("unlock", PASSWORD) in {"FormatError", "UnknownVersionError", "WrongPassphraseError"}, place
    machine.wrapped().write_bytes(whole)
    machine.keep_copies()
    for place in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        machine.wrapped().write_bytes(flipped)
        assert inside("settle", PASSWORD) == "rewritten", place
        assert machine.wrapped().read_bytes() == whole, place


@pytest.mark.guarantee(10)
def test_a_copy_that_is_no_good_either_is_not_believed(machine: LoginMachine, inside: Inside) -> None:
    machine.keep_copies()
    for path in (machine.wrapped(), machine.kept() / "wrapped-passphrase"):
        wrap(path, PASSWORD, b"another mount passphrase")
    assert inside("unlock", PASSWORD) == "FormatError"
    for path in (machine.config("ada") / "Private.sig", machine.kept() / "Private.sig"):
        path.write_bytes(b"\xff")
    assert inside("unlock", PASSWORD) == "StorageError"


def test_after_a_reset_a_damaged_file_still_asks_for_the_old_password(machine: LoginMachine) -> None:
    """The copy is good, so what is missing is a password, not a key file."""
    machine.keep_copies()
    machine.pam("login", "ada", *answers(OTHER, OTHER), "chauthtok")
    machine.wrapped().write_bytes(b"")
    said = machine.pam("login", "ada", *answers(OTHER, PASSWORD), "auth", "open")
    assert any(line.startswith("message 1 ") and line.endswith(" Old password: ") for line in said)
    assert "the home was not opened" in machine.log()


def test_ciphertext_that_is_not_there(machine: LoginMachine) -> None:
    """A partition that was not mounted: the password is right, and the log says what is missing."""
    machine.run(["rm", "-r", "/home/.ecryptfs/ada/.Private"])
    said = machine.pam("login", "ada", *answers(PASSWORD), "auth", "open")
    assert [line for line in said if not line.startswith("message")] == ["auth 0", "open 0"]
    assert len(sentences(said)) == 1
    assert "/home/ada/.Private: there is no such directory" in machine.log()


@pytest.mark.guarantee(3)
def test_a_weak_file_is_renewed_only_after_it_has_proved_itself(machine: LoginMachine, inside: Inside) -> None:
    """Version 1, whose salt everybody knows."""
    weak = version_1(PASSWORD)
    machine.wrapped().write_bytes(weak)
    machine.pam("login", "ada", *answers(PASSWORD), "auth", "open")
    assert machine.wrapped().read_bytes() == weak
    assert inside("settle", PASSWORD) == "rewritten"
    assert machine.wrapped().read_bytes()[:2] == b":\2"
    assert machine.opens(PASSWORD)
    assert (machine.kept() / "wrapped-passphrase.previous").read_bytes() == weak
    assert inside("settle", PASSWORD) == "kept"  # its successor has opened the home
    assert not (machine.kept() / "wrapped-passphrase.previous").exists()


def test_damage_makes_no_password_change_impossible(machine: LoginMachine) -> None:
    machine.wrapped().write_bytes(b"")
    said = machine.pam("login", "ada", f"ruid={ADA}", *answers(PASSWORD, OTHER, OTHER), "chauthtok")
    assert said[-1] == "chauthtok 0"
    assert len([line for line in sentences(said) if "encrypted home" in line]) == 1
    assert machine.wrapped().read_bytes() == b""
    assert machine.logs_in(OTHER)
