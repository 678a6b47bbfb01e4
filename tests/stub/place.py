"""A test machine with the login shell installed, ada whose home is locked, pat whose home is not encrypted, and an sshd."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pexpect  # type: ignore[import-untyped]  # the package has no annotations

from tests.pam.harness import ENVIRONMENT, MODULES, REPOSITORY, Machine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.pam.harness import Build

STUB = "/usr/lib/pyhome/pyhome-shell"
BASH = "/bin/bash"
RIGHT = "Correct-Horse-7"
ADA, PAT = 61001, 61002
STATUS_LOCKED = 75
TIMEOUT = 30

SSHD_CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey /etc/ssh/test_host_key
AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u
AllowAgentForwarding yes
UsePAM no
PidFile none
PrintMotd no
PrintLastLog no
AcceptEnv LC_* GIT_*
LogLevel VERBOSE
{extra}
"""


@dataclass(frozen=True)
class Done:
    """How a command ended: status and both outputs."""

    status: int
    out: bytes
    err: bytes


class Place:
    """The machine and what was started in it; use as a context manager."""

    def __init__(self, base: Path, build: Build, lower: Path = Path("/")) -> None:
        self.machine = Machine(base, build, lower)
        self.base = base
        self.port = 0
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.machine.__enter__()
        _install(self.machine)
        self.machine.add_user("ada", ADA)
        self.machine.add_user("pat", PAT, encrypted=False)
        self._lock_home()
        self._make_keys()
        self.shells("ada:/bin/bash\npat:/bin/bash\n")
        for name in ("ada", "pat"):
            self.set_shell(name, STUB)
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.__exit__(None, None, None)
        for daemon in self._daemons:
            daemon.communicate(timeout=TIMEOUT)

    def _lock_home(self) -> None:
        """What ecryptfs-setup-private leaves where the home is mounted: links, and no right to write."""
        script = """
        mkdir -p /home/.ecryptfs/ada/.Private
        echo /home/ada > /home/.ecryptfs/ada/.ecryptfs/Private.mnt
        chown -R ada: /home/.ecryptfs/ada
        ln -s /home/.ecryptfs/ada/.ecryptfs /home/.ecryptfs/ada/.Private /home/ada
        echo 'export GREETING=here' > /home/pat/.profile
        chown pat: /home/pat/.profile
        chmod 0500 /home/ada
        """
        self.machine.run(["/bin/sh", "-e", "-c", script])

    def _make_keys(self) -> None:
        key = self.base / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        self.public = key.with_suffix(".pub").read_text(encoding="ascii")
        directory = self.machine.path("/etc/ssh/authorized_keys.d")
        directory.mkdir(parents=True, exist_ok=True)
        for name in ("ada", "pat"):
            self.authorize(name)
        self.machine.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/test_host_key"])

    def authorize(self, name: str, options: str = "") -> None:
        """The key, with options before it."""
        (self.machine.path("/etc/ssh/authorized_keys.d") / name).write_text(f"{options} {self.public}".lstrip(), encoding="ascii")

    def shells(self, text: str) -> None:
        """/etc/pyhome-shells."""
        self.machine.path("/etc/pyhome-shells").write_text(text, encoding="ascii")

    def set_shell(self, name: str, shell: str) -> None:
        """The login shell in /etc/passwd."""
        path = self.machine.path("/etc/passwd")
        lines = path.read_text(encoding="utf-8").splitlines()
        changed = [line.rpartition(":")[0] + f":{shell}" if line.startswith(f"{name}:") else line for line in lines]
        path.write_text("\n".join(changed) + "\n", encoding="utf-8")

    # What runs in it

    def start(self, *arguments: str) -> None:
        """A daemon that says `ready`, in the background."""
        daemon = subprocess.Popen(
            self.machine.enter(arguments, {}), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
        self._daemons.append(daemon)
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"ready\n"

    def broker(self, mode: str = "honest") -> None:
        """The broker of `fake_broker.py`."""
        program = str(Path(__file__).with_name("fake_broker.py"))
        self.start("/usr/bin/env", "PYTHONPATH=/usr/lib/pyhome", "/usr/bin/python3", program, mode)

    def broker_log(self) -> list[str]:
        """What it noted."""
        try:
            return self.machine.path("/run/broker-log").read_text(encoding="ascii").split()
        except FileNotFoundError:
            return []

    def sshd(self, extra: str = "Subsystem sftp /usr/lib/openssh/sftp-server") -> None:
        """An sshd on a loopback port of its own, with `extra` in its configuration."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = SSHD_CONFIG.format(port=self.port, extra=extra)
        self.machine.path("/etc/ssh/test_config").write_text(config, encoding="ascii")
        self.machine.path("/run/sshd").mkdir(exist_ok=True)
        self.start("/bin/sh", "-c", "echo ready; exec /usr/sbin/sshd -D -e -f /etc/ssh/test_config 2>>/run/sshd-log")
        deadline = time.monotonic() + TIMEOUT
        while not _listens(self.port):
            assert time.monotonic() < deadline, self.machine.path("/run/sshd-log").read_text(encoding="utf-8")
            time.sleep(0.05)

    def options(self) -> list[str]:
        """What ssh, scp and sftp need to get there without a question."""
        fixed = ("UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR", f"Port={self.port}")
        return ["-F", "none", "-i", str(self.base / "key"), *(word for option in fixed for word in ("-o", option))]

    def ssh(
        self, user: str, *command: str, options: Sequence[str] = ("-T",), stdin: bytes = b"", agent: Path | None = None
    ) -> Done:
        """One command over ssh, perhaps with an agent to forward."""
        forward, environment = (["-A"], {"SSH_AUTH_SOCK": str(agent)}) if agent else ([], {})
        arguments = ["ssh", *options, *forward, *self.options(), f"{user}@127.0.0.1", *command]
        return self.local(arguments, stdin=stdin, environment=environment)

    def local(self, arguments: Sequence[str], *, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Done:
        """One command outside the machine."""
        given = {**_environment(), **(environment or {})}
        done = subprocess.run(arguments, input=stdin, capture_output=True, timeout=TIMEOUT, env=given)
        return Done(done.returncode, done.stdout, done.stderr)

    def ssh_terminal(self, user: str, *command: str, agent: Path | None = None) -> pexpect.spawn:
        """The same on a terminal, perhaps with an agent to forward."""
        arguments = ["ssh", "-tt", *self.options(), f"{user}@127.0.0.1", *command]
        return spawn(arguments) if agent is None else spawn([*arguments[:1], "-A", *arguments[1:]], {"SSH_AUTH_SOCK": str(agent)})

    def terminal(self, command: str, environment: Mapping[str, str] | None = None) -> pexpect.spawn:
        """A shell command of ada in her home in the machine, on a terminal, without sshd."""
        # In a session of its own: Ctrl-C is not for the program that led into the machine.
        as_ada = ["/usr/bin/setsid", "--ctty", "/usr/bin/setpriv", f"--reuid={ADA}", f"--regid={ADA}", "--clear-groups"]
        given = {"HOME": "/home/ada", "TERM": "dumb", "SHELL": STUB, **(environment or {})}
        return spawn(self.machine.enter([*as_ada, "/bin/sh", "-c", f"cd; {command}"], {**ENVIRONMENT, **given}))

    def stubs(self) -> list[str]:
        """The pids of the login shells that have not become another program yet."""
        return self.machine.run(["/usr/bin/pgrep", "-f", f"^/usr/bin/python3 -ISB {STUB}"], status=None).split()


def _environment() -> dict[str, str]:
    """This process's, but without an agent."""
    return {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"}


def spawn(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> pexpect.spawn:
    """Start on a terminal of its own, with `environment` added."""
    given = {**_environment(), **(environment or {})}
    text = {"encoding": "utf-8", "codec_errors": "replace"}
    return pexpect.spawn(
        arguments[0], list(arguments[1:]), timeout=TIMEOUT, env=given, dimensions=(24, 200), preexec_fn=_restore_signals, **text
    )


def _restore_signals() -> None:
    """What Python ignores for itself, programs are not used to."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


def ended(terminal: pexpect.spawn) -> int:
    """Wait for the end; the exit status."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus is not None, terminal.signalstatus
    return int(terminal.exitstatus)


def eventually(condition: object, seconds: float = 10.0) -> bool:
    """Whether calling `condition` gives something true in time."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _install(machine: Machine) -> None:
    """Everything where the packages install it, byte-compiled as they do."""
    places = [f"DESTDIR={machine.path('/')}", f"PAMDIR={MODULES}", f"SHIM={machine.build.module}"]
    subprocess.run(["make", "-s", "-f", "packaging/install.mk", "install", *places], cwd=REPOSITORY, check=True)
    machine.run(["/usr/bin/python3", "-m", "compileall", "-q", "/usr/lib/pyhome"])


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


