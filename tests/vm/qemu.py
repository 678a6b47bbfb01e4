"""The emulator process of one virtual machine: start, monitor, serial console, end.

Always TCG: Debian's stock kernels do not come up under ``-enable-kvm`` everywhere this runs.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: Without address randomisation: what the emulator has translated of a program serves each run of it, a third less work.
#: And without the kernel's look whether a timer ticks, which it does not in time on a machine that is busy.
CMDLINE = "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet mitigations=off norandmaps no_timer_check systemd.show_status=0"
#: Seconds the emulator gets to write its disk and end when it is told to.
QUIT_TIMEOUT = 20


class Qemu:
    """One run of the emulator, from power-on to power-off. ``work`` is where its sockets and logs are."""

    def __init__(self, image: Path, disk: Path, work: Path) -> None:
        self.work = work
        self.port = _free_port()
        argv = _argv(image, disk, work, self.port)
        log = work / "console.log"
        self._said_before = log.stat().st_size if log.exists() else 0
        with (work / "qemu.log").open("ab") as complaints:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=complaints, stderr=complaints)

    def running(self) -> bool:
        """Tell whether the emulator has not ended."""
        return self._process.poll() is None

    def has_panicked(self) -> bool:
        """Tell whether the kernel has given up since this power-on."""
        log = self.work / "console.log"
        return log.exists() and b"Kernel panic" in log.read_bytes()[self._said_before :]

    def wait(self, timeout: float) -> None:
        """Wait until the emulator has ended by itself; ``subprocess.TimeoutExpired`` if it has not after ``timeout`` seconds."""
        self._process.wait(timeout)

    def end(self) -> None:
        """Cut the power. What the machine has handed to its disk is kept, what it holds in memory is lost."""
        with contextlib.suppress(OSError):
            self._monitor("quit")
        try:
            self._process.wait(QUIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _monitor(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(QUIT_TIMEOUT)
            monitor.connect(str(self.work / "monitor"))
            stream = monitor.makefile("rwb")
            stream.readline()
            for name in ("qmp_capabilities", command):
                stream.write(json.dumps({"execute": name}).encode() + b"\n")
                stream.flush()
                stream.readline()

    def console(self) -> socket.socket:
        """A new connection to the serial console. Only one can be open at a time."""
        console = socket.socket(socket.AF_UNIX)
        console.connect(str(self.work / "console"))
        return console

    def console_tail(self, size: int = 4000) -> str:
        """The last ``size`` bytes that the machine has printed on its console, and what the emulator complained about."""
        texts = [self.work / "console.log", self.work / "qemu.log"]
        return "\n".join(path.read_bytes()[-size:].decode(errors="replace") for path in texts if path.exists())


def _argv(image: Path, disk: Path, work: Path, port: int) -> list[str]:
    return [
        # The machine must not outlive the tests, however they end.
        "setpriv", "--pdeathsig", "KILL",
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd"), "-append", CMDLINE,
        "-drive", f"if=virtio,format=qcow2,file={disk},cache=unsafe,discard=unmap",
        "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22", "-device", "virtio-net-pci,netdev=net,romfile=",
        "-device", "virtio-rng-pci",
        "-chardev", f"socket,id=console,path={work}/console,server=on,wait=off,logfile={work}/console.log,logappend=on",
        "-serial", "chardev:console", "-qmp", f"unix:{work}/monitor,server=on,wait=off",
    ]  # fmt: skip


def _free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
