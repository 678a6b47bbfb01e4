"""What a user, or an accident, puts in the way of `pyhome remove`: it is refused and named, or of no effect."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from pam_pyhome.formats import fscrypt_meta as meta
from tests.create.machine import PASSWORD, CreateMachine
from tests.pam.harness import eventually
from tests.upkeep.homes import KEPT, SECRET, made, refuses, things, traces, uid_of
from tests.verbs.command import ROOT, pyhome

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("neighbour")]


@pytest.mark.guarantee(18)
def test_protectors_of_others_stay_whatever_a_policy_says(place: CreateMachine, ada: str) -> None:
    """A user may write the policy of the own home: it can name the protector of somebody else, as if that opened it."""
    uid = made(place, ada)
    bobs = uid_of(place, "bob")
    (victim,) = (path for path in place.path("/.fscrypt/protectors").iterdir() if path.stat().st_uid == bobs)
    (policy,) = (path for path in place.path("/home/.fscrypt/policies").iterdir() if path.stat().st_uid == uid)
    slots = meta.parse_policy(policy.read_bytes(), policy.name).slots
    policy.write_bytes(meta.emit_policy(policy.name, (*slots, (victim.name, slots[0][1]))))
    roots = place.path("/home/.fscrypt/protectors") / victim.name
    shutil.copy(victim, roots)
    links = sorted(path.name for path in roots.parent.iterdir() if path.stat().st_uid == bobs)
    assert pyhome(place, ROOT, "remove", "--yes", ada).code == 0
    assert victim.exists()
    assert roots.exists()
    assert sorted(path.name for path in roots.parent.iterdir() if path.stat().st_uid == bobs) == links
    assert place.log_in(PASSWORD, "sh=bob:cat /home/bob/.profile", name="bob")[3] == "# from the skeleton"
    assert eventually(lambda: pyhome(place, ROOT, "lock", "bob").code == 0)
    roots.unlink()


@pytest.mark.guarantee(18)
def test_refusals(place: CreateMachine) -> None:
    refuses(place, "root", 51, "root: is not an ordinary user (uid 0); name another user")
    refuses(place, "nosuch", 41, "there is no user nosuch; check the name")
    refuses(place, "../home/bob", 41, "check the name")
    refuses(place, "", 41)
    place.add_user("pat", 61021, encrypted=False)
    refuses(place, "pat", 40, "pat has no encrypted home; 'userdel --remove' is for others")
    place.run(["userdel", "--remove", "pat"], status=None)


@pytest.mark.guarantee(18)
def test_what_is_somebody_elses_stays(place: CreateMachine, ada: str) -> None:
    uid = made(place, ada)
    line = next(each for each in place.read("/etc/passwd").splitlines() if each.startswith(f"{ada}:"))
    passwd = place.path("/etc/passwd")
    whole = passwd.read_text(encoding="utf-8")

    def with_home(path: str) -> None:
        passwd.write_text(whole.replace(line, line.replace(f":/home/{ada}:", f":{path}:")), encoding="utf-8")

    for path, words in (
        ("/home/bob", "with somebody else (bob)"), ("/home/bob/sub", "with somebody else (bob)"), ("/etc", "(/etc is of uid 0)"),
        ("/", "(/ is its path)"), ("", "no path"), (f"home/{ada}", f"(home/{ada} is its path)"),
        ("/home/..", "(/home/.. is its path)"),
        (f"/tmp/{ada}", "is not a directory that root alone can write"), ("/home/link", "/home/link is no directory"),
        (f"/home/nosuch/{ada}", "/home/nosuch: No such file"), (f"/links/{ada}", "is not a directory that root alone can write"),
    ):  # fmt: skip
        with_home(path)
        if path == "/home/link":
            place.path(path).symlink_to("/home/nowhere")
        if path.startswith("/links"):
            place.path(f"/tmp/real/{ada}").mkdir(parents=True, exist_ok=True)
            place.path("/links").symlink_to("/tmp/real")
        refuses(place, ada, 51, words)
    place.path("/home/link").unlink()
    place.path("/links").unlink()
    passwd.write_text(whole + f"eve:x:{uid}:{uid}::/nowhere:/bin/sh\n", encoding="utf-8")
    refuses(place, ada, 51, "shares the uid or the home directory with somebody else (eve)")
    passwd.write_text(whole, encoding="utf-8")
    os.chown(place.path(f"/home/{ada}"), 0, 0)
    refuses(place, ada, 51, f"the home directory belongs to somebody else (/home/{ada} is of uid 0)")
    os.chown(place.path(f"/home/{ada}"), uid, uid)
    assert pyhome(place, ROOT, "remove", "--yes", ada).code == 0


def test_whose_leftovers_cannot_be_told(place: CreateMachine, ada: str) -> None:
    uid = made(place, ada)
    place.run(["userdel", ada], status=None)
    (place.path(KEPT) / f"61099.{ada}").mkdir()
    refuses(place, ada, 51, "whose these leftovers are cannot be told")
    (place.path(KEPT) / f"61099.{ada}").rmdir()
    place.run(["useradd", "--uid", str(uid), "--no-create-home", "eve"])
    refuses(place, ada, 51, f"whose these leftovers are cannot be told (uid {uid})")
    place.run(["userdel", "eve"], status=None)
    assert pyhome(place, ROOT, "remove", "--yes", ada).code == 0


@pytest.mark.guarantee(18)
def test_what_is_mounted_in_it_stays(place: CreateMachine, ada: str) -> None:
    uid = made(place, ada)
    assert pyhome(place, ROOT, "unlock", "--password-file", "-", ada, stdin=SECRET).code == 0
    for name in ("mnt", "bind"):
        (place.path(f"/home/{ada}") / name).mkdir()
    victim = place.path("/home/victim")
    victim.mkdir()
    (victim / "file").write_text("stays\n", encoding="ascii")
    place.run(["mount", "--bind", "/home/victim", f"/home/{ada}/bind"])
    refuses(place, ada, 51, f"something is mounted in the home (/home/{ada}/bind); unmount it")
    place.run(["umount", f"/home/{ada}/bind"])
    place.run(["mount", "-t", "tmpfs", "none", f"/home/{ada}"])
    refuses(place, ada, 51, f"/home/{ada}")
    place.run(["umount", f"/home/{ada}"])
    assert uid_of(place, ada) == uid
    assert pyhome(place, ROOT, "remove", "--yes", ada).code == 0
    assert (victim / "file").exists()


def make_deep(top: Path, levels: int) -> None:
    """More directories in one another than a path has room for, or Python for calls."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


