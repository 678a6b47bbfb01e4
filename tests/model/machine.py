"""The machine that the model runs in, as root: pyhome's command, pyhomed, the log, disks that are full."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from tests.model.kernel import MNT_DETACH, call, mount, umount
from tests.model.sessions import become

if TYPE_CHECKING:
    from collections.abc import Mapping

RUN, LIB = "/run/pyhome", "/var/lib/pyhome"
BROKER, WATCH = "/run/pyhome-unlock.sock", "/run/pyhomed.sock"
HANGS = 120.0
_OPENED, _LOCKED = "opened the home", "locked the home"


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    said: str


def pyhome(*arguments: str, user: str = "root", stdin: str = "") -> Ran:
    """Run the command in a child that has its modules already: what an interpreter costs to start is most of it."""
    given, give = os.pipe()
    said, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(given, 0)
        os.dup2(say, 1)
        os.dup2(say, 2)
        for descriptor in (given, give, said, say):
            os.close(descriptor)
        os._exit(_command(user, arguments))
    os.close(given)
    os.close(say)
    with os.fdopen(give, "wb") as stream, contextlib.suppress(BrokenPipeError):
        stream.write(stdin.encode())
    text = _read_until(said, time.monotonic() + HANGS)
    if text is None:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Ran(status, "hangs" if text is None else text.decode(errors="replace"))


def _command(user: str, arguments: tuple[str, ...]) -> int:
    from pam_pyhome.cli.main import main  # noqa: PLC0415 - of the machine, which main() has put on the path

    code: object = 1
    try:
        os.setsid()
        if user != "root":
            become(user)
        sys.stdin, sys.argv = open(0, encoding="utf-8", closefd=False), ["pyhome", *arguments]  # noqa: SIM115 - as it ends
        main()
    except SystemExit as end:
        code = end.code
    except Exception:  # noqa: BLE001 - what is found in the output of the command
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


def _read_until(descriptor: int, deadline: float) -> bytes | None:
    content = b""
    with contextlib.closing(os.fdopen(descriptor, "rb", buffering=0)) as stream:
        while True:
            if not select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            chunk = stream.read(65536)
            if not chunk:
                return content
            content += chunk


class Daemon:
    """pyhomed, in the foreground where `command` is its command line, or as the unit of the package."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.runs = False

    def start(self) -> None:
        """Run, if it does not."""
        if self.runs:
            return
        self.runs = True
        if not self._command:
            subprocess.run(["systemctl", "reset-failed", "pyhomed.service"], check=False, stderr=subprocess.DEVNULL)
            subprocess.run(["systemctl", "start", "pyhomed.socket", "pyhomed-unlock.socket", "pyhomed.service"], check=True)
            return
        for path in (WATCH, BROKER):
            Path(path).unlink(missing_ok=True)
        self._process = subprocess.Popen(self._command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not Path(BROKER).exists():
            time.sleep(0.01)

    def strike(self, *, children: bool) -> None:
        """Kill it, with the children that it has or without."""
        self.runs = False
        if self._process is None:
            whom = "control-group" if children else "main"
            units = ["systemctl", "stop", "pyhomed.socket", "pyhomed-unlock.socket"]
            kill = ["systemctl", "kill", "-s", "KILL", f"--kill-who={whom}", "pyhomed.service"]
            subprocess.run(kill, check=False, capture_output=True)
            subprocess.run([*units, "pyhomed.service"], check=True, capture_output=True)
            return
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if children else os.kill)(self._process.pid, signal.SIGKILL)
        self._process.wait()
        # Nothing listens any more, as when a service manager has taken its sockets away.
        for path in (WATCH, BROKER):
            Path(path).unlink(missing_ok=True)


