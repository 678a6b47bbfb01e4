"""Metadata that is gone, broken or not to be believed: the login goes on, the home is mended where there is a copy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.fscrypt.homes import OPENED, READ, FscryptMachine
from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, answers, crypt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.root

NEW = b"battery staple"


def _link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to("../elsewhere")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _foreign(path: Path) -> None:
    os.chown(path, 61077, 61077)


def _huge(path: Path) -> None:
    os.truncate(path, 1 << 40)


def _flip(path: Path) -> None:
    """In the login protector's wrapped key: a policy has another one behind it."""
    content = bytearray(path.read_bytes())
    content[150 if len(content) > 200 else -1] ^= 1
    path.write_bytes(content)


WAYS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: os.truncate(path, 100),
    "noise": lambda path: path.write_bytes(os.urandom(200)),
    "a bit flipped": _flip,
    "a link": _link,
    "a pipe": _pipe,
    "a directory": _directory,
    "somebody else's": _foreign,
    "a terabyte": _huge,
}


@pytest.fixture(params=["protector", "policy"])
def which(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def file_of(machine: FscryptMachine, which: str) -> Path:
    return machine.protector() if which == "protector" else machine.policy()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.guarantee(9)
def test_without_a_copy_the_login_goes_on_and_says_what_is_the_matter(machine: FscryptMachine, which: str, way: str) -> None:
    WAYS[way](file_of(machine, which))
    said = machine.pam("login", "ada", *answers(PASSWORD), "auth", "setcred", "open", "close")
    assert [line for line in said if not line.startswith("message")] == ["auth 0", "setcred 0", "open 0", "close 0"]
    assert not machine.is_open()
    assert "the worker" not in machine.log()  # none crashed, none was late
    if way != "missing":
        assert any("encrypted home" in line for line in said), machine.log()


@pytest.mark.parametrize("way", [way for way in WAYS if way != "a directory"])
@pytest.mark.guarantee(10)
def test_the_good_copy_mends_it(machine: FscryptMachine, which: str, way: str) -> None:
    path = file_of(machine, which)
    before, status = path.read_bytes(), path.stat()
    assert machine.log_in(PASSWORD, READ) == OPENED
    WAYS[way](path)
    assert machine.log_in(PASSWORD, READ) == OPENED
    assert path.read_bytes() == before
    after = path.lstat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (status.st_uid, status.st_gid, status.st_mode)
    assert machine.opens(PASSWORD)


def test_the_whole_metadata_directory_gone(machine: FscryptMachine) -> None:
    assert machine.log_in(PASSWORD, READ) == OPENED
    machine.run(["sh", "-c", "mv /.fscrypt /srv/metadata; mv /home/.fscrypt /home/metadata"])
    assert machine.log_in(PASSWORD, READ) == OPENED
    assert not machine.is_open()
    machine.run(["sh", "-c", "mv /srv/metadata /.fscrypt; mv /home/metadata /home/.fscrypt"])
    assert machine.opens(PASSWORD)


@pytest.mark.parametrize("costs", ["time", "memory"])
@pytest.mark.guarantee(6)
def test_costs_beyond_reason_are_refused_at_once(machine: FscryptMachine, costs: str) -> None:
    """A login is not to be kept waiting, nor the machine to be eaten up, by what a file says."""
    path = machine.protector()
    content = path.read_bytes()
    old = bytes.fromhex("220610011840" + "2002")
    new = "1080808020" + "1840" + "2002" if costs == "time" else "1001" + "1880808080" + "20" + "2002"
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, bytes([0x22, len(bytes.fromhex(new))]) + bytes.fromhex(new)))
    said = machine.pam("login", "ada", *answers(PASSWORD), "auth", "open", "close")
    assert any("damaged" in line for line in said)
    assert "too much for this machine" in machine.log()


