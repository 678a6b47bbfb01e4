"""What verbs that are not about homes alone print with --json when all is well: objects whose fields docs/json.md has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.create.machine import PASSWORD, PYHOME, CreateMachine, recovery_key
from tests.login.homes import MOUNT_PASSPHRASE
from tests.verbs.command import ROOT, pyhome

pytestmark = pytest.mark.root

DOCUMENTED = set(re.findall(r"`(\w+)`", (Path(__file__).parents[2] / "docs/json.md").read_text(encoding="utf-8")))


def objects(text: str) -> list[dict[str, object]]:
    """All that were printed, one after the other."""
    found, rest = [], text.strip()
    while rest:
        value, end = json.JSONDecoder().raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    assert {key.removesuffix("_b64") for value in found for key in value} <= DOCUMENTED
    assert all(value["version"] == 1 for value in found)
    return found


def test_create(place: CreateMachine) -> None:
    done = place.ran(PYHOME, "create", "--json", "--password-file", "-", "ada")
    (made,) = objects(done.stdout.decode())
    assert done.returncode == 0
    key = made["recovery_key"]
    assert recovery_key(f"    {key}\n") == key
    uid = place.path("/home/ada").stat().st_uid
    assert made == {
        "version": 1, "user": "ada", "recovery_key": key, "uid": uid, "home": "/home/ada", "backend": "fscrypt",
        "account_made": True, "resumed": False,
    }  # fmt: skip
    done = place.ran(PYHOME, "create", "--json", "--password-file", "-", "ada")
    (failed,) = objects(done.stdout.decode())
    error = failed["error"]
    assert isinstance(error, dict)
    assert (done.returncode, error["code"], error["kind"], error["what"]) == (30, 30, "CreateError", "ada")
    assert done.stderr.decode() == f"pyhome create: {error['message']}\n"


def test_a_plan_with_problems_is_one_object(place: CreateMachine) -> None:
    place.add_user("pat", 61041, encrypted=False)
    place.path("/home/pat/fifo").unlink(missing_ok=True)
    place.run(["python3", "-c", "import socket; socket.socket(socket.AF_UNIX).bind('/home/pat/socket')"])
    done = place.ran(PYHOME, "encrypt", "--dry-run", "--json", "pat")
    (plan,) = objects(done.stdout.decode())
    assert done.returncode == 70
    assert plan["dry_run"] is True
    assert plan["problems"] == ["pat: /home/pat/socket is a socket; remove it, programs make their sockets anew"]
    assert isinstance(plan["error"], dict)
    assert plan["error"]["code"] == 70
    assert done.stderr.decode() == f"pyhome encrypt: {plan['problems'][0]}\n"


def test_the_login_shell(place: CreateMachine) -> None:
    ran = pyhome(place, ROOT, "shell", "show", "--json", "root")
    (found,) = objects(ran.out)
    assert ran.code == 1
    assert found == {"version": 1, "user": "root", "login_shell": found["login_shell"], "real_shell": None, "enabled": False}
    ran = pyhome(place, ROOT, "shell", "enable", "--yes", "--json", "root")
    (found,) = objects(ran.out)
    error = found["error"]
    assert isinstance(error, dict)
    assert (ran.code, error["kind"]) == (19, "LoginShellError")


def test_key_files(place: CreateMachine) -> None:
    place.path("/home/.ecryptfs").mkdir(exist_ok=True)
    place.add_home("eve", 61042, PASSWORD)
    path = "/home/.ecryptfs/eve/.ecryptfs/wrapped-passphrase"
    secret = PASSWORD + b"\n"
    (found,) = objects(pyhome(place, ROOT, "ecryptfs", "unwrap", "--json", path, "-", stdin=secret).out)
    assert found["passphrase"] == MOUNT_PASSPHRASE.decode()
    (found,) = objects(pyhome(place, ROOT, "ecryptfs", "rewrap", "--json", path, "-", stdin=secret + b"another\n").out)
    assert found["file"] == path
    ran = pyhome(place, ROOT, "ecryptfs", "unwrap", path, "--json", "-", stdin=secret)
    (found,) = objects(ran.out)
    error = found["error"]
    assert isinstance(error, dict)
    assert (ran.code, error["kind"]) == (13, "WrongPassphraseError")
    (found,) = objects(pyhome(place, ROOT, "ecryptfs", "wrap", "--json", "/root/key", "-", stdin=b"passphrase\xff\nwrapping\n").out)
    assert found["file"] == "/root/key"
    (found,) = objects(pyhome(place, ROOT, "ecryptfs", "unwrap", "--json", "/root/key", "-", stdin=b"wrapping\n").out)
    assert (found["passphrase"], found["passphrase_b64"]) == ("passphrase\ufffd", "cGFzc3BocmFzZf8=")
