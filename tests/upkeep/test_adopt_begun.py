"""`pyhome adopt`, killed at every step: given again it finishes. What was begun under the old name is finished first."""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path

import pytest

from tests.create.machine import PASSWORD, CreateMachine
from tests.login.homes import MOUNT_PASSPHRASE, crypt, differences, unwrap
from tests.upkeep.homes import KEPT, SECRET, made, uid_of
from tests.upkeep.test_adopt import CHECKS, SHARED, adopted, check_ecryptfs, everything, new_home, usermod
from tests.verbs.command import ROOT, pyhome

pytestmark = pytest.mark.root

SCRIPT = str(Path(__file__).parents[1] / "create/killed.py")
_numbers, _uids = itertools.count(1), itertools.count(63000)
VERBS = {"encrypt": "converting", "create": "creating", "remove": "removing", "adopt": "adopting"}


def interrupted(machine: CreateMachine, how: str, step: int, verb: str, name: str) -> str:
    """A run that something happens to at a step; its output, when all that it started has ended, too."""
    options = ["--yes"] if verb != "create" else []
    options += ["--password-file", "-"] if verb in ("create", "encrypt") else []
    done = machine.ran("/usr/bin/python3", "-I", "-B", SCRIPT, how, str(step), verb, *options, name)
    for lock in (f".lock.{name}", ".lock"):
        if machine.path(f"{KEPT}/{VERBS[verb]}/{lock}").exists():
            machine.run(["flock", f"{KEPT}/{VERBS[verb]}/{lock}", "true"])
    said = (done.stdout + done.stderr).decode()
    assert "Traceback" not in said, said
    return said


def steps_of(machine: CreateMachine, verb: str, name: str) -> int:
    return int(interrupted(machine, "kill", 0, verb, name).rpartition("steps=")[2])


def with_recovery_key(machine: CreateMachine, name: str) -> bytes:
    """A new recovery key of a home."""
    ran = pyhome(machine, ROOT, "recovery", "new", "--password-file", "-", name, stdin=SECRET)
    assert ran.code == 0, ran
    (key,) = re.findall(r"^    (\S{47})$", ran.out, re.MULTILINE)
    return str(key).encode()


def check_opens(machine: CreateMachine, kind: str, name: str, key: bytes) -> None:
    """With the password and with the recovery key; nothing is left of what was begun."""
    if kind == "ecryptfs":
        check_ecryptfs(machine, name, int(machine.run(["id", "-u", name])))
    else:
        assert pyhome(machine, ROOT, "unlock", "--password-file", "-", name, stdin=SECRET).code == 0
        assert machine.read(f"/home/{name}/.profile") == "# from the skeleton\n"
        assert pyhome(machine, ROOT, "lock", name).code == 0
    ran = pyhome(machine, ROOT, "recovery", "test", "--password-file", "-", name, stdin=key + b"\n")
    assert ran.code == 0, ran
    left = [path for top in ("/home", SHARED, KEPT, "/.fscrypt/protectors") for path in machine.path(top).glob(".pyhome*")]
    assert left + list(machine.path(f"{KEPT}/adopting").glob(f"*{name}/*")) == []
    assert not machine.path(f"{KEPT}/adopting/{name}").exists()


@pytest.mark.guarantee(21)
@pytest.mark.parametrize("kind", ["fscrypt", "ecryptfs"])
@pytest.mark.parametrize(("how", "every"), [("kill", 1), ("fail", 6)])
def test_at_any_step(place: CreateMachine, kind: str, how: str, every: int) -> None:
    """Killed, all is as it was or given again it goes on; what fails is taken back, or goes on likewise."""
    name = new_home(place, kind)
    key = with_recovery_key(place, name)
    name = usermod(place, name, "both")
    steps = steps_of(place, "adopt", name)
    assert steps > 30
    outcomes = set()
    for step in range(1, steps + 1, every):
        name = usermod(place, name, "both")
        before = everything(place)
        interrupted(place, how, step, "adopt", name)
        begun = place.path(f"{KEPT}/adopting/{name}").exists()
        if begun:
            outcomes.add("begun")
            assert f"'pyhome adopt {name}' finishes that" in pyhome(place, ROOT, "status", name).out, step
        else:
            is_same = f"/home/{name}" not in " ".join(differences(before, everything(place)))
            outcomes.add("as it was" if is_same else "done")
        adopted(place, name)
        assert uid_of(place, name) == int(place.run(["id", "-u", name])), step
        check_opens(place, kind, name, key)
    assert {"begun", "as it was"} <= outcomes
    CHECKS[kind](place, name, int(place.run(["id", "-u", name])))


