"""While a home is converted: others see how far it is, nobody else begins, and a kill leaves nothing running and nothing open."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.create.machine import PASSWORD, PYHOME
from tests.encrypt.machine import EncryptMachine, state
from tests.encrypt.test_terminal import slow
from tests.login.homes import ADA
from tests.login.test_daemon import daemon
from tests.verbs.command import pyhome

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.root

BEGIN = 'echo $$ > /tmp/begun; exec "$@"'


def begin(machine: EncryptMachine, verb: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start a conversion, and wait until it copies; with its process as the machine knows it."""
    machine.path("/tmp/begun").unlink(missing_ok=True)
    command = ("/bin/sh", "-c", BEGIN, "sh", PYHOME, verb, "--yes", "--password-file", "-", "ada")
    running = subprocess.Popen(machine.enter(command, {}), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert running.stdin is not None
    running.stdin.write(PASSWORD + b"\n")
    running.stdin.close()
    until(lambda: machine.run(["pgrep", "-f", "bwlimit"], status=None) != "")
    return running, machine.path("/tmp/begun").read_text(encoding="ascii").strip()


def until(is_so: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_open(machine: EncryptMachine, where: str) -> bool:
    """Whether the kernel has the key of a directory."""
    return "Unlocked: Yes" in machine.fscrypt("status", where)


@pytest.mark.guarantee(16)
def test_seen_by_others_and_killed(machine: EncryptMachine) -> None:
    before = state(slow(machine))
    with daemon(machine):
        for verb, opened in (("encrypt", "/home/.pyhome-converting.ada/home"), ("decrypt", "/home/ada")):
            running, pid = begin(machine, verb)
            for said in (machine.pyhome("status"), pyhome(machine, ADA, "status").out):
                assert f"The home of ada is being {verb}ed, " in said, said
                assert " %" in said
            (found,) = json.loads(machine.pyhome("status", "--json", "ada"))["running"]
            assert (found["user"], found["direction"]) == ("ada", verb)
            assert 0 <= found["percent"] <= 100
            for other in ("encrypt", "decrypt"):
                line = machine.convert(other, "ada", status=45)
                assert "another process is converting the home of ada; 'pyhome status ada' tells how far it is" in line
            machine.run(["kill", "-9", pid])
            running.wait(30)
            machine.run(["flock", "/var/lib/pyhome/converting/.lock.ada", "true"])
            assert machine.run(["pgrep", "-f", "bwlimit"], status=None) == ""
            assert not is_open(machine, opened)
            said = machine.pyhome("status", "ada")
            assert f"To {verb} the home of ada was begun and not finished" in said
            assert " %" not in said
            machine.convert(verb, "--resume", "ada")
            if verb == "encrypt":
                machine.pyhome("unlock", "--password-file", "-", "ada")  # confirm wants it opened once
                machine.pyhome("lock", "ada")
            machine.pyhome("confirm", "--yes", "ada")
    assert state(machine.path("/home/ada")) == before
