"""Each opens what the other made, in both directions, before and after a password change on either side."""

from __future__ import annotations

import pytest

from tests.fscrypt.homes import OPENED, READ, FscryptMachine
from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, answers, crypt

pytestmark = pytest.mark.root

NEW = b"battery staple"
HIMSELF = f"ruid={ADA}"  # passwd(1): real uid of the user, effective uid 0


@pytest.fixture(params=["made by fscrypt", "made by pyhome"])
def home(request: pytest.FixtureRequest, bare: FscryptMachine) -> FscryptMachine:
    if request.param == "made by fscrypt":
        bare.add_fscrypt_home("ada", ADA, PASSWORD)
    else:
        bare.add_user("ada", ADA, password=crypt(PASSWORD), encrypted=False)
        assert len(bare.inside("create", PASSWORD).split()) == 2
        bare.write_secret("ada", ADA)
        assert bare.inside("lock") == "ok"
    assert not bare.is_open()
    return bare


def passwd(machine: FscryptMachine, service: str, old: bytes, new: bytes) -> None:
    """Ada changes her password."""
    assert machine.pam(service, "ada", HIMSELF, *answers(old, new, new), "chauthtok")[-1] == "chauthtok 0"
    assert machine.logs_in(new)


def everybody_opens(machine: FscryptMachine, password: bytes) -> None:
    """Our module, theirs, and the command; each finds the home locked and leaves it locked."""
    for service in ("login", "pam_fscrypt"):
        assert machine.log_in(password, READ, service=service) == OPENED, service
        assert not machine.is_open(), service
    assert machine.opens(password)


def test_all_open_it(home: FscryptMachine) -> None:
    everybody_opens(home, PASSWORD)


@pytest.mark.parametrize("services", [("login",), ("pam_fscrypt",), ("login", "pam_fscrypt"), ("pam_fscrypt", "login")])
def test_after_password_changes(home: FscryptMachine, services: tuple[str, ...]) -> None:
    old, new = PASSWORD, NEW
    for service in services:
        passwd(home, service, old, new)
        assert not home.opens(old)
        old, new = new, old
    everybody_opens(home, old)


def test_after_the_tool_changed_the_passphrase(home: FscryptMachine) -> None:
    protector = f"--protector=/:{home.protector().name}"
    assert home.pam("unix", "ada", *answers(NEW, NEW), "chauthtok")[-1] == "chauthtok 0"  # as root does
    home.fscrypt("metadata", "change-passphrase", protector, "--quiet", said=f"{PASSWORD.decode()}\n{NEW.decode()}\n")
    assert not home.opens(PASSWORD)
    assert home.opens(NEW)
    everybody_opens(home, NEW)


def test_status_shows_it_as_its_own(home: FscryptMachine) -> None:
    said = home.fscrypt("status", "/home/ada")
    assert '"/home/ada" is encrypted with fscrypt.' in said
    assert "padding:32 contents:AES_256_XTS filenames:AES_256_CTS policy_version:2" in said
    assert "login protector for ada" in said
    assert "Unlocked: No" in said
    assert home.fscrypt("status", "/home").count("login protector for ada") == 1
    assert home.fscrypt("status", "/").count("login protector for ada") == 1


def test_a_change_keeps_owner_mode_and_unknown_fields(machine: FscryptMachine) -> None:
    protector = machine.protector()
    unknown = bytes.fromhex("c23e 05") + b"later"  # field 1000
    protector.write_bytes(protector.read_bytes() + unknown)
    protector.chmod(0o644)
    before = protector.read_bytes()
    passwd(machine, "login", PASSWORD, NEW)
    after, status = protector.read_bytes(), protector.stat()
    assert after.endswith(unknown)
    assert len(after) == len(before)
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (ADA, ADA, 0o644)
    # descriptor, source and costs as they were; salt, IV, ciphertext and code all new
    assert sum(old != new for old, new in zip(before, after)) > 80
    assert {path.name for path in machine.path("/.fscrypt").iterdir()} == {"policies", "protectors"}
    everybody_opens(machine, NEW)


def test_a_recovery_passphrase_that_we_made_opens_with_the_tool(bare: FscryptMachine) -> None:
    bare.add_user("ada", ADA, password=crypt(PASSWORD), encrypted=False)
    bare.inside("create", PASSWORD, b"qwertyuiopasdfghjklz")
    bare.write_secret("ada", ADA)
    bare.inside("lock")
    (recovery,) = [path.name for path in bare.path("/home/.fscrypt/protectors").iterdir() if path.suffix != ".link"]
    bare.fscrypt("unlock", "/home/ada", f"--unlock-with=/home:{recovery}", "--quiet", said="qwertyuiopasdfghjklz\n")
    assert bare.is_open()


def test_a_second_home_of_the_user_shares_the_login_protector(home: FscryptMachine) -> None:
    """What the tool encrypts later opens and closes with the home."""
    other = home.path("/home/other")
    other.mkdir(mode=0o700)
    home.run(["chown", "ada:ada", "/home/other"])
    home.fscrypt(
        "encrypt", "/home/other", f"--protector=/:{home.protector().name}", "--user=ada", "--quiet",
        said=PASSWORD.decode() + "\n",
    )  # fmt: skip
    (other / "file").write_text("inside", encoding="ascii")
    home.fscrypt("lock", "/home/other", "--user=ada", "--quiet")
    assert not (other / "file").exists()
    assert home.log_in(PASSWORD, READ, "sh=root:cat /home/other/file; echo") == [*OPENED[:5], "inside", "sh 0", "close 0"]
    assert not (other / "file").exists()
    assert not home.is_open()
