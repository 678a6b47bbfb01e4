"""`pyhome adopt`: after another name, another uid, or on another machine, a home is its owner's again; the rivals open it, too."""

from __future__ import annotations

import itertools
import json
import os
import shutil

import pytest

from pam_pyhome.formats import fscrypt_meta
from pam_pyhome.sshd.layout import MARKER
from tests.create.machine import PASSWORD, CreateMachine
from tests.login.homes import MOUNT_PASSPHRASE, differences, unwrap
from tests.pam.harness import eventually
from tests.upkeep.homes import KEPT, made, uid_of
from tests.verbs.command import ROOT, Ran, on_terminal, pyhome

pytestmark = pytest.mark.root

SHARED = "/home/.ecryptfs"
_uids = itertools.count(62000)
_names = itertools.count(1)


def new_home(machine: CreateMachine, kind: str) -> str:
    """A home that has been opened once, of somebody new."""
    name = f"old{next(_names)}"
    if kind == "fscrypt":
        made(machine, name)
    else:
        uid = next(_uids)
        machine.path(SHARED).mkdir(exist_ok=True)
        machine.add_home(name, uid, PASSWORD)
        lower = machine.config(name).parent / ".Private/letter"
        lower.write_bytes(b"ciphertext")
        os.chown(lower, uid, uid)
        machine.keep_copies(name, uid)
    return name


def usermod(machine: CreateMachine, name: str, how: str) -> str:
    """Give the account another name, another uid, or both, as usermod does; its name."""
    new, arguments = name, []
    if how in ("name", "both"):
        new = f"new{next(_names)}"
        arguments += ["--login", new, "--home", f"/home/{new}", "--move-home"]
    if how in ("uid", "both"):
        arguments += ["--uid", str(next(_uids))]
    machine.run(["usermod", *arguments, name])
    return new


def adopted(machine: CreateMachine, *arguments: str) -> Ran:
    ran = pyhome(machine, ROOT, "adopt", "--yes", *arguments)
    assert ran.code == 0, ran
    return ran


def everything(machine: CreateMachine) -> dict[str, tuple[object, ...]]:
    """All that adopting may touch; that it was read is no change."""
    tops = ("/home", "/.fscrypt", KEPT, "/etc")
    found = machine.snapshot(*tops)
    return {path: what for path, what in found.items() if "/adopting" not in path and ".lock" not in path}


def check_fscrypt(machine: CreateMachine, name: str, uid: int) -> None:
    """Ours and the real module open it, with the login password; nothing is of anybody else."""
    for service in ("login", "pam_fscrypt"):
        lines = machine.log_in(PASSWORD, f"sh={name}:cat /home/{name}/.profile", service=service, name=name)
        assert "# from the skeleton" in lines, (service, lines)
        assert eventually(lambda: pyhome(machine, ROOT, "lock", name).code == 0)
    assert (machine.path(KEPT) / f"{uid}.{name}/digests").exists()
    for path in machine.path(f"/home/{name}").rglob("*"):
        assert path.lstat().st_uid == uid


def check_ecryptfs(machine: CreateMachine, name: str, uid: int) -> None:
    """Everything has its name and its owner, and the real tool opens the key file."""
    home, store = machine.path(f"/home/{name}"), machine.path(f"{SHARED}/{name}")
    for entry in (".ecryptfs", ".Private"):
        assert os.readlink(home / entry) == f"{SHARED}/{name}/{entry}"
    assert (store / ".ecryptfs/Private.mnt").read_text(encoding="ascii").strip() == f"/home/{name}"
    copies = machine.path(KEPT) / f"{uid}.{name}"
    assert (copies / "Private.mnt").read_text(encoding="ascii").strip() == f"/home/{name}"
    assert (copies / "wrapped-passphrase").read_bytes() == machine.wrapped(name).read_bytes()
    for top in (home, store):
        for path in (top, *(each for each in top.rglob("*") if not each.is_symlink())):
            assert (path.lstat().st_uid, path.lstat().st_gid) == (uid, home.lstat().st_gid), path
    assert unwrap(machine.wrapped(name), PASSWORD) == MOUNT_PASSPHRASE
    said = pyhome(machine, ROOT, "unlock", "--password-file", "-", name, stdin=PASSWORD + b"\n").err
    assert "mounting" in said  # all but that, which this kernel cannot


CHECKS = {"fscrypt": check_fscrypt, "ecryptfs": check_ecryptfs}