def test_one_directory_that_fails_does_not_stop_the_others(machine: FscryptMachine) -> None:
    for name in ("one", "two"):
        machine.run(["sh", "-c", f"mkdir -m 700 /home/{name}; chown ada:ada /home/{name}"])
        machine.fscrypt(
            "encrypt", f"/home/{name}", f"--protector=/:{machine.protector().name}", "--user=ada", "--quiet",
            said=PASSWORD.decode() + "\n",
        )  # fmt: skip
        machine.path(f"/home/{name}/file").write_text(name, encoding="ascii")
        machine.fscrypt("lock", f"/home/{name}", "--user=ada", "--quiet")
    said = machine.fscrypt("status", "/home/one")
    broken = machine.path("/home/.fscrypt/policies") / said.split("Policy:")[1].split()[0]
    _flip(broken)
    assert machine.log_in(PASSWORD, READ, "sh=root:cat /home/two/file; echo; ls /home/one/file")[4:] == [
        "sh 0", "two", "sh 2", "close 0",
    ]  # fmt: skip
    assert f"with policy {broken.name} stays locked: its wrapped key is damaged" in machine.log()
    assert not machine.is_open()


def test_a_policy_of_version_1_is_left_to_others(bare: FscryptMachine) -> None:
    conf = bare.path("/etc/fscrypt.conf")
    conf.write_text(conf.read_text(encoding="ascii").replace('"policy_version": "2"', '"policy_version": "1"'), encoding="ascii")
    conf.write_text(conf.read_text(encoding="ascii").replace('policies": false', 'policies": true'), encoding="ascii")
    bare.add_fscrypt_home("ada", ADA, PASSWORD)
    assert "policy_version:1" in bare.fscrypt("status", "/home/ada")
    said = bare.pam("login", "ada", *answers(PASSWORD), "auth", "open", "close")
    assert sum("has an fscrypt policy of version 1, which pyhome leaves to pam_fscrypt" in line for line in said) == 1
    assert [line for line in said if not line.startswith("message")] == ["auth 0", "open 0", "close 0"]
    assert bare.log_in(PASSWORD, READ, service="pam_fscrypt") == OPENED


def test_a_home_with_a_passphrase_of_its_own(bare: FscryptMachine) -> None:
    """Not protected by the login password at all: the owner is asked."""
    bare.add_user("ada", ADA, password=crypt(PASSWORD), encrypted=False)
    bare.fscrypt(
        "encrypt", "/home/ada", "--source=custom_passphrase", "--name=ada's", "--user=ada", "--quiet", said="her own\n"
    )
    bare.write_secret("ada", ADA)
    bare.fscrypt("lock", "/home/ada", "--user=ada", "--quiet")
    said = bare.pam("login", "ada", *answers(PASSWORD, b"her own"), "auth", "setcred", "open", READ, "close")
    assert [line for line in said if not line.startswith("message")] == OPENED
    assert any("Passphrase of the encrypted home" in line for line in said)
    assert not bare.is_open()
    assert bare.pam("login", "ada", f"ruid={ADA}", *answers(PASSWORD, NEW, NEW), "chauthtok")[-1] == "chauthtok 0"


def swap_homes(machine: FscryptMachine) -> None:
    """Ada's home is a directory that was encrypted for bob."""
    machine.add_fscrypt_home("bob", 61002, PASSWORD)
    machine.add_fscrypt_home("ada", ADA, PASSWORD)
    machine.run(["sh", "-c", "mv /home/ada /home/old; mv /home/bob /home/ada; chown ada:ada /home/ada"])


def test_a_home_that_was_encrypted_for_another_user_stays_locked(bare: FscryptMachine) -> None:
    swap_homes(bare)
    said = bare.pam("login", "ada", *answers(PASSWORD), "auth", "setcred", "open", "close")
    assert said[-3:] == ["setcred 0", "open 0", "close 0"]
    assert any("belongs to uid 61002" in line for line in said)
    assert "is owned by uid 61002" in bare.log()
    assert not bare.is_open()


def test_a_directory_without_metadata_is_nobodys_home(bare: FscryptMachine) -> None:
    """As `fscryptctl` makes them: whoever encrypted it knows how to open it."""
    swap_homes(bare)
    for path in bare.path("/home/.fscrypt/policies").iterdir():
        path.unlink()
    assert bare.inside("kind") == "none"
    assert bare.pam("login", "ada", *answers(PASSWORD), "auth", "setcred", "open", "close")[1:] == [
        "auth 0", "setcred 0", "open 0", "close 0",
    ]  # fmt: skip
    assert bare.log() == ""
