"""Running ``pyhome`` in a test machine as root or as a user, with pipes or on a terminal."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.login.homes import LoginMachine
from tests.pam.harness import ENVIRONMENT
from tests.stub.place import spawn

if TYPE_CHECKING:
    import pexpect  # type: ignore[import-untyped]  # the package has no annotations

ROOT = 0
TIMEOUT = 60


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


def argv(uid: int, *arguments: str, cwd: str = "/") -> list[str]:
    """The command line in the machine, without a terminal of the one who runs the tests."""
    identity = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
    return ["setsid", "--wait", "env", f"--chdir={cwd}", *identity, "/usr/bin/pyhome", *arguments]


def pyhome(machine: LoginMachine, uid: int, *arguments: str, stdin: bytes = b"") -> Ran:
    """Run it to its end with pipes."""
    command = machine.enter(argv(uid, *arguments), {"TZ": "UTC"})
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=TIMEOUT)
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def on_terminal(machine: LoginMachine, uid: int, *arguments: str) -> pexpect.spawn:
    """Start it on a terminal of its own."""
    command = argv(uid, *arguments)
    command[1:2] = ["--wait", "--ctty"]
    return spawn(machine.enter(command, ENVIRONMENT | {"TERM": "dumb", "TZ": "UTC"}))