@pytest.mark.parametrize("kind", ["fscrypt", "ecryptfs"])
@pytest.mark.parametrize("how", ["name", "uid", "both"])
def test_another_name_or_uid(place: CreateMachine, kind: str, how: str) -> None:
    old = new_home(place, kind)
    before = uid_of(place, old)
    name = usermod(place, old, how)
    untouched = everything(place)
    shown = pyhome(place, ROOT, "adopt", "--dry-run", name)
    assert shown.code == 0, shown
    assert "nothing was changed" in shown.out
    assert differences(untouched, everything(place)) == []
    uid = uid_of(place, name) if how == "name" else int(place.run(["id", "-u", name]))
    if how != "name":
        assert f"of uid {before} -> uid {uid}" in shown.out
    assert f"{KEPT}/{before}.{old} -> {KEPT}/{uid}.{name}" in shown.out
    said = json.loads(adopted(place, "--json", name).out)
    assert said["from"]["name"] == old
    assert said["from"]["uid"] == before
    assert said["changed"] is True
    CHECKS[kind](place, name, uid)
    again = adopted(place, name)
    assert again.out.startswith(f"{name}: /home/{name} and what belongs to it are theirs already\n")


def other_machine(machine: CreateMachine, kind: str, name: str) -> int:
    """As if the disk of the homes were from another machine, where the user had another number; the one that they have here."""
    (old, new) = uid_of(machine, name), next(_uids)
    for file in ("passwd", "group"):
        path = machine.path(f"/etc/{file}")
        path.write_text(path.read_text(encoding="utf-8").replace(f":{old}:", f":{new}:"), encoding="utf-8")
    shutil.rmtree(machine.path(f"{KEPT}/{old}.{name}"))
    if kind == "fscrypt":
        # There, the homes were on the root file system.
        for protector in machine.path("/.fscrypt/protectors").iterdir():
            if fscrypt_meta.parse_protector(protector.read_bytes(), protector.name).uid == old:
                there = machine.path("/home/.fscrypt/protectors")
                (there / f"{protector.name}.link").unlink()
                shutil.copy2(protector, there / protector.name)
                os.chown(there / protector.name, old, old)
                protector.unlink()
    return new


@pytest.mark.guarantee(21)
@pytest.mark.parametrize("kind", ["fscrypt", "ecryptfs"])
def test_a_disk_from_another_machine(place: CreateMachine, kind: str) -> None:
    name = new_home(place, kind)
    old = uid_of(place, name)
    uid = other_machine(place, kind, name)
    bait = place.path(f"{SHARED}/{name}/.Private/bait") if kind == "ecryptfs" else None
    if bait is not None:
        bait.symlink_to("/etc/shadow")
        os.lchown(bait, old, old)
    said = json.loads(adopted(place, "--json", name).out)
    assert said["from"] == {"name": name, "uid": old, "gid": old}
    assert place.path("/etc/shadow").stat().st_uid == 0
    if kind == "ecryptfs":
        assert (bait.lstat().st_uid if bait else 0) == uid
        for path in place.path(f"{SHARED}/{name}").rglob("*"):
            assert path.lstat().st_uid == uid
        place.keep_copies(name, uid)
        check_ecryptfs(place, name, uid)
        return
    (protector,) = [path for path in place.path("/.fscrypt/protectors").iterdir() if path.stat().st_uid == uid]
    assert fscrypt_meta.parse_protector(protector.read_bytes(), protector.name).uid == uid
    assert not (place.path("/home/.fscrypt/protectors") / protector.name).exists()
    check_fscrypt(place, name, uid)


