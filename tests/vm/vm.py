"""One virtual machine: a booted Debian that tests log in to, crash and reboot.

It runs on a throw-away overlay over a cached image (:mod:`tests.vm.image`). Root's commands share one ssh connection; users log in
by real, separate connections (:mod:`tests.vm.shell`). Every wait has a deadline.
"""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm.image import image, say
from tests.vm.qemu import Qemu

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds until a machine must answer over ssh. Ten is usual; a loaded builder may need many times that.
BOOT_TIMEOUT = 240
#: A kernel that dies while it boots gets so many chances in all.
BOOTS = 3
#: Seconds a root command may take unless the caller says otherwise.
RUN_TIMEOUT = 120
#: A key exchange that an emulated processor does in a fraction of a second.
FAST = "KexAlgorithms=curve25519-sha256"


class VMError(Exception):
    """The machine did not do in time what it should."""


class CommandError(Exception):
    """A root command in the machine failed."""


@dataclass(frozen=True)
class Result:
    """What a command left behind. ``out`` and ``err`` are text, undecodable bytes replaced."""

    command: str
    code: int
    out: str
    err: str


class VM:
    """A machine of one suite. :meth:`start` boots it, :meth:`stop` ends it and removes its disk."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.image = image(suite)
        self.work = Path(tempfile.mkdtemp(prefix=f"vm-{suite}-"))
        self._disk = self.work / "disk.qcow2"
        self._qemu: Qemu | None = None

    @property
    def qemu(self) -> Qemu:
        """The running emulator."""
        if self._qemu is None:
            raise VMError(f"{self.suite} is switched off")
        return self._qemu

    # -- power ---

    def start(self) -> None:
        """Boot from a fresh disk and wait until the machine has settled."""
        base = self.image / "disk.raw"
        _host(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base), str(self._disk)], timeout=60)
        self.power_on()

    def stop(self) -> None:
        """End the machine and remove what it used. Safe to call at any time."""
        self.power_off()
        shutil.rmtree(self.work, ignore_errors=True)

    def power_on(self) -> None:
        """Switch on with the disk as it is and wait until the machine has settled."""
        began = time.monotonic()
        for boots_left in reversed(range(BOOTS)):
            self._qemu = Qemu(self.image, self._disk, self.work)
            try:
                self._wait_for_sshd(began + BOOT_TIMEOUT)
                break
            except VMError:
                if not boots_left or not self.qemu.has_panicked():
                    raise
            # On a busy machine the emulator now and then gives the kernel an interrupt that it cannot stand while it boots.
            say(self.suite, "the kernel did not come up; again")
            self.power_off()
        self.run("systemctl is-system-running --wait", check=False, timeout=BOOT_TIMEOUT)
        say(self.suite, f"up after {time.monotonic() - began:.0f} s, ssh on port {self.qemu.port}")

    def power_off(self) -> None:
        """Cut the power: what the machine has not yet handed to its disk is lost."""
        if self._qemu is not None:
            say(self.suite, "power cut")
            self._qemu.end()
            self._qemu = None
            self._close_shared_connection()

    def reboot(self) -> None:
        """Shut down in order, and boot again."""
        say(self.suite, "reboot")
        self.run("systemctl --no-block poweroff")
        self.qemu.wait(120)
        self.power_off()
        self.power_on()

    def _wait_for_sshd(self, deadline: float) -> None:
        while not _greets(self.qemu.port):
            if time.monotonic() > deadline or not self.qemu.running() or self.qemu.has_panicked():
                raise VMError(f"{self.suite} does not answer over ssh; its console said:\n{self.qemu.console_tail()}")
            time.sleep(0.5)

    # -- root's commands ---

    def ssh(self, user: str, *options: str) -> list[str]:
        """The ssh command line for ``user``, up to the host: append a command, or nothing."""
        fixed = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR", "ConnectTimeout=60", FAST]
        words = ["ssh", "-F", "none", "-p", str(self.qemu.port), *options]
        return [*words, *(word for option in fixed for word in ("-o", option)), f"{user}@127.0.0.1"]

    def command(self) -> list[str]:
        """The command line with which the host runs a command of root's: append it."""
        shared = ["ControlMaster=auto", f"ControlPath={self.work}/ctl", "ControlPersist=600"]
        return self.ssh("root", "-i", str(self.image / "key"), *(word for option in shared for word in ("-o", option)))

    def _close_shared_connection(self) -> None:
        control = self.work / "ctl"
        subprocess.run(["ssh", "-o", f"ControlPath={control}", "-O", "exit", "x"], capture_output=True, timeout=30)
        control.unlink(missing_ok=True)

    def run(self, command: str, *, stdin: str | bytes = b"", check: bool = True, timeout: float = RUN_TIMEOUT) -> Result:
        """Run a shell command as root. A failure raises :class:`CommandError` unless ``check`` is false."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        try:
            result = _host([*self.command(), command], stdin=data, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            tail = self.qemu.console_tail()
            raise VMError(f"{self.suite}: no end after {timeout} s: {command}\nThe console said:\n{tail}") from error
        if check and result.code != 0:
            raise CommandError(f"{self.suite}: `{command}` ended with {result.code}\n{result.out}{result.err}")
        return result

    def relay(self, command: str, *, timeout: float) -> None:
        """Run a long command of root's; what it prints is seen while it runs."""
        subprocess.run([*self.command(), command], check=True, stdin=subprocess.DEVNULL, timeout=timeout)

    def out(self, command: str, *, timeout: float = RUN_TIMEOUT) -> str:
        """What a root command that succeeds prints, without the last line feed."""
        return self.run(command, timeout=timeout).out.rstrip("\n")

    def ok(self, command: str) -> bool:
        """Tell whether a root command succeeds."""
        return self.run(command, check=False).code == 0

    def wait_until(self, command: str, timeout: float = 30) -> None:
        """Repeat a root command until it succeeds."""
        self.wait_for(lambda: self.ok(command), command, timeout)

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = 30) -> None:
        """Wait until ``condition`` holds; ``what`` names it if it never does."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise VMError(f"{self.suite}: not so after {timeout} s: {what}\n{self.run('journalctl -b -n 40', check=False).out}")
            time.sleep(0.3)

    # -- files and log ---

    def put(self, source: Path, target: str) -> None:
        """Copy a file into the machine."""
        self.write(target, source.read_bytes())

    def write(self, target: str, content: str | bytes) -> None:
        """Write a file of root in the machine."""
        self.run(f"cat > {shlex.quote(target)}", stdin=content)

    def read(self, source: str) -> bytes:
        """The bytes of a file in the machine."""
        command = [*self.command(), f"cat {shlex.quote(source)}"]
        return subprocess.run(command, capture_output=True, check=True, timeout=RUN_TIMEOUT).stdout

    def cursor(self) -> str:
        """A mark in the journal: what is logged from now on comes after it."""
        return self.out("journalctl --sync; journalctl -n 0 --show-cursor | sed -n 's/^-- cursor: //p'")

    def journal(self, cursor: str = "") -> str:
        """The journal since a mark, or since boot."""
        after = f"--after-cursor={shlex.quote(cursor)}" if cursor else "-b"
        return self.out(f"journalctl --sync; journalctl -q --no-pager -o short-monotonic {after}")


def _host(argv: list[str], *, timeout: float, stdin: bytes = b"") -> Result:
    """Run a command on the host of the machine."""
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout)
    return Result(argv[-1], done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def _greets(port: int) -> bool:
    """Tell whether an ssh server speaks on the port; the emulator itself accepts connections long before the machine does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
