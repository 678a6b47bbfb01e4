"""No secret in the log, the arguments, the environment, a core dump or a file; no traceback anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from pam_pyhome.formats.ecryptfs_key import SALT_DEFAULT, SALT_FNEK, derive_key
from tests.login.conftest import PASSWORD
from tests.login.homes import ADA, MOUNT_PASSPHRASE, LoginMachine, answers, wrap
from tests.pam.harness import Session, eventually

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
def test_the_log_and_the_terminal(machine: LoginMachine, arguments: str) -> None:
    machine.write_debian("chatty", arguments)
    said = "\n".join(everything_that_can_happen(machine, "chatty")).encode()
    log = machine.path("/run/log").read_bytes()
    assert leaks(said) == []
    assert leaks(log) == []
    assert log.count(b"pam_pyhome") > 20
    for text in (said, log):
        assert b"Traceback" not in text
        assert b"the worker failed" not in text
        assert b'File "' not in text


def test_no_file_keeps_a_secret(machine: LoginMachine) -> None:
    everything_that_can_happen(machine, "login")
    for directory in ("/run", "/home", "/dev", "/var/lib/pyhome"):
        for path in machine.path(directory).rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert leaks(path.read_bytes()) == [], path


def worker_that_waits(machine: LoginMachine) -> tuple[Session, int]:
    """A worker in the middle of a conversation about a password, and its process id in this machine's own numbers."""
    machine.pam("login", "ada", *answers(NEW, NEW), "chauthtok")
    session = machine.start("login", "ada", "slow-answers=3000", *answers(NEW, PASSWORD), "auth", "open")
    found: list[int] = []

    def is_there() -> bool:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                same = os.readlink(entry / "ns/pid") == os.readlink(machine.path("/proc/1/ns/pid"))
                if same and b"pyhome-worker" in (entry / "cmdline").read_bytes() and _waits(entry):
                    found.append(int(entry.name))
                    return True
            except OSError:
                continue
        return False

    assert eventually(is_there, 30)
    return session, found[0]


def _waits(entry: Path) -> bool:
    """Whether the worker has read its socket empty and waits for the answer to its question."""
    syscall = (entry / "syscall").read_text(encoding="ascii").split()
    return syscall[0] == "0" and syscall[1] == "0x3" and "ctypes" in (entry / "maps").read_text(encoding="utf-8")


def test_arguments_environment_and_limits_of_a_worker(machine: LoginMachine) -> None:
    session, pid = worker_that_waits(machine)
    process = Path("/proc") / str(pid)
    assert leaks((process / "cmdline").read_bytes()) == []
    assert sorted((process / "environ").read_bytes().split(b"\0")) == [
        b"", b"LC_ALL=C.UTF-8", b"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    ]  # fmt: skip
    limits = (process / "limits").read_text(encoding="ascii")
    assert "Max core file size        0                    0" in limits
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text(encoding="utf-8").splitlines())
    assert int(status["VmLck"].split()[0]) > 0  # nothing goes to swap
    session.finish()


def test_a_worker_leaves_no_core_even_if_somebody_lifts_the_limit(machine: LoginMachine) -> None:
    root = machine.path("/")
    if Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8").startswith("core"):
        machine.run(["sh", "-c", "cd / && ulimit -c unlimited && (sleep 9 & kill -ABRT $!; wait)"])
        cores = list(root.glob("core*"))
        assert cores  # the way it would look
        for core in cores:
            core.unlink()
    before = set(os.listdir(root))
    session, pid = worker_that_waits(machine)
    subprocess.run(["prlimit", "--pid", str(pid), "--core=unlimited:unlimited"], check=True)
    os.kill(pid, signal.SIGABRT)
    assert "auth 0" in session.finish()
    assert set(os.listdir(root)) == before