def refuses(machine: CreateMachine, *arguments: str, words: str, status: int = 52) -> None:
    """One sentence, and nothing is changed."""
    before = everything(machine)
    ran = pyhome(machine, ROOT, "adopt", "--yes", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (status, "", 1), ran
    assert words in ran.err
    assert differences(before, everything(machine)) == []


@pytest.mark.guarantee(21)
def test_a_number_that_is_somebody_elses_here(place: CreateMachine) -> None:
    name, other = new_home(place, "ecryptfs"), f"here{next(_names)}"
    old = uid_of(place, name)
    uid = other_machine(place, "ecryptfs", name)
    place.add_user(other, old, encrypted=False)
    words = f"the uid that the home belongs to is another user's here ({old} is {other}); if that number was {name}'s"
    refuses(place, name, words=words)
    adopted(place, "--from-uid", str(old), name)
    assert place.path(f"/home/{other}").stat().st_uid == old
    place.keep_copies(name, uid)
    check_ecryptfs(place, name, uid)


@pytest.mark.guarantee(21)
def test_a_link_gives_nothing_of_others_away(place: CreateMachine) -> None:
    """Whoever has a home can write into it that the storage of somebody else is theirs, who is here or has gone."""
    name, victim = new_home(place, "ecryptfs"), new_home(place, "ecryptfs")
    shutil.move(place.path(f"{SHARED}/{name}"), place.path(f"{SHARED}/away"))
    for entry in (".ecryptfs", ".Private"):
        link = place.path(f"/home/{name}/{entry}")
        link.unlink()
        link.symlink_to(f"{SHARED}/{victim}/{entry}")
    refuses(place, name, words=f"the uid that the home belongs to is another user's here ({uid_of(place, victim)} is {victim})")
    refuses(place, "--from-uid", str(uid_of(place, victim)), name, words=f"{SHARED}/{victim} is named after {victim}")
    for file in ("passwd", "group", "shadow"):
        path = place.path(f"/etc/{file}")
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.startswith(f"{victim}:")), encoding="utf-8")
    os.chown(place.path(f"{SHARED}/{victim}/.ecryptfs/wrapped-passphrase"), uid_of(place, name), -1)
    config = place.path(f"{SHARED}/{victim}/.ecryptfs")
    config.rename(config.with_name("kept"))
    config.symlink_to("/etc")
    refuses(place, name, words="what opens the home is not on this machine")


@pytest.mark.guarantee(21)
def test_a_protector_of_somebody_elses_is_not_given_away(place: CreateMachine) -> None:
    name, victim = new_home(place, "fscrypt"), new_home(place, "fscrypt")
    mine, theirs = (
        next(path for path in place.path("/.fscrypt/protectors").iterdir() if path.stat().st_uid == uid_of(place, each))
        for each in (name, victim)
    )
    for policy in place.path("/home/.fscrypt/policies").iterdir():
        if policy.stat().st_uid == uid_of(place, name):
            parsed = fscrypt_meta.parse_policy(policy.read_bytes(), policy.name)
            (wrapped,) = [key for descriptor, key in parsed.slots if descriptor == mine.name]
            policy.write_bytes(fscrypt_meta.with_slots(parsed, (), [(theirs.name, wrapped)]))
    uid = str(uid_of(place, victim))
    refuses(place, name, words=f"is another user's here ({uid} is {victim})")
    refuses(place, "--from-uid", uid, name, words="")


def test_not_while_it_is_open(place: CreateMachine) -> None:
    name = new_home(place, "fscrypt")
    assert pyhome(place, ROOT, "unlock", "--password-file", "-", name, stdin=PASSWORD + b"\n").code == 0
    refuses(place, name, words=f"the home is open (uid {uid_of(place, name)} has it on record); 'pyhome lock {name}' locks it")
    assert pyhome(place, ROOT, "lock", name).code == 0
    assert "theirs already" in adopted(place, name).out


def test_what_root_keeps_under_the_old_name_goes_along(place: CreateMachine) -> None:
    old = new_home(place, "ecryptfs")
    uid = uid_of(place, old)
    keys = place.path("/etc/ssh/authorized_keys.d")
    keys.mkdir(parents=True, exist_ok=True)
    held = "# From the files of uid {}, home 1:1/1 in 1:1/2\nssh-ed25519 AAAA\n"
    (keys / old).write_text(MARKER.decode() + held.format(uid), encoding="ascii")
    place.path("/etc/pyhome-shells").write_text(f"{old}:/bin/bash\n", encoding="ascii")
    name = usermod(place, old, "both")
    with on_terminal(place, ROOT, "adopt", name) as terminal:
        terminal.expect_exact(f"+{name}:/bin/bash")
        terminal.expect_exact(f"/home/{name}, which was of {old} with uid {uid}, is to be {name}'s")
        terminal.sendline("y")
        terminal.expect_exact("are theirs now")
    new = int(place.run(["id", "-u", name]))
    assert not (keys / old).exists()
    assert (keys / name).read_text(encoding="ascii") == MARKER.decode() + held.format(new)
    assert place.read("/etc/pyhome-shells").splitlines()[-1] == f"{name}:/bin/bash"
    check_ecryptfs(place, name, new)


def test_what_root_has_restored(place: CreateMachine) -> None:
    name = new_home(place, "ecryptfs")
    uid = uid_of(place, name)
    for top in (f"/home/{name}", f"{SHARED}/{name}"):
        place.run(["chown", "-Rh", "root:root", top])
    said = adopted(place, name)
    assert "'--from-uid 0' gives root's to" in said.out
    adopted(place, "--from-uid", "0", name)
    check_ecryptfs(place, name, uid)
