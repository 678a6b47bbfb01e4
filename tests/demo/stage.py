"""Where the demonstration takes place: the machine at hand, with all changes in memory, and nothing of it left afterwards.

Mounts, processes and network are in name spaces of their own; accounts and PAM files are replaced by a few of their own; `/home`
is a file system that can encrypt, in a file on a loop device. All of that ends with the first process in it, and that ends with
this one.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from typing import TYPE_CHECKING, Self

import pexpect  # type: ignore[import-untyped]  # the package has no annotations

from pam_pyhome.errors import PyhomeError
from pam_pyhome.kernel import fscrypt
from tests.pam.harness import MODULES, REPOSITORY, Build, Machine

if TYPE_CHECKING:
    from types import TracebackType

MEBIBYTE = 1 << 20
LOOPS = 256
TIMEOUT = 60
SHIM = REPOSITORY / "build/pam_pyhome.so"
BASE = REPOSITORY / "build/demo"
PROMPT = "demo-prompt> "
SETTLED_SECONDS = 20.0

SSHD = """\
ListenAddress 127.0.0.1
HostKey /etc/ssh/demo_host_key
AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u
KbdInteractiveAuthentication no
UsePAM yes
PidFile none
PrintMotd no
PrintLastLog no
UseDNS no
"""
# Where pam-auth-update puts the module on Debian.
STACK = """\
auth     required pam_unix.so nodelay
auth     optional pam_pyhome.so
account  required pam_unix.so
session  required pam_unix.so
session  optional pam_pyhome.so
password required pam_unix.so
"""
LOOPBACK = """
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 1))
"""


class NoEncryptionError(Exception):
    """The kernel cannot encrypt directories, or cannot do what is needed to show it."""


class Installed(Build):
    """What `make shim` has built; nothing is compiled here."""

    def __init__(self) -> None:
        self.sanitized = False
        self.module = SHIM


class Stage(Machine):
    """Use as a context manager. NoEncryptionError if the kernel has none."""

    namespaces = ("--mount", "--pid", "--net")

    def __init__(self, features: str = "encrypt") -> None:
        super().__init__(BASE, Installed())
        self._features = features
        self._running: list[subprocess.Popen[bytes]] = []
        self._terminals: list[pexpect.spawn] = []

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._set_up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything that runs in it, and with that everything."""
        super().__exit__(kind, value, trace)
        for process in self._running:
            process.wait(timeout=TIMEOUT)
        for terminal in self._terminals:
            terminal.close(force=True)

    def _furnish(self) -> None:
        """The files of the package, and few others."""
        shutil.rmtree(self.path("/etc/pam.d"))
        self.path("/etc/pam.d").mkdir()
        self.write_stack("other", "auth required pam_deny.so\n")
        self.write_stack("sshd", STACK)
        for name in ("passwd", "group"):
            self._keep_system_entries(name)
        for name in ("shadow", "gshadow"):
            self.path(f"/etc/{name}").write_text("", encoding="ascii")
            self.path(f"/etc/{name}").chmod(0o600)
        places = [f"DESTDIR={self.path('/')}", f"PAMDIR={MODULES}", f"SHIM={SHIM}"]
        subprocess.run(["make", "-s", "-f", "packaging/install.mk", "install", *places], cwd=REPOSITORY, check=True)

    def _keep_system_entries(self, name: str) -> None:
        """Nobody who could log in to the real machine is on the stage."""
        path = self.path(f"/etc/{name}")
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        kept = [line for line in lines if line.count(":") > 2 and line.split(":")[2].isdigit() and int(line.split(":")[2]) < 1000]
        path.write_text("\n".join([*kept, ""]), encoding="utf-8")

    def _set_up(self) -> None:
        self.run(["/usr/bin/python3", "-m", "compileall", "-q", "/usr/lib/pyhome"])
        self.run(["/usr/bin/python3", "-I", "-c", LOOPBACK])
        self.run(["add-shell", "/usr/lib/pyhome/pyhome-shell"])
        self._mount_homes()

    # The file system

    def _mount_homes(self) -> None:
        for number in range(LOOPS):
            os.mknod(self.path(f"/dev/loop{number}"), stat.S_IFBLK | 0o600, os.makedev(7, number))
        os.mknod(self.path("/dev/loop-control"), stat.S_IFCHR | 0o600, os.makedev(10, 237))
        with self.path(self.disk).open("wb") as file:
            file.truncate(64 * MEBIBYTE)
        for command in (["mkfs.ext4", "-q", "-O", self._features, self.disk], ["mount", "-o", "loop", self.disk, "/home"]):
            done = subprocess.run(self.enter(command, {}), capture_output=True, text=True)
            if done.returncode != 0:
                raise NoEncryptionError(f"{command[0]} says: {' '.join(done.stderr.split())}")
        trouble = self._trouble()
        if trouble is not None:
            raise NoEncryptionError(trouble)

    @property
    def disk(self) -> str:
        """The file that the file system is in; its name tells whose it is."""
        return f"/srv/pyhome-demo-{os.getpid()}"

    def _trouble(self) -> str | None:
        directory = os.open(self.path("/home"), os.O_RDONLY | os.O_DIRECTORY)
        try:
            return fscrypt.support(directory)
        except (OSError, PyhomeError) as error:
            return str(error)
        finally:
            os.close(directory)

    # What runs

    def start(self, *arguments: str) -> None:  # type: ignore[override]  # a daemon, not a test application
        """A daemon in the background."""
        null = subprocess.DEVNULL
        command = self.enter(arguments, {})
        self._running.append(subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True))

    def start_daemons(self) -> None:
        """Pyhomed and sshd, ready."""
        self.start("/usr/bin/python3", "-I", "-S", "-B", "/usr/lib/pyhome/pyhomed")
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f"]
        for key in ("/etc/ssh/demo_host_key", "/root/demo_key"):
            self.path("/root").mkdir(exist_ok=True)
            self.run([*keygen, key])
        self.path("/etc/ssh/demo_config").write_text(SSHD, encoding="ascii")
        self.path("/run/sshd").mkdir()
        self.start("/usr/sbin/sshd", "-D", "-f", "/etc/ssh/demo_config")
        self.wait_for("exec 3<>/dev/tcp/127.0.0.1/22 && [ -S /run/pyhome-unlock.sock ]")

    def wait_for(self, condition: str) -> None:
        """Wait until a shell command succeeds. TimeoutError."""
        deadline = time.monotonic() + SETTLED_SECONDS
        while subprocess.run(self.enter(["/bin/bash", "-c", condition], {}), capture_output=True).returncode != 0:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not in {SETTLED_SECONDS:.0f} seconds: {condition}")
            time.sleep(0.05)

    def authorize(self, user: str) -> None:
        """Put root's key where sshd looks for it, outside the home."""
        place = self.path("/etc/ssh/authorized_keys.d")
        place.mkdir(mode=0o755, exist_ok=True)
        shutil.copy(self.path("/root/demo_key.pub"), place / user)

    def terminal(self, *arguments: str) -> pexpect.spawn:
        """A program on a terminal of its own."""
        command = self.enter(["/usr/bin/setsid", "--ctty", *arguments], {"TERM": "dumb", "HOME": "/root"})
        text = {"encoding": "utf-8", "codec_errors": "replace"}
        terminal = pexpect.spawn(command[0], command[1:], timeout=TIMEOUT, dimensions=(24, 200), **text)
        self._terminals.append(terminal)
        return terminal


class Session:
    """A login over ssh, on a terminal."""

    def __init__(self, stage: Stage, user: str, *, key: bool) -> None:
        method = ["-i", "/root/demo_key"] if key else ["-o", "PubkeyAuthentication=no"]
        options = ("UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR")
        given = [word for option in options for word in ("-o", option)]
        self._terminal = stage.terminal("ssh", "-F", "none", "-tt", *given, *method, f"{user}@127.0.0.1")

    def answer(self, prompt: str, password: str) -> str:
        """Wait for a question and answer it, then wait for the shell; what the terminal showed until the answer."""
        self._terminal.expect_exact(prompt)
        asked = f"{self._terminal.before}{prompt}"
        self._terminal.sendline(password)
        self._terminal.expect(r"[$#] ")
        self._terminal.sendline(f"stty -echo; PS1='{PROMPT}'")
        self._terminal.expect_exact(f"\n{PROMPT}")
        return asked

    def do(self, command: str) -> str:
        """Run a command; its output."""
        self._terminal.sendline(command)
        self._terminal.expect_exact(PROMPT)
        return str(self._terminal.before)

    def log_out(self) -> None:
        """Leave."""
        self._terminal.sendline("exit")
        self._terminal.expect(pexpect.EOF)
        self._terminal.close()


