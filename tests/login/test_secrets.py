"""No secret in the log, the arguments, the environment, a core dump or a file; no traceback anywhere."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pam_pyhome.formats import wire
from pam_pyhome.formats.ecryptfs_key import SALT_DEFAULT, SALT_FNEK, derive_key
from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, MOUNT_PASSPHRASE, LoginMachine, answers, wrap
from tests.login.worker import WORKER, Talk

pytestmark = pytest.mark.root

NEW = b"battery staple"
WRONG = b"what was it again"
KEYS = [derive_key(MOUNT_PASSPHRASE, salt).key for salt in (SALT_DEFAULT, SALT_FNEK)]
SECRETS = [PASSWORD, NEW, WRONG, MOUNT_PASSPHRASE, *KEYS, *(key[:16] for key in KEYS)]


def forms(secret: bytes) -> list[bytes]:
    """The ways in which a program may let a secret slip."""
    return [secret, secret.hex().encode(), repr(secret)[2:-1].encode()]


def leaks(content: bytes) -> list[bytes]:
    """The secrets in some bytes."""
    return [secret for secret in SECRETS if any(form in content for form in forms(secret))]


def everything_that_can_happen(machine: LoginMachine, service: str) -> list[str]:
    """Logins and changes that go well and that do not."""
    said: list[str] = []
    himself = f"ruid={ADA}"
    for steps in (
        (*answers(PASSWORD), "auth", "setcred", "account", "open", "close"),
        (*answers(WRONG), "auth"),
        (himself, *answers(PASSWORD, NEW, NEW), "chauthtok"),
        (himself, *answers(NEW, PASSWORD, PASSWORD), "chauthtok"),
        (*answers(NEW, NEW), "chauthtok"),
        (*answers(NEW, WRONG), "auth", "open"),
        (*answers(NEW, PASSWORD), "auth", "open"),
        (himself, *answers(NEW, WRONG, NEW, NEW), "chauthtok"),
    ):
        said += machine.pam(service, "ada", *steps)
    machine.wrapped().write_bytes(machine.wrapped().read_bytes()[:30])
    said += machine.pam(service, "ada", *answers(NEW), "auth", "open")
    wrap(machine.wrapped(), NEW, b"another mount passphrase")
    said += machine.pam(service, "ada", *answers(NEW), "auth", "open")
    return said


@pytest.mark.parametrize("arguments", ["debug", "debug authenticate", "debug keyring=user"])
@pytest.mark.guarantee(8)
def test_the_log_and_the_terminal(machine: LoginMachine, arguments: str) -> None:
    machine.write_debian("chatty", arguments)
    said = "\n".join(everything_that_can_happen(machine, "chatty")).encode()
    machine.log()
    log = machine.path("/run/log").read_bytes()
    assert leaks(said) == []
    assert leaks(log) == []
    assert log.count(b"pam_pyhome") > 20
    for text in (said, log):
        assert b"Traceback" not in text
        assert b"had no answer" not in text
        assert b'File "' not in text


@pytest.mark.guarantee(2, 8)
def test_no_file_keeps_a_secret(machine: LoginMachine) -> None:
    everything_that_can_happen(machine, "login")
    for directory in ("/run", "/home", "/dev", "/var/lib/pyhome"):
        for path in machine.path(directory).rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert leaks(path.read_bytes()) == [], path


class Interrupted(Talk):
    """Does something to the worker when it sends a certain verb."""

    def __init__(self, machine: LoginMachine, verb: int, act: Callable[[Path], None]) -> None:
        super().__init__(machine, answers=[PASSWORD], authtok=NEW)
        self._inside = os.readlink(machine.path("/proc/1/ns/pid"))
        self._verb = verb
        self._act = act

    def _answer(self, kind: int, body: bytes) -> bytes:
        if kind == self._verb:
            (worker,) = filter(self._is_worker, Path("/proc").glob("[0-9]*"))
            self._act(worker)
        return super()._answer(kind, body)

    def _is_worker(self, process: Path) -> bool:
        try:
            command = (process / "cmdline").read_bytes()
            return command == "\0".join([*WORKER, ""]).encode() and os.readlink(process / "ns/pid") == self._inside
        except OSError:
            return False


@pytest.mark.guarantee(8)
def test_arguments_environment_and_memory_of_a_worker(machine: LoginMachine) -> None:
    seen: list[dict[str, bytes]] = []

    def look(worker: Path) -> None:
        seen.append({name: (worker / name).read_bytes() for name in ("cmdline", "environ", "status")})

    clean = ["env", "-i", "LC_ALL=C.UTF-8"]
    assert Interrupted(machine, wire.CONVERSE, look).phase(wire.PHASE_AUTHENTICATE, under=clean) == 25
    (worker,) = seen
    assert leaks(worker["cmdline"] + worker["environ"]) == []
    assert worker["environ"] == b"LC_ALL=C.UTF-8\0"
    locked = next(line for line in worker["status"].splitlines() if line.startswith(b"VmLck:"))
    assert int(locked.split()[1]) > 0  # nothing goes to swap


@pytest.mark.guarantee(8)
def test_a_worker_leaves_no_core_even_where_the_limit_is_lifted(machine: LoginMachine) -> None:
    root = machine.path("/")
    lifted = ["sh", "-c", 'ulimit -c unlimited; cd /; exec "$@"', "sh"]
    if Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8").startswith("core"):
        machine.run([*lifted, "sh", "-c", "sleep 9 & kill -ABRT $!; wait"])
        cores = list(root.glob("core*"))
        assert cores  # the way it would look
        for core in cores:
            core.unlink()
    before = set(os.listdir(root))
    # In the middle, with a password in memory; and at its first word, before changes of identity have made it undumpable anyhow.
    for phase, verb in ((wire.PHASE_AUTHENTICATE, wire.CONVERSE), (wire.PHASE_OPEN_SESSION, wire.GET_DATA)):
        talk = Interrupted(machine, verb, lambda worker: os.kill(int(worker.name), signal.SIGABRT))
        assert talk.phase(phase, under=lifted) is None
        assert set(os.listdir(root)) == before
