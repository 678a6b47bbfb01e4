"""Killed, or out of space, at any step: the old recovery key or the new one opens the home, and the login password always."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.login.homes import MOUNT_PASSPHRASE, LoginMachine, answers
from tests.recovery.conftest import KEY, PASSWORD

if TYPE_CHECKING:
    from tests.fscrypt.homes import FscryptMachine

pytestmark = pytest.mark.root

KILLED = str(Path(__file__).parents[1] / "create/killed.py")
INSIDE = str(Path(__file__).with_name("inside.py"))
NEW = b"battery staple"
STATE = ("/.fscrypt", "/home/.fscrypt", "/var/lib/pyhome")
WRONG = "WrongPassphraseError"


def interrupted(machine: LoginMachine, how: str, step: int, *arguments: str, lines: tuple[bytes, ...]) -> tuple[int | None, str]:
    """Run `pyhome` until a step; how many there were, if it came to its end, and what it printed."""
    machine.path("/root").mkdir(exist_ok=True)
    machine.path("/root/lines").write_bytes(b"".join(line + b"\n" for line in lines))
    command = ["/usr/bin/python3", "-I", "-B", KILLED, how, str(step), *arguments, "ada", "--password-file", "/root/lines"]
    said = machine.run(command, status=None)
    assert "Traceback" not in said, said
    found = re.search(r"steps=(\d+)", said)
    return (int(found[1]) if found else None), said


def opens(machine: LoginMachine, *passwords: bytes) -> list[str]:
    return machine.run(["/usr/bin/python3", "-I", "-B", INSIDE, *(each.hex() for each in passwords)]).split()


def printed(said: str) -> list[bytes]:
    return [each.encode() for each in re.findall(r"^    (\S{47})$", said, re.MULTILINE)]


class Reset:
    """Puts the files of the beginning back. There are few, and all are small."""

    def __init__(self, machine: LoginMachine, *places: str) -> None:
        self._places = [machine.path(place) for place in places]
        self._files = {path: (path.read_bytes(), path.stat()) for path in self._found()}

    def _found(self) -> list[Path]:
        return [path for place in self._places for path in place.rglob("*") if path.is_file()]

    def __call__(self) -> None:
        """Now."""
        for path in self._found():
            path.unlink()
        for path, (content, status) in self._files.items():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.write_bytes(content)
            os.chown(path, status.st_uid, status.st_gid)
            path.chmod(status.st_mode & 0o777)


@pytest.mark.parametrize("how", ["kill", "fail"])
@pytest.mark.guarantee(11)
def test_a_new_key(place: FscryptMachine, how: str) -> None:
    place.log_in(PASSWORD)
    again = Reset(place, *STATE)
    steps, _ = interrupted(place, how, 0, "recovery", "new", lines=(PASSWORD,))
    assert steps is not None
    assert steps > 40
    seen = set()
    for step in range(1, steps + 1, 2 if how == "kill" else 6):
        again()
        _, said = interrupted(place, how, step, "recovery", "new", lines=(PASSWORD,))
        keys = printed(said)
        password, old, *new = opens(place, PASSWORD, KEY, *keys)
        assert password == "ok", (step, said)
        assert "ok" in (old, *new), (step, said)
        seen.add((old, *new))
    assert (WRONG, "ok") in seen
    assert ("ok", WRONG) in seen


@pytest.mark.guarantee(11)
def test_a_forgotten_password(place: FscryptMachine) -> None:
    """The recovery key opens the home whenever it is killed; what it leaves, the next run finishes."""
    again = Reset(place, *STATE)
    steps, _ = interrupted(place, "kill", 0, "passwd", "--home-only", lines=(KEY, NEW))
    assert steps is not None
    assert steps > 40
    seen = set()
    for step in range(1, steps + 1, 3):
        again()
        interrupted(place, "kill", step, "passwd", "--home-only", lines=(KEY, NEW))
        key, old, new = opens(place, KEY, PASSWORD, NEW)
        assert key == "ok", step
        assert "ok" in (old, new), step
        seen.add((old, new))
        if step % 8 == 0:
            interrupted(place, "kill", 0, "passwd", "--home-only", lines=(KEY, NEW))
            assert place.opens(NEW)  # with the only login protector that there is
    assert seen == {("ok", WRONG), (WRONG, "ok")}


@pytest.mark.guarantee(11)
def test_ecryptfs(ecryptfs: LoginMachine) -> None:
    (first,) = printed(interrupted(ecryptfs, "kill", 0, "recovery", "new", lines=(PASSWORD,))[1])
    again = Reset(ecryptfs, "/home/.ecryptfs/ada/.ecryptfs", "/var/lib/pyhome")
    steps, _ = interrupted(ecryptfs, "kill", 0, "recovery", "new", lines=(PASSWORD,))
    assert steps is not None
    seen = set()
    for step in range(1, steps + 1, 2):
        again()
        keys = printed(interrupted(ecryptfs, "kill", step, "recovery", "new", lines=(first,))[1])
        password, always, old, *new = opens(ecryptfs, PASSWORD, MOUNT_PASSPHRASE, first, *keys)
        assert (password, always) == ("ok", "ok"), step
        assert "ok" in (old, *new), step
        seen.add((old, *new))
    assert (WRONG, "ok") in seen
    assert ("ok", WRONG) in seen


@pytest.mark.guarantee(11)
@pytest.mark.parametrize("kind", ["ecryptfs", "fscrypt"])
def test_a_change_of_the_password(request: pytest.FixtureRequest, kind: str) -> None:
    """Killed anywhere, one of the two opens the home; and once the change is done the old one does not, not even by a copy."""
    machine: LoginMachine = request.getfixturevalue("ecryptfs" if kind == "ecryptfs" else "place")
    if kind == "ecryptfs":
        machine.keep_copies()
        places, live = ["/home/.ecryptfs/ada/.ecryptfs", "/var/lib/pyhome"], machine.wrapped()
    else:
        machine.pam("login", "ada", *answers(PASSWORD), "auth", "setcred", "open", "close")
        places, live = [*STATE], next(machine.path("/.fscrypt/protectors").iterdir())
    again = Reset(machine, *places)
    steps, _ = interrupted(machine, "kill", 0, "passwd", "--home-only", lines=(PASSWORD, NEW))
    assert steps is not None
    seen = set()
    for step in [*range(1, steps + 1, max(1, steps // 8)), 0]:
        again()
        finished, _ = interrupted(machine, "kill", step, "passwd", "--home-only", lines=(PASSWORD, NEW))
        found = opens(machine, PASSWORD, NEW)
        assert sorted(found) == ["WrongPassphraseError", "ok"], step
        seen.add(found.index("ok"))
        live.write_bytes(b"")
        spare = machine.run(["/usr/bin/python3", "-I", "-B", INSIDE, "login", PASSWORD.hex(), NEW.hex()]).split()
        assert "ok" in spare, step
        assert finished is None or spare == [WRONG, "ok"], step
    assert seen == {0, 1}
