"""A plain home becomes an encrypted one and a plain one again, the same to the last bit."""

from __future__ import annotations

import json
import os
import stat

import pytest

from tests.create.machine import PASSWORD, recovery_key
from tests.encrypt.machine import EncryptMachine, state
from tests.login.homes import ADA

pytestmark = pytest.mark.root


@pytest.mark.guarantee(16)
def test_there_and_back(machine: EncryptMachine) -> None:
    """The whole story: encrypt, log in, confirm, decrypt, confirm."""
    home = machine.add_plain()
    before = state(home)
    said = machine.convert("encrypt", "ada")
    assert "ada: /home/ada is encrypted with fscrypt, opens at login, and is locked now; the plain copy is kept in " in said
    assert machine.is_encrypted()
    assert "file" not in os.listdir(home)
    assert machine.open_state() == before
    assert state(machine.place() / "home") == before
    assert stat.S_IMODE(machine.place().stat().st_mode) == 0o700
    assert machine.logs_in_to()
    assert "'pyhome confirm ada' removes it." in machine.pyhome("status", "ada")
    assert "the plain copy is removed" in machine.pyhome("confirm", "--yes", "ada")
    assert not machine.place().exists()
    assert machine.pyhome("status", "ada") == "The home of ada is locked.\n"

    said = machine.convert("decrypt", "ada")
    assert "ada: /home/ada is a plain directory; the encrypted copy is kept in " in said
    assert state(home) == before
    assert machine.logs_in_to()
    assert "the encrypted copy is removed" in machine.pyhome("confirm", "--yes", "ada")
    assert machine.remains() == []
    assert not machine.kept().exists()
    assert machine.metadata()["/.fscrypt/protectors"] == machine.metadata()["/home/.fscrypt/policies"] == []
    assert machine.metadata()["/home/.fscrypt/protectors"] == []
    story = [f"conversion-{step}" for step in ("begun", "done", "confirmed")]
    told = [record for record in machine.records() if record["PYHOME_WHAT"].startswith("conversion-")]
    assert [(each["PYHOME_WHAT"], each["PYHOME_WHY"]) for each in told] == [
        (step, f"by 'pyhome {direction}'") for direction in ("encrypt", "decrypt") for step in story
    ]
    assert {(each["USER"], each["UID"], each["HOME"]) for each in told} == {("ada", str(ADA), "/home/ada")}


def test_the_recovery_key_opens_it(machine: EncryptMachine) -> None:
    machine.add_plain()
    key = recovery_key(machine.convert("encrypt", "ada"))
    recovery = next(path for path in machine.path("/home/.fscrypt/protectors").iterdir() if path.suffix != ".link")
    options = (f"--unlock-with=/home:{recovery.name}", "--user=ada", "--quiet")
    machine.fscrypt("unlock", "/home/ada", *options, said=key + "\n")
    assert machine.read("/home/ada/file") == "some text\n"


def test_what_was_sparse_still_is(machine: EncryptMachine) -> None:
    home = machine.add_plain()
    machine.convert("encrypt", "ada")
    machine.pyhome("unlock", "--password-file", "-", "ada")
    assert (home / "sparse").stat().st_blocks * 512 < 1 << 20


@pytest.mark.guarantee(16)
def test_confirm_waits_for_a_login(machine: EncryptMachine) -> None:
    machine.add_plain()
    machine.convert("encrypt", "ada")
    line = machine.pyhome("confirm", "--yes", "ada", status=76)
    assert line == (
        "pyhome confirm: ada: the encrypted home has not been opened yet; log in with the password, or run 'pyhome unlock', "
        "and confirm then\n"
    )
    assert "log in as ada, then 'pyhome confirm ada' removes it." in machine.pyhome("status", "ada")
    assert "after 'encrypt', the copy from before is still kept" in machine.convert("encrypt", "ada", status=74)
    assert machine.logs_in_to()
    machine.pyhome("confirm", "--yes", "ada")
    assert "no copy is kept" in machine.pyhome("confirm", "--yes", "ada", status=74)


def test_decrypted_before_it_was_confirmed(machine: EncryptMachine) -> None:
    """The plain copy, which is there, becomes what the encrypted home is by now."""
    home = machine.add_plain()
    machine.convert("encrypt", "ada")
    machine.log_in(PASSWORD, "sh=ada:cd /home/ada; echo more > file; rm large; mkdir new")
    changed = machine.open_state()
    machine.convert("decrypt", "ada")
    assert state(home) == changed
    machine.pyhome("confirm", "--yes", "ada")
    assert machine.remains() == []
    assert (home / "file").read_text(encoding="ascii") == "more\n"


def test_dry_run_changes_nothing(machine: EncryptMachine) -> None:
    machine.add_plain()
    before = machine.state_of_things()
    said = machine.pyhome("encrypt", "--dry-run", "ada")
    assert said.startswith("ada: encrypt /home/ada with fscrypt\n")
    assert " files and directories, 9.7 MB; a copy needs " in said
    assert "it takes about " in said
    found = json.loads(machine.pyhome("encrypt", "--dry-run", "--json", "ada"))
    assert (found["dry_run"], found["backend"], found["problems"], found["kept"]) == (True, "fscrypt", [], None)
    assert found["size"] == 9 * (1 << 20) + 256 * 1200 + len("some text\nhas three names") + 7 * 5
    assert machine.state_of_things() == before
    assert machine.remains() == []


def test_json(machine: EncryptMachine) -> None:
    machine.add_plain()
    said = machine.convert("encrypt", "--json", "ada")
    assert list(json.loads(said))[:3] == ["version", "user", "recovery_key"]  # what is printed before the rest is known
    second = json.loads(said)
    assert second["kept"] == "/home/.pyhome-converting.ada"
    assert (second["direction"], second["home"], second["resumed"]) == ("encrypt", "/home/ada", False)
    (found,) = json.loads(machine.pyhome("status", "--json", "ada"))["conversions"]
    place = "/home/.pyhome-converting.ada"
    assert found == {"user": "ada", "direction": "encrypt", "finished": True, "trouble": None, "place": place}


def test_keys_are_laid_out_before(machine: EncryptMachine) -> None:
    """Where the layout is in use, sshd finds the keys while the home is locked."""
    home = machine.add_plain()
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGG2oi3WZOUyOMnHZyyZCbJsjAlBKMAgMVgMzUuyBGbZ ada\n"
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh/authorized_keys").write_text(key, encoding="ascii")
    for path in (home / ".ssh", home / ".ssh/authorized_keys"):
        os.chown(path, ADA, ADA)
    assert "sshd cannot read /home/ada/.ssh/authorized_keys; 'pyhome sshd apply' helps" in machine.convert("encrypt", "ada")
    machine.convert("decrypt", "ada")
    machine.pyhome("confirm", "--yes", "ada")
    machine.path("/run/sshd").mkdir(exist_ok=True)
    machine.pyhome("sshd", "apply", "--yes")
    laid_out = machine.path("/etc/ssh/authorized_keys.d/ada")
    laid_out.unlink()
    assert "sshd cannot read" not in machine.convert("encrypt", "ada")
    assert laid_out.read_text(encoding="ascii").endswith(key)