class Log:
    """The system log from now on: a file, or the journal if there is none."""

    def __init__(self, path: str) -> None:
        if path:
            self._stream: IO[bytes] = open(path, "rb", buffering=0)  # noqa: SIM115 - for as long as the process lives
            self._stream.seek(0, os.SEEK_END)
        else:
            follow = ["journalctl", "-q", "-f", "-n", "0", "-o", "cat", "SYSLOG_FACILITY=10"]
            process = subprocess.Popen(follow, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
            assert process.stdout is not None
            self._stream = process.stdout
            os.set_blocking(process.stdout.fileno(), False)
        self._rest = b""
        self.lines: list[str] = []

    def read(self) -> None:
        """Take in what there is."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._stream.fileno(), 65536):
                self._rest += chunk
        *lines, self._rest = self._rest.split(b"\n")
        self.lines += [line.decode(errors="replace") for line in lines]

    def last_word(self) -> str:
        """`opened` or `locked`, whichever was said last, or nothing."""
        self.read()
        for line in reversed(self.lines):
            if _LOCKED in line or _OPENED in line:
                return "locked" if _LOCKED in line else "opened"
        return ""


def small_disk(where: str) -> None:
    """Put what is in a directory on a small file system of its own, which can be filled without harm to others."""
    os.makedirs(where, mode=0o700, exist_ok=True)
    os.chmod(where, 0o700)
    if os.path.ismount(where):
        return
    kept = f"/root/kept-{os.path.basename(where)}-{time.monotonic_ns()}"
    shutil.copytree(where, kept, symlinks=True)
    found = [os.path.join(place, name) for place, inner, files in os.walk(kept) for name in (*inner, *files)]
    room = 262144 + sum(os.lstat(path).st_blocks * 512 for path in found)
    mount("model", where, "tmpfs", 0, f"size={room},nr_inodes={128 + len(found)},mode=0700")
    shutil.copytree(kept, where, symlinks=True, dirs_exist_ok=True)


def own_disk(where: str) -> None:
    """Take the small file system away again; what is on it stays in the directory."""
    kept = f"/root/left-{os.path.basename(where)}-{time.monotonic_ns()}"
    shutil.copytree(where, kept, symlinks=True)
    umount(where, MNT_DETACH)
    shutil.rmtree(where)
    shutil.copytree(kept, where, symlinks=True)
    os.chmod(where, 0o700)


def fill(where: str, *, inodes: bool) -> None:
    """Leave no room, or no room for a further file."""
    with contextlib.suppress(OSError):
        for number in range(1000):
            with open(f"{where}/.fill{number}", "wb", buffering=0) as file:
                while not inodes and file.write(bytes(4096)) == 4096:
                    pass


def empty(where: str) -> None:
    """Make room again."""
    for path in Path(where).glob(".fill*"):
        path.unlink()


def strike_worker(delay: float) -> int:
    """A process that kills the next worker that it sees, `delay` after it saw it; to be waited for."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            _strike_worker(delay)
        os._exit(0)
    return pid


def _strike_worker(delay: float) -> None:
    deadline = time.monotonic() + 5
    before = set(_workers())
    while time.monotonic() < deadline:
        for pid in set(_workers()) - before:
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.002)


def _workers() -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if b"/usr/lib/pyhome/pyhome-worker" in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
    return found


def new_space(user: str, flags: int, propagation: int, directory: str) -> int:
    """A process in a mount name space of its own, of a user who has no rights in ours, or of root; 0 if it cannot be there."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            if user != "root":
                become(user)
            call("unshare", flags)
            mount("none", "/", None, propagation)
            os.chdir(directory)
            os.write(done, b"!")
            while True:
                signal.pause()
        os._exit(1)
    os.close(done)
    is_there = os.read(ready, 1) == b"!"
    os.close(ready)
    if is_there:
        return pid
    os.waitpid(pid, 0)
    return 0


def end(pid: int) -> None:
    """Kill a child of ours, if it has not ended by itself."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def is_alive(pid: int) -> bool:
    """Whether a child of ours still runs."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False


def state_of(said: str, user: str) -> str:
    """What `list --json` or `status --json` says of a home; `absent` if nothing, `error` if it failed."""
    try:
        found: Mapping[str, list[dict[str, str]]] = json.loads(said[: said.rindex("}") + 1])
    except ValueError:
        return f"nonsense: {said}"
    if "error" in found:
        return f"error: {found['error']}"
    return next((home["state"] for home in found["homes"] if home["user"] == user), "absent")