@pytest.mark.guarantee(18)
def test_whatever_is_in_it(place: CreateMachine, ada: str) -> None:
    made(place, ada)
    victim = place.path("/home/victim/file")
    victim.parent.mkdir(exist_ok=True)
    victim.write_text("stays\n", encoding="ascii")
    assert pyhome(place, ROOT, "unlock", "--password-file", "-", ada, stdin=SECRET).code == 0
    target = place.path(f"/home/{ada}")
    for step in ("link", "dirlink"):
        (target / step).symlink_to(victim)
    os.mkfifo(target / "fifo")
    (target / "\n\x1b[2J").mkdir()
    (target / "shut").mkdir(mode=0)
    make_deep(target / "shut", 1200)
    ran = pyhome(place, ROOT, "remove", "--yes", ada)
    assert (ran.code, ran.err) == (0, "")
    assert victim.read_text(encoding="ascii") == "stays\n"
    assert list(place.path("/home").glob(".pyhome*")) == []


def test_what_could_not_be_deleted_later(place: CreateMachine, ada: str) -> None:
    made(place, ada)
    assert pyhome(place, ROOT, "unlock", "--password-file", "-", ada, stdin=SECRET).code == 0
    (place.path(f"/home/{ada}") / "frozen").write_text("", encoding="ascii")
    place.run(["chattr", "+i", f"/home/{ada}/frozen"])
    ran = pyhome(place, ROOT, "remove", "--yes", ada)
    assert ran.code == 51
    assert "something in it is immutable or can only be appended to (" in ran.err
    assert place.has_account(ada)
    assert pyhome(place, ROOT, "unlock", "--password-file", "-", ada, stdin=SECRET).code == 0
    place.run(["chattr", "-i", f"/home/{ada}/frozen"])
    assert pyhome(place, ROOT, "remove", "--yes", ada).code == 0
    assert traces(place, ada) == []


@pytest.mark.guarantee(18)
def test_links_in_the_place_of_an_ecryptfs_homes_directories(place: CreateMachine) -> None:
    place.add_home("eve", 61022, PASSWORD)
    config = place.config("eve")
    storage = config.parent
    storage.rename(storage.with_name("moved"))
    storage.symlink_to("/home/bob")
    ran = pyhome(place, ROOT, "remove", "--yes", "eve")
    assert ran.code != 0
    assert place.path("/home/bob").is_dir()
    storage.unlink()
    storage.with_name("moved").rename(storage)
    shutil.rmtree(storage / ".Private")
    (storage / ".Private").symlink_to("/home/bob")
    before = things(place)
    place.keep_copies("eve", 61022)
    ran = pyhome(place, ROOT, "remove", "--yes", "eve")
    assert ran.code == 0, ran
    assert {path: what for path, what in before.items() if "/bob" in path}.items() <= things(place).items()


def test_a_copy_that_is_not_confirmed(place: CreateMachine, ada: str) -> None:
    made(place, ada)
    directory = place.path(f"{KEPT}/converting")
    directory.mkdir(mode=0o700, exist_ok=True)
    inode = place.path(f"/home/{ada}").stat().st_ino
    account = [ada, uid_of(place, ada), 1, f"/home/{ada}"]
    record = {"account": account, "direction": "encrypt", "backend": "fscrypt", "phase": "swapped", "inode": inode, "steps": [],
              "policy": [], "plain": "", "cipher": "", "version": 1}  # fmt: skip
    (directory / ada).write_text(json.dumps(record) + "\n", encoding="ascii")
    refuses(place, ada, 51, f"another copy of the home is kept from 'encrypt' or 'decrypt' (/home/.pyhome-converting.{ada})")
    (directory / ada).unlink()
    assert pyhome(place, ROOT, "remove", "--yes", ada).code == 0