def test_copies_of_a_private_directory(place: CreateMachine) -> None:
    """Nothing in such a home tells the old name but where it was mounted; usermod has changed the owners."""
    for how in ("name", "uid", "both"):
        old = new_home(place, "ecryptfs")
        uid, home, storage = uid_of(place, old), place.path(f"/home/{old}"), place.path(f"{SHARED}/{old}")
        for entry in (".ecryptfs", ".Private"):
            (home / entry).unlink()
            shutil.move(storage / entry, home / entry)
        storage.rmdir()
        (home / "Private").mkdir()
        copies = place.path(f"{KEPT}/{uid}.{old}")
        for directory in (home / ".ecryptfs", copies):
            (directory / "Private.mnt").write_text(f"/home/{old}/Private\n", encoding="ascii")
        place.run(["chown", "-Rh", f"{old}:{old}", f"/home/{old}"])
        name = usermod(place, old, how)
        adopted(place, name)
        now = place.path(f"{KEPT}/{int(place.run(['id', '-u', name]))}.{name}")
        assert (now.is_dir(), copies.exists()) == (True, False), how
        config = place.path(f"/home/{name}/.ecryptfs")
        for directory in (config, now):
            assert (directory / "Private.mnt").read_text(encoding="ascii").strip() == f"/home/{name}/Private"
            assert unwrap(directory / "wrapped-passphrase", PASSWORD) == MOUNT_PASSPHRASE
        assert "theirs already" in adopted(place, name).out


def begun(machine: CreateMachine, verb: str) -> str:
    """The user with whose home something was begun, and killed in the middle."""

    def prepare() -> str:
        name = f"half{next(_numbers)}"
        if verb == "encrypt":
            machine.add_user(name, next(_uids), password=crypt(PASSWORD), encrypted=False)
            machine.path(f"/home/{name}/.profile").write_text("# from the skeleton\n", encoding="ascii")
            machine.run(["chown", f"{name}:{name}", f"/home/{name}/.profile"])
        elif verb != "create":
            made(machine, name)
        return usermod(machine, name, "both") if verb == "adopt" else name

    steps = steps_of(machine, verb, prepare())
    for step in range(steps * 2 // 3, steps):
        name = prepare()
        interrupted(machine, "kill", step, verb, name)
        if machine.has_account(name) and machine.path(f"{KEPT}/{VERBS[verb]}/{name}").exists():
            return name
    raise AssertionError(steps)


def typed(machine: CreateMachine, command: str) -> None:
    """What a sentence says to type."""
    words = command.split()
    if words[0] == "pyhome":
        words[2:2] = ["--password-file", "-"] if words[1] in ("create", "encrypt") else []
        words[2:2] = [] if words[1] in ("create", "status") else ["--yes"]
        words[0] = "/usr/bin/pyhome"
    done = machine.ran(*words)
    assert done.returncode == 0, (command, done)


@pytest.mark.guarantee(21)
@pytest.mark.parametrize("verb", list(VERBS))
def test_begun_under_the_old_name(place: CreateMachine, verb: str) -> None:
    """It is refused, in one sentence; the commands in it do what they say, and then the home is adopted."""
    old = begun(place, verb)
    name = f"next{next(_numbers)}"
    move = ["--move-home"] if place.path(f"/home/{old}").is_dir() else []
    place.run(["usermod", "--login", name, "--home", f"/home/{name}", *move, old])
    before = everything(place)
    ran = pyhome(place, ROOT, "adopt", "--yes", name)
    assert (ran.code, ran.out, ran.err.count("\n")) == (52, "", 1), ran
    assert f"what 'pyhome {verb}' has begun is not finished (with /home/{old} of {old}, uid " in ran.err
    assert differences(before, everything(place)) == []
    back, finishing = re.findall(r"'(\w+ [^']*)'", ran.err)[1:]
    typed(place, back)
    if verb == "encrypt":
        assert finishing == f"pyhome status {old}"
        finishing = re.findall(r"'(pyhome [^']*)'", pyhome(place, ROOT, "status", old).out)[0]
    typed(place, finishing)
    if verb == "remove":
        assert not place.has_account(old)
        return
    assert pyhome(place, ROOT, "unlock", "--password-file", "-", old, stdin=SECRET).code == 0
    assert pyhome(place, ROOT, "lock", old).code == 0
    if verb == "encrypt":
        typed(place, f"pyhome confirm {old}")
    name = usermod(place, old, "name")
    adopted(place, name)
    CHECKS["fscrypt"](place, name, uid_of(place, name))


def test_a_record_that_cannot_be_read(place: CreateMachine) -> None:
    """It may be of this home if its user is not here; then it is named, and nothing is advised that may be wrong."""
    name = usermod(place, new_home(place, "fscrypt"), "name")
    somebody = new_home(place, "fscrypt")
    record = place.path(f"{KEPT}/converting/{somebody}")
    record.write_bytes(b"rubbish")
    assert pyhome(place, ROOT, "adopt", "--dry-run", name).code == 0
    gone = record.rename(record.with_name("gone"))
    before = everything(place)
    ran = pyhome(place, ROOT, "adopt", "--yes", name)
    assert (ran.code, ran.out, ran.err.count("\n")) == (10, "", 1), ran
    assert f"{name}: {KEPT}/converting/gone: " in ran.err
    assert "usermod" not in ran.err
    assert differences(before, everything(place)) == []
    gone.unlink()
    adopted(place, name)
