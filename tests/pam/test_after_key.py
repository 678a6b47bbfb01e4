"""Whether a key is enough is sshd's to say: what the module asks it, and what it makes of the answer."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from pam_pyhome.sshd.config import UNLOCK_METHODS
from tests.pam.harness import HERE, IGNORED, Machine

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.guarantee(14)]

WORKER = """
if b"ssh-unlock" not in start.tokens:
    for setting in (b"SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAA", b"SSH_CONNECTION=10.0.0.1 5000 10.0.0.2 22"):
        verb(18, blob(setting))
    verb(17, struct.pack("<I", 4) + blob(b"client.example"))
reply(0 if b"ssh-unlock" in start.tokens else 25)
"""
TITLE = "sshd: /opt/listener -D -o Port=22 [listener] 0 of 10-100 startups"
OURS = f"authenticationmethods {UNLOCK_METHODS}"


@pytest.fixture(scope="session")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("listener") / "listener"
    subprocess.run(["cc", "-o", str(program), str(HERE / "listener.c")], check=True)
    return program


@pytest.fixture
def asked(machine: Machine, listener: Path) -> Machine:
    """With a stand-in for sshd, and a first rule that tells the handle what sshd would."""
    program = machine.path("/opt/listener")
    program.write_bytes(listener.read_bytes())
    program.chmod(0o755)
    machine.install_worker(WORKER)
    machine.write_pam("sshd", "ssh-unlock", before="auth optional pam_pyhome.so\n")
    return machine


def answer(machine: Machine, dump: bytes, title: str = TITLE, user: str = "ada") -> str:
    """What auth comes to below a process with this title, which is asked and says `dump`."""
    machine.path("/run/dump").write_bytes(dump)
    command = ["/bin/bash", "-c", 'exec -a "$0" /opt/listener "$@"', title, "/opt/test/pamapp", "sshd", user, "auth"]
    lines = machine.run(command, environment=machine.build.environment()).splitlines()
    return next(line for line in lines if line.startswith("auth "))


NOT_OURS = {
    "nothing": b"",
    "another": b"authenticationmethods any\n",
    "once": f"authenticationmethods {UNLOCK_METHODS.split()[0]}\n".encode(),
    "in another place": f"authenticationmethods password {UNLOCK_METHODS}\n".encode(),
    "longer": f"{OURS},password\n".encode(),
    "cut off": OURS.encode(),
    "of another keyword": f"x{OURS}\n".encode(),
    "second": f"authenticationmethods any\n{OURS}\n".encode(),
    "behind a NUL": b"\0" + f"{OURS}\n".encode(),
    "too much": b"a" * 70000 + f"\n{OURS}\n".encode(),
}


def test_sshd_is_asked_about_this_connection(asked: Machine) -> None:
    for dump in (f"port 22\n{OURS}\nusepam yes\n", f"AuthenticationMethods {UNLOCK_METHODS} password\n"):
        assert answer(asked, dump.encode()) == "auth 0"
    connection = "user=ada,host=client.example,addr=10.0.0.1,laddr=10.0.0.2,lport=22"
    said = asked.path("/run/asked").read_text(encoding="ascii").splitlines()
    assert said == ["/opt/listener", "-T", "-C", connection, "-D", "-o", "Port=22"]
    for name, dump_bytes in NOT_OURS.items():
        assert answer(asked, dump_bytes) == f"auth {IGNORED}", name


@pytest.mark.parametrize("title", ["sshd: ada [priv]", "sshd: -D [listener] 0", f"sshd: /opt/listener{' -q' * 99} [listener] 0"])
def test_without_an_sshd_that_listens_nothing_is_vouched_for(asked: Machine, title: str) -> None:
    assert answer(asked, f"{OURS}\n".encode(), title) == f"auth {IGNORED}"
    assert "cannot tell which AuthenticationMethods" in asked.log()


def test_users_without_a_home_need_an_answer_as_well(asked: Machine) -> None:
    """Nobody is waved through, and no worker says so."""
    asked.add_user("bob", 61002, encrypted=False)
    assert answer(asked, f"{OURS}\n".encode(), user="bob") == f"auth {IGNORED}"
    assert asked.worker_runs() == []
