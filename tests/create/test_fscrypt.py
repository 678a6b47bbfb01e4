"""Homes that `pyhome create` makes with fscrypt: whole, private, and opened by us, by pam_fscrypt and by the real tool."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.create.machine import PASSWORD, CreateMachine, recovery_key
from tests.fscrypt.homes import PAM_FSCRYPT
from tests.login.homes import answers, crypt

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root

READ = "sh=ada:cat /home/ada/.profile"
OPENED = ["auth 0", "setcred 0", "open 0", "# from the skeleton", "sh 0", "close 0"]


def log_in(machine: CreateMachine, service: str, password: bytes = PASSWORD) -> list[str]:
    return machine.log_in(password, READ, service=service)


def ciphertext(home: Path) -> list[str]:
    return [path.name for path in home.iterdir()]


def test_an_account_with_its_home(machine: CreateMachine) -> None:
    said = machine.create("ada")
    assert "ada: the account and home are made; /home/ada is encrypted with fscrypt, opens at login, and is locked now" in said
    line = next(line for line in machine.read("/etc/passwd").splitlines() if line.startswith("ada:"))
    _, _, uid, gid, _, home, _ = line.split(":")
    assert home == "/home/ada"
    assert int(uid) >= 1000
    assert uid == gid
    status = machine.path("/home/ada").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (int(uid), int(gid), 0o700)
    names = ciphertext(machine.path("/home/ada"))
    assert len(names) == 2
    assert not {".profile", ".config"} & set(names)
    assert machine.leftovers() == []
    assert machine.logs_in(PASSWORD)
    for service in ("login", "pam_fscrypt"):
        assert log_in(machine, service) == OPENED, service
        assert len(ciphertext(machine.path("/home/ada"))) == 2, service


def test_the_skeleton_belongs_to_the_user(machine: CreateMachine) -> None:
    machine.create("ada")
    listing = machine.log_in(PASSWORD, "sh=ada:cd /home/ada; find . -printf '%p %U %G %m\\n' | sort")
    uid = machine.path("/home/ada").stat().st_uid
    files = [line for line in listing if line.startswith(".")]
    wanted = ((".", 700), ("./.config", 755), ("./.config/begun", 644), ("./.profile", 644))
    assert files == [f"{name} {uid} {uid} {mode}" for name, mode in wanted]


def test_the_real_tool_takes_it_for_its_own(machine: CreateMachine) -> None:
    key = recovery_key(machine.create("ada"))
    status = machine.fscrypt("status", "/home/ada")
    assert '"/home/ada" is encrypted with fscrypt.' in status
    assert "Protected with 2 protectors" in status
    assert "login protector for ada" in status
    assert 'custom protector "Recovery passphrase for ada"' in status
    (login,) = (path.name for path in machine.path("/.fscrypt/protectors").iterdir())
    (recovery,) = (path.name for path in machine.path("/home/.fscrypt/protectors").iterdir() if path.suffix != ".link")
    for protector, secret in ((f"/:{login}", PASSWORD.decode()), (f"/home:{recovery}", key)):
        machine.fscrypt("unlock", "/home/ada", f"--unlock-with={protector}", "--user=ada", "--quiet", said=secret + "\n")
        assert machine.read("/home/ada/.profile") == "# from the skeleton\n"
        machine.fscrypt("lock", "/home/ada", "--user=ada", "--quiet")
        assert len(ciphertext(machine.path("/home/ada"))) == 2


def test_the_password_can_be_changed_afterwards(machine: CreateMachine) -> None:
    machine.create("ada")
    uid = machine.path("/home/ada").stat().st_uid
    changed = machine.pam("login", "ada", f"ruid={uid}", *answers(PASSWORD, b"battery staple", b"battery staple"), "chauthtok")
    assert changed[-1] == "chauthtok 0"
    for service in ("login", "pam_fscrypt"):
        assert log_in(machine, service, b"battery staple") == OPENED, service


@pytest.mark.parametrize("home", ["none", "empty"])
def test_a_home_for_an_account_that_has_a_password(machine: CreateMachine, home: str) -> None:
    machine.add_user("ada", 61001, password=crypt(PASSWORD), encrypted=False)
    if home == "none":
        machine.path("/home/ada").rmdir()
    shadow = machine.read("/etc/shadow")
    assert "ada: the home is made; " in machine.create("ada")
    assert machine.read("/etc/shadow") == shadow
    assert log_in(machine, "login") == OPENED
    assert machine.leftovers() == []


def test_a_home_for_an_account_without_a_password(machine: CreateMachine) -> None:
    machine.run(["useradd", "--no-create-home", "--gid", "users", "ada"])
    assert "ada: the home is made; " in machine.create("ada")
    assert machine.logs_in(PASSWORD)
    assert log_in(machine, "login") == OPENED
    status = machine.path("/home/ada").stat()
    assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (100, 0o700)


def test_a_password_of_any_bytes(machine: CreateMachine) -> None:
    for name, password in (("ada", b":\xff %n\\ " * 8), ("bob", b"x" * 511), ("eve", b"-")):
        machine.create(name, said=password + b"\nmore\n")
        assert machine.logs_in(password, name)
        assert machine.log_in(password, name=name)[:3] == ["auth 0", "setcred 0", "open 0"], name


def test_a_password_from_a_file_and_from_a_terminal(machine: CreateMachine) -> None:
    machine.path("/root/secret").write_bytes(PASSWORD + b"\nanother line\n")
    machine.create("ada", "--password-file", "/root/secret", said=b"")
    assert log_in(machine, "login") == OPENED


def test_two_users_get_different_numbers_keys_and_protectors(machine: CreateMachine) -> None:
    keys = {recovery_key(machine.create(name)) for name in ("ada", "bob")}
    assert len(keys) == 2
    assert machine.path("/home/ada").stat().st_uid != machine.path("/home/bob").stat().st_uid
    assert len(machine.metadata()["/.fscrypt/protectors"]) == 2
    assert machine.fscrypt("status", "/home").count("login protector for") == 2


def test_a_number_of_somebody_who_has_left_is_not_given_again(machine: CreateMachine) -> None:
    machine.create("ada")
    uid = machine.path("/home/ada").stat().st_uid
    machine.run(["userdel", "--remove", "ada"], status=None)
    machine.create("bob", said=b"something else\n")
    assert machine.path("/home/bob").stat().st_uid != uid
    assert machine.log_in(b"something else", name="bob")[:3] == ["auth 0", "setcred 0", "open 0"]


def test_on_a_file_system_that_was_never_set_up(machine: CreateMachine) -> None:
    """Neither `fscrypt setup` nor anything else was run before; what is written then is what the tool would have written."""
    for place in ("/.fscrypt", "/home/.fscrypt"):
        machine.run(["rm", "-r", place])
    machine.path("/etc/fscrypt.conf").unlink()
    machine.create("ada")
    written = machine.path("/etc/fscrypt.conf")
    assert stat.S_IMODE(written.stat().st_mode) == 0o644
    first = written.read_bytes()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
    assert f'"parallelism": "{len(os.sched_getaffinity(0))}"'.encode() in first
    used = int(first.partition(b'"memory": "')[2].partition(b'"')[0])
    assert 1024 <= used <= min(128 * 1024, memory // 8)
    assert "fscrypt setup" not in machine.fscrypt("status", "/home")
    assert log_in(machine, "pam_fscrypt") == OPENED
    machine.create("bob")
    assert written.read_bytes() == first


def test_with_the_module_in_the_stack_of_chpasswd(machine: CreateMachine) -> None:
    """Setting the password is no reset: neither module is to say that the home does not follow."""
    machine.write_stack("chpasswd", PAM_FSCRYPT + "password optional pam_pyhome.so\n")
    before = len(machine.log())
    machine.create("ada")
    said = machine.log()[before:]
    assert "reset" not in said
    assert log_in(machine, "login") == OPENED


def test_authenticate_believes_it_at_once(machine: CreateMachine) -> None:
    machine.create("ada")
    machine.write_stack("strict", "auth required pam_pyhome.so authenticate\naccount required pam_permit.so\n")
    assert machine.pam("strict", "ada", *answers(PASSWORD), "auth")[-1] == "auth 0"
