"""`pyhome remove`: the home and its account go, nothing of anybody else's does, and nothing is left to open it with."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path

import pytest

from pam_pyhome.formats import fscrypt_meta as meta
from tests.create.machine import PASSWORD, CreateMachine
from tests.login.homes import first_line
from tests.login.test_daemon import session
from tests.pam.harness import eventually
from tests.verbs.command import ROOT, on_terminal, pyhome

pytestmark = pytest.mark.root

SECRET = PASSWORD + b"\n"
KEPT = "/var/lib/pyhome"
_numbers = itertools.count(1)


@pytest.fixture
def ada() -> str:
    """A name that no other test has."""
    return f"ada{next(_numbers)}"


@pytest.fixture(scope="module", autouse=True)
def neighbour(place: CreateMachine) -> None:
    """Somebody whose things are never touched."""
    place.create("bob")
    place.log_in(PASSWORD, name="bob")
    place.path("/home/.ecryptfs").mkdir(exist_ok=True)


def uid_of(machine: CreateMachine, name: str) -> int:
    return machine.path(f"/home/{name}").stat().st_uid


def made(machine: CreateMachine, name: str) -> int:
    """A home of fscrypt's that has been opened once; its owner's uid."""
    machine.create(name)
    assert machine.log_in(PASSWORD, name=name)[2] == "open 0"
    assert eventually(lambda: pyhome(machine, ROOT, "lock", name).code == 0)
    return uid_of(machine, name)


def traces(machine: CreateMachine, name: str) -> list[str]:
    """What is left of a user but for the empty file that is locked."""
    tops = ("/home", "/home/.ecryptfs", KEPT, f"{KEPT}/removing")
    found = [str(path) for top in tops for path in machine.path(top).glob(f"*{name}") if path.name != f".lock.{name}"]
    return found + (["account"] if machine.has_account(name) else [])


def things(machine: CreateMachine) -> dict[str, object]:
    """All that a run that fails leaves as it was."""
    kept = {path: what for path, what in machine.snapshot(KEPT).items() if ".lock" not in path}
    return machine.state_of_things() | {path: what for path, what in kept.items() if "/removing" not in path}


def test_everything_goes(place: CreateMachine, ada: str) -> None:
    before = things(place)
    uid = made(place, ada)
    assert (place.path(KEPT) / f"{uid}.{ada}").is_dir()
    assert pyhome(place, ROOT, "list").out.count(ada) > 0
    ran = pyhome(place, ROOT, "remove", "--yes", ada)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{ada}: /home/{ada} and all that opened it are removed; the account is gone\n"
    assert things(place) == before
    assert traces(place, ada) == []
    assert ada not in pyhome(place, ROOT, "list").out
    again = pyhome(place, ROOT, "remove", "--yes", ada)
    assert (again.code, again.err) == (41, f"pyhome remove: there is no user {ada}; check the name\n")
    place.create(ada)
    assert place.log_in(PASSWORD, name=ada)[2] == "open 0"
    assert pyhome(place, ROOT, "remove", "--yes", ada).code == 0


def test_the_account_can_stay(place: CreateMachine, ada: str) -> None:
    uid = made(place, ada)
    ran = pyhome(place, ROOT, "remove", "--yes", "--keep-account", "--json", ada)
    assert ran.code == 0, ran
    said = json.loads(ran.out)
    assert said == {
        "version": 1, "user": ada, "uid": uid, "home": f"/home/{ada}", "backend": "fscrypt",
        "account_removed": False, "protectors_kept": [],
    }  # fmt: skip
    assert place.has_account(ada)
    assert not place.path(f"/home/{ada}").exists()
    assert place.logs_in(PASSWORD, ada)
    assert place.log_in(PASSWORD, name=ada)[-1] == "close 0"
    assert ada not in pyhome(place, ROOT, "list").out
    place.create(ada)
    assert pyhome(place, ROOT, "remove", "--yes", ada).code == 0
    assert not place.has_account(ada)


def test_keys_outside_of_the_home_are_named(place: CreateMachine, ada: str) -> None:
    place.create(ada)
    keys = place.path(f"/etc/ssh/authorized_keys.d/{ada}")
    keys.parent.mkdir(parents=True, exist_ok=True)
    keys.write_text("ssh-ed25519 AAAA\n", encoding="ascii")
    ran = pyhome(place, ROOT, "remove", "--yes", ada)
    assert ran.code == 0
    note = f"note: /etc/ssh/authorized_keys.d/{ada} is still there, for whoever gets this name next; "
    assert ran.err == note + "'pyhome sshd apply --prune' removes it\n"


def test_asked_on_a_terminal(place: CreateMachine, ada: str) -> None:
    made(place, ada)
    refused = pyhome(place, ROOT, "remove", ada)
    assert refused.code == 2
    assert "there is no terminal to ask on; --yes goes on without" in refused.err
    for answer, said in (("y", "nothing was changed"), ("", "nothing was changed"), (ada, "all that opened it are removed")):
        with on_terminal(place, ROOT, "remove", ada) as terminal:
            terminal.expect_exact(f"This removes /home/{ada}, encrypted with fscrypt, and the account {ada} for good")
            terminal.expect_exact(f"type the name of the user ({ada}):")
            terminal.sendline(answer)
            terminal.expect_exact(said)
    assert not place.has_account(ada)


def test_not_while_it_is_in_use(place: CreateMachine, ada: str) -> None:
    uid = made(place, ada)
    before = things(place)
    with place.background(["sh", "-c", f"echo ready; exec sleep 60 < /home/{ada}"]) as process:
        assert first_line(process) == "ready"
        ran = pyhome(place, ROOT, "remove", "--yes", ada)
        assert ran.code == 16
        assert ran.err.startswith(f"pyhome remove: {ada}: /home/{ada} is in use by pid ")
        assert f"(sleep, uid 0): fd 0 /home/{ada}" in ran.err
    identity = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    with place.background(["setpriv", *identity, "sh", "-c", "cd /; echo ready; exec sleep 60"]) as process:
        assert first_line(process) == "ready"
        ran = pyhome(place, ROOT, "remove", "--yes", "--json", ada)
        assert ran.code == 16
        error = json.loads(ran.out)["error"]
        assert (error["code"], error["kind"]) == (16, "HomeBusyError")
        assert f"(sleep, uid {uid}): runs" in error["holders"][0]
    started, pid = session(place, ada)
    ran = pyhome(place, ROOT, "remove", "--yes", ada)
    assert (ran.code, ran.err) == (44, f"pyhome remove: {ada}: the home is in use by pid {pid} (login); log out there\n")
    started.kill(pid)
    assert eventually(lambda: pyhome(place, ROOT, "lock", ada).code == 0)
    assert things(place) == before
    assert pyhome(place, ROOT, "unlock", "--password-file", "-", ada, stdin=SECRET).code == 0
    assert pyhome(place, ROOT, "remove", "--yes", ada).code == 0, "opened by hand, it is locked first"
    assert traces(place, ada) == []


def test_a_login_protector_that_opens_more_stays(place: CreateMachine, ada: str) -> None:
    uid = made(place, ada)
    other = place.path("/home/shared")
    other.mkdir()
    os.chown(other, uid, uid)
    (login,) = (path.name for path in place.path("/.fscrypt/protectors").iterdir() if path.stat().st_uid == uid)
    place.fscrypt("encrypt", "/home/shared", f"--protector=/:{login}", f"--user={ada}", "--quiet", said=PASSWORD.decode() + "\n")
    (other / "file").write_text("stays\n", encoding="ascii")
    place.fscrypt("lock", "/home/shared", f"--user={ada}", "--quiet")
    ran = pyhome(place, ROOT, "remove", "--yes", "--keep-account", ada)
    assert ran.code == 0, ran
    assert f"the protector {login} stays: it opens another directory as well" in ran.out
    assert place.path(f"/.fscrypt/protectors/{login}").exists()
    unlock = ("unlock", "/home/shared", f"--unlock-with=/:{login}", f"--user={ada}", "--quiet")
    place.fscrypt(*unlock, said=PASSWORD.decode() + "\n")
    assert (other / "file").read_text(encoding="ascii") == "stays\n"
    place.fscrypt("lock", "/home/shared", f"--user={ada}", "--quiet")
    shutil.rmtree(other)
    place.run(["userdel", ada], status=None)
    place.path(f"/.fscrypt/protectors/{login}").unlink()
    for policy in place.path("/home/.fscrypt/policies").iterdir():
        if policy.stat().st_uid == uid:
            policy.unlink()


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


@pytest.mark.parametrize("opened", [True, False])
def test_leftovers_of_an_account_that_is_gone(place: CreateMachine, ada: str, *, opened: bool) -> None:
    if opened:
        made(place, ada)
    else:
        place.create(ada)
    place.run(["userdel", ada], status=None)
    assert not place.has_account(ada)
    ran = pyhome(place, ROOT, "remove", "--yes", ada)
    assert ran.code == 0, ran
    assert traces(place, ada) == []
    assert len(place.metadata()["/.fscrypt/protectors"]) == 1, "Bob's"
    assert len(place.metadata()["/home/.fscrypt/policies"]) == 1


def test_a_home_directory_that_is_gone(place: CreateMachine, ada: str) -> None:
    made(place, ada)
    shutil.rmtree(place.path(f"/home/{ada}"))
    assert pyhome(place, ROOT, "remove", "--yes", ada).code == 0
    assert traces(place, ada) == []
    assert len(place.metadata()["/home/.fscrypt/policies"]) == 1


def refuses(machine: CreateMachine, name: str, status: int, *words: str) -> None:
    before = things(machine)
    ran = pyhome(machine, ROOT, "remove", "--yes", name)
    assert (ran.code, ran.out) == (status, ""), ran
    assert ran.err.count("\n") == 1
    for word in words:
        assert word in ran.err, ran.err
    assert things(machine) == before


def test_refusals(place: CreateMachine) -> None:
    refuses(place, "root", 51, "root: is not an ordinary user (uid 0); name another user")
    refuses(place, "nosuch", 41, "there is no user nosuch; check the name")
    refuses(place, "../home/bob", 41, "check the name")
    refuses(place, "", 41)
    place.add_user("pat", 61021, encrypted=False)
    refuses(place, "pat", 40, "pat has no encrypted home; 'userdel --remove' is for others")
    place.run(["userdel", "--remove", "pat"], status=None)


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


def test_an_ecryptfs_home(place: CreateMachine) -> None:
    """Without the mount, which this kernel need not have."""
    place.add_home("eve", 61022, PASSWORD)
    place.keep_copies("eve", 61022)
    place.path("/home/.ecryptfs/eve/.Private/ECRYPTFS_FNEK_ENCRYPTED.x").write_text("cipher", encoding="ascii")
    ran = pyhome(place, ROOT, "remove", "--yes", "eve")
    assert (ran.code, ran.err) == (0, "")
    assert traces(place, "eve") == []
    assert list(place.path("/home/.ecryptfs").iterdir()) == []


def test_an_ecryptfs_home_whose_account_is_gone(place: CreateMachine) -> None:
    place.add_home("eve", 61022, PASSWORD)
    place.run(["userdel", "eve"], status=None)
    shutil.rmtree(place.path("/home/eve"))
    assert pyhome(place, ROOT, "remove", "--yes", "eve").code == 0
    assert traces(place, "eve") == []


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


def test_only_root(place: CreateMachine) -> None:
    ran = pyhome(place, uid_of(place, "bob"), "remove", "--yes", "bob")
    assert (ran.code, ran.err) == (1, "pyhome remove: removes homes of others; run it as root\n")


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



def test_whoever_says_no_to_a_removal_that_was_killed_early_keeps_everything(place: CreateMachine, ada: str) -> None:
    made(place, ada)
    before = things(place)
    script = str(Path(__file__).parents[1] / "create/killed.py")
    marked = False
    for step in range(8, 80):
        place.ran("/usr/bin/python3", "-I", "-B", script, "kill", str(step), "remove", "--yes", ada)
        marked = place.path(f"{KEPT}/removing/{ada}").exists()
        if marked:
            break
    assert marked
    assert place.path(f"/home/{ada}").is_dir()
    with on_terminal(place, ROOT, "remove", ada) as terminal:
        terminal.expect_exact("type the name of the user")
        terminal.sendline("no")
        terminal.expect_exact("nothing was changed")
    assert not place.path(f"{KEPT}/removing/{ada}").exists()
    assert things(place) == before
    assert pyhome(place, ROOT, "remove", "--yes", ada).code == 0
