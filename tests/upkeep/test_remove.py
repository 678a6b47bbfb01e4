"""`pyhome remove`: the home and its account go, nothing of anybody else's does, and nothing is left to open it with."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.create.machine import PASSWORD, CreateMachine
from tests.login.homes import first_line
from tests.login.test_daemon import session
from tests.pam.harness import eventually
from tests.upkeep.homes import KEPT, SECRET, made, things, traces, uid_of
from tests.verbs.command import ROOT, on_terminal, pyhome

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("neighbour")]


@pytest.mark.guarantee(18)
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
    told = [each for each in place.records("created", "removal-begun", "removed") if each["USER"] == ada]
    assert [each["PYHOME_WHAT"] for each in told] == ["created", "removal-begun", "removed"]
    assert {each["UID"] for each in told} == {str(uid)}
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


@pytest.mark.guarantee(18)
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


@pytest.mark.guarantee(18)
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


@pytest.mark.guarantee(18)
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


def test_only_root(place: CreateMachine) -> None:
    ran = pyhome(place, uid_of(place, "bob"), "remove", "--yes", "bob")
    assert (ran.code, ran.err) == (42, "pyhome remove: removes homes of others; run it as root\n")


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
