"""A test machine with an sshd and client keys. Nothing of the real /etc/ssh is touched."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.pam.harness import ENVIRONMENT, REPOSITORY, Build, Machine, eventually

if TYPE_CHECKING:
    from types import TracebackType

PYHOME = ["/usr/bin/python3", "-B", "-m", "pam_pyhome"]
LAYOUT = Path("/etc/ssh/authorized_keys.d")
DROP_IN = Path("/etc/ssh/sshd_config.d/0-pyhome.conf")
STATE = Path("/var/lib/pyhome/sshd")
PAM = "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n"
CONFIG = """\
Include /etc/ssh/sshd_config.d/*.conf
KbdInteractiveAuthentication no
UsePAM yes
Subsystem sftp /usr/lib/openssh/sftp-server
"""
ADA, BOB = 61001, 61002

Files = dict[str, tuple[int, int, int, bytes | str | None]]


class _NoBuild(Build):
    """The layout has nothing to do with the PAM module."""

    def __init__(self) -> None:
        self.sanitized = False


class SshdMachine(Machine):
    """Use as a context manager. `key` is a private key of the client, `line` its line in authorized_keys."""

    def __init__(self, base: Path, lower: Path = Path("/")) -> None:
        super().__init__(base, _NoBuild(), lower)
        self._directory = base
        self._sshd: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        super().__enter__()
        self.key, self.line = self.new_key("client")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sshd is not None:
            self._sshd.kill()
            self._sshd.wait()
        super().__exit__(kind, value, trace)

    def _furnish(self) -> None:
        """Two users without encrypted homes, and a configuration that does not depend on the real machine's."""
        for user in ("ada", "bob"):
            self.add_user(user, {"ada": ADA, "bob": BOB}[user], encrypted=False)
        self.write_stack("sshd", PAM)
        self.config(CONFIG)
        for path in self.path("/etc/ssh/sshd_config.d").iterdir():
            path.unlink()

    def new_key(self, name: str, *options: str) -> tuple[Path, bytes]:
        """A fresh key pair: the path of the private key, and the public line."""
        path = self._directory / name
        kind = options or ("-t", "ed25519")
        subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", f"{name} key", *kind, "-f", str(path)], check=True)
        return path, path.with_suffix(".pub").read_bytes()

    def config(self, text: str) -> None:
        """The main configuration file."""
        self.path("/etc/ssh/sshd_config").write_text(text, encoding="utf-8")

    def drop_in(self, name: str, text: str) -> None:
        """Another file of sshd_config.d."""
        self.path(f"/etc/ssh/sshd_config.d/{name}").write_text(text, encoding="utf-8")

    # Homes

    def authorize(self, user: str, content: bytes, name: str = "authorized_keys") -> Path:
        """What `ssh-copy-id` would leave; its path from outside."""
        directory = self.path(f"/home/{user}/.ssh")
        owner = self.path(f"/home/{user}").stat().st_uid
        directory.mkdir(mode=0o700, exist_ok=True)
        os.chown(directory, owner, owner)
        file = directory / name
        file.write_bytes(content)
        file.chmod(0o600)
        os.chown(file, owner, owner)
        return file

    def encrypt(self, user: str) -> None:
        """Give a user what makes pyhome take the home for an encrypted one, which is locked."""
        config = self.path(f"/home/.ecryptfs/{user}/.ecryptfs")
        config.mkdir(parents=True)
        owner = self.path(f"/home/{user}").stat().st_uid
        (config / "wrapped-passphrase").write_bytes(b"wrapped")
        (config / "auto-mount").touch()
        for path in (config, *config.iterdir()):
            os.chown(path, owner, owner)

    def hide_home(self, user: str) -> None:
        """Lock a home: an empty directory takes its place, as where an encrypted one is mounted."""
        owner = self.path(f"/home/{user}").stat().st_uid
        self.run(["/bin/mount", "-t", "tmpfs", "-o", f"mode=0500,uid={owner},gid={owner}", "locked", f"/home/{user}"])

    def show_home(self, user: str) -> None:
        """Take that back."""
        self.run(["/bin/umount", f"/home/{user}"])

    # sshd

    def start_sshd(self, *arguments: str) -> None:
        """Listen on a free port of the loopback device, instead of the sshd that did so far."""
        if self._sshd is not None:
            self._sshd.kill()
            self._sshd.wait()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.path("/run/sshd").mkdir(exist_ok=True)
        command = ["/usr/sbin/sshd", "-D", "-e", "-o", f"ListenAddress=127.0.0.1:{self.port}", *arguments]
        log = (self._directory / "sshd.log").open("wb")
        self._sshd = subprocess.Popen(self.enter(command, {}), stdin=subprocess.DEVNULL, stderr=log)
        log.close()
        assert eventually(self.answers), "sshd does not answer"

    def answers(self) -> bool:
        """Whether somebody listens."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def ssh(self, user: str, key: Path, *command: str) -> subprocess.CompletedProcess[bytes]:
        """Log in by this key and nothing else."""
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes"]
        # An sshd that has been told to read its configuration again does not listen for an instant.
        options.append("ConnectionAttempts=10")
        given = [word for option in options for word in ("-o", option)]
        return subprocess.run(
            ["ssh", "-F", "/dev/null", *given, "-i", str(key), "-p", str(self.port), f"{user}@127.0.0.1", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )

    def lets_in(self, user: str, key: Path) -> bool:
        """Whether a login works."""
        ran = self.ssh(user, key, "echo", "in")
        assert ran.stdout in {b"in\n", b""}
        return ran.stdout == b"in\n"

    def effective(self, user: str | None = None) -> str:
        """AuthorizedKeysFile as sshd has it."""
        self.path("/run/sshd").mkdir(exist_ok=True)
        which = ["-C", f"user={user},host=h,addr=127.0.0.1"] if user else []
        dump = self.run(["/usr/sbin/sshd", "-T", *which])
        return next(line.partition(" ")[2] for line in dump.splitlines() if line.lower().startswith("authorizedkeysfile"))

    # pyhome

    def pyhome(self, *arguments: str, status: int = 0) -> str:
        """Run `pyhome sshd …`; the output and the messages."""
        ran = self.pyhome_ran(*arguments)
        said = (ran.stdout + ran.stderr).decode("utf-8", "surrogateescape")
        assert ran.returncode == status, f"{ran.returncode}\n{said}"
        assert "Traceback" not in said, said
        return said

    def pyhome_ran(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run `pyhome sshd …`; how that ended."""
        command = self.enter([*PYHOME, "sshd", *arguments], ENVIRONMENT | {"PYTHONPATH": str(REPOSITORY)} | (environment or {}))
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)

    def pyhome_json(self, *arguments: str, status: int | None = 0) -> Any:  # noqa: ANN401 - it is what JSON makes of it
        """Run `pyhome sshd … --json`; the object."""
        ran = self.pyhome_ran(*arguments, "--json")
        assert status is None or ran.returncode == status, ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    def laid_out(self, user: str) -> bytes | None:
        """The user's file in the layout."""
        try:
            return self.path(LAYOUT / user).read_bytes()
        except FileNotFoundError:
            return None

    def etc(self) -> Files:
        """Everything in /etc/ssh and /etc/pam.d: owner, group, mode, and content or target."""
        found: Files = {}
        for top in ("/etc/ssh", "/etc/pam.d"):
            root = self.path(top)
            for path in [root, *sorted(root.rglob("*"))]:
                status = path.lstat()
                link = os.readlink(path) if path.is_symlink() else None
                content = path.read_bytes() if link is None and path.is_file() else link
                found[top + str(path)[len(str(root)) :]] = (status.st_uid, status.st_gid, status.st_mode, content)
        return found

    def settle(self) -> None:
        """Let time stamps grow old enough to be trusted."""
        time.sleep(1.1)
