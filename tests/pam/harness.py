"""A test machine: an overlay of the real one in private mount and pid name spaces, with users, PAM files and workers of its own.

    with Machine(tmp_path, build) as machine:
        machine.add_user("ada", uid=61001)
        machine.write_pam("test", "debug")
        machine.install_worker(text)
        machine.pam("test", "ada", "auth", "open")   # → ["auth 0", "open 0"]

Process 1 of the machine is `machine_init.py`; when it ends, everything in the machine ends with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
MODULES = next(Path("/usr/lib").glob("*-linux-gnu/security"))
IGNORED = 29  # what the stacks of write_pam turn PAM_IGNORE into: PAM_BAD_ITEM, which pyhome has no use for
MARKER = "=bad_item"  # pam_debug tells the application what it does
SERIOUS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:")


class Build:
    """One compilation of the module and of the test application: `plain` or `sanitized`, with `defines` for the compiler."""

    def __init__(self, directory: Path, sanitized: bool, defines: Sequence[str] = ()) -> None:
        self.sanitized = sanitized
        make = ["make", "-s", "-C", str(REPOSITORY / "pam_pyhome/host"), f"BUILD={directory}", f"DEFINES={' '.join(defines)}"]
        subprocess.run([*make, "asan" if sanitized else "all"], check=True)
        self.module = directory / "asan/pam_pyhome.so" if sanitized else directory / "pam_pyhome.so"
        self.application = directory / "pamapp"
        flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if sanitized else []
        flags += ["-D_GNU_SOURCE", "-g", "-O1", "-Wall", "-Wextra", "-Werror"]
        sources = [str(HERE / name) for name in ("pamapp.c", "pamapp_process.c")]
        subprocess.run(["cc", *flags, *sources, "-o", str(self.application), "-lpam", "-lpthread"], check=True)

    def environment(self, leaks: bool = True) -> dict[str, str]:
        """What a program that is itself sanitized needs in its environment; nothing for a plain build."""
        if not self.sanitized:
            return {}
        return {"ASAN_OPTIONS": f"detect_leaks={int(leaks)}:exitcode=99"}

    def preload(self) -> dict[str, str]:
        """What a program that is not sanitized needs to load a sanitized module. Its own leaks are not ours to judge."""
        if not self.sanitized:
            return {}
        libraries = [
            subprocess.run(["cc", f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout.strip()
            for name in ("libasan.so", "libubsan.so")
        ]
        return self.environment(leaks=False) | {"LD_PRELOAD": " ".join(libraries)}


def octal(path: str) -> str:
    """A path as the record of an open home spells it."""
    return "".join(f"\\{ord(letter):03o}" if letter in " \t\n\\" else letter for letter in path)


class Machine:
    """The machine; use as a context manager. `path` names its files from outside. `lower` is the root that it changes a copy of."""

    namespaces: tuple[str, ...] = ("--mount", "--pid")

    def __init__(self, base: Path, build: Build, lower: Path = Path("/")) -> None:
        self.build = build
        self._lower = lower
        self._base = base / "machine"
        self._init: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def __enter__(self) -> Self:
        self._base.mkdir(parents=True, exist_ok=True)
        own = self._lower == Path("/")
        root_device = os.stat("/").st_dev
        shared = sorted({str(path) for path in (REPOSITORY, Path(sys.prefix)) if not own or path.stat().st_dev != root_device})
        unshare = ["unshare", *self.namespaces, "--fork", "--kill-child", "--propagation", "private"]
        command = [*unshare, "/usr/bin/python3", "-I", str(HERE / "machine_init.py"), str(self._base), str(self._lower), *shared]
        # In a session of its own: at Ctrl-C it is this process that ends the machine.
        self._init = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        assert self._init.stdout is not None
        if self._init.stdout.readline() != b"ready\n":
            self.__exit__(None, None, None)
            raise AssertionError("the test machine did not start")
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text(encoding="ascii")
        self._pid = int(children.split()[0])
        self._furnish()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._init is not None
        assert self._init.stdin is not None
        assert self._init.stdout is not None
        self._init.stdin.close()
        self._init.wait(timeout=20)
        self._init.stdout.close()

    def _furnish(self) -> None:
        """Put the module and the test application in their places."""
        shutil.copy(self.build.module, self.path(MODULES / "pam_pyhome.so"))
        self.path("/opt/test").mkdir(parents=True)
        shutil.copy(self.build.application, self.path("/opt/test/pamapp"))
        self.path("/opt/test").chmod(0o755)
        self.path("/usr/lib/pyhome").mkdir(exist_ok=True)
        self.path("/home/.ecryptfs").mkdir()
        self.path("/etc/pam.d/other").write_text("auth required pam_deny.so\n", encoding="ascii")

    def path(self, inside: str | Path) -> Path:
        """A path of the machine as seen from outside."""
        return Path(f"/proc/{self._pid}/root{inside}")

    # What the machine holds

    def add_user(self, name: str, uid: int, *, password: str = "*", encrypted: bool = True) -> None:
        """An account with a group of its own and, if `encrypted`, with what makes pyhome look twice."""
        for file, line in (
            ("passwd", f"{name}:x:{uid}:{uid}::/home/{name}:/bin/sh"),
            ("group", f"{name}:x:{uid}:"),
            ("shadow", f"{name}:{password}:19000:0:99999:7:::"),
        ):
            with self.path(f"/etc/{file}").open("a", encoding="ascii") as stream:
                stream.write(line + "\n")
        self._own(Path(f"/home/{name}"), uid, 0o700)
        if encrypted:
            self._own(Path(f"/home/.ecryptfs/{name}"), uid, 0o755)
            self._own(Path(f"/home/.ecryptfs/{name}/.ecryptfs"), uid, 0o700)
            wrapped = self.path(f"/home/.ecryptfs/{name}/.ecryptfs/wrapped-passphrase")
            wrapped.write_bytes(b"wrapped")
            os.chown(wrapped, uid, uid)

    def _own(self, inside: Path, uid: int, mode: int) -> None:
        path = self.path(inside)
        path.mkdir(exist_ok=True)
        path.chmod(mode)
        os.chown(path, uid, uid)

    def write_pam(self, service: str, arguments: str = "", *, before: str = "") -> None:
        """A service of the module alone. PAM_IGNORE, which libpam would hide, comes out as IGNORED."""
        rule = f"[success=done ignore=ignore default=die] pam_pyhome.so {arguments}"
        marker = "required pam_debug.so auth=bad_item cred=bad_item acct=bad_item prechauthtok=bad_item chauthtok=bad_item"
        lines = [f"{kind} {rule}\n{kind} {marker}" for kind in ("auth", "account", "password", "session")]
        self.write_stack(service, before + "\n".join(lines) + "\n")

    def write_stack(self, service: str, text: str) -> None:
        """A PAM file, verbatim."""
        self.path(f"/etc/pam.d/{service}").write_text(text, encoding="ascii")

    def configure(self, text: str) -> None:
        """/etc/pyhome.conf."""
        self.path("/etc/pyhome.conf").write_text(text, encoding="utf-8")

    def install_worker(self, body: str) -> None:
        """A worker that speaks the protocol by hand: `body` runs behind `fake_worker.py`."""
        prelude = (HERE / "fake_worker.py").read_text(encoding="ascii")
        self.path("/usr/lib/pyhome/pyhome-worker").write_text(f"{prelude}\n\n{body}\n", encoding="utf-8")

    def worker_runs(self) -> list[str]:
        """One entry per worker that started: the phase it was asked for, or `?` before it knew."""
        try:
            return self.path("/run/worker-runs").read_text(encoding="ascii").split()
        except FileNotFoundError:
            return []

    def log(self) -> str:
        """The system log so far, with all that had been sent to it before this call."""
        assert self._init is not None
        assert self._init.stdin is not None
        assert self._init.stdout is not None
        self._init.stdin.write(b"?")
        self._init.stdin.flush()
        self._init.stdout.readline()
        return self.path("/run/log").read_text(encoding="utf-8", errors="replace")

    def records(self, *what: str) -> list[dict[str, str]]:
        """The fields of what journald has been sent so far, oldest first; of these events, by default of all."""
        self.log()
        lines = self.path("/run/records").read_bytes().splitlines()
        return [record for record in map(json.loads, lines) if not what or record["PYHOME_WHAT"] in what]

    def state(self, uid: int) -> Path:
        """The run-time directory of a user."""
        return self.path(f"/run/pyhome/{uid}")

    def leases(self, uid: int) -> list[str]:
        """The lease files of a user, dead ones included."""
        return sorted(path.name for path in self.state(uid).glob("lease.*"))

    def record_open(self, uid: int, mountpoint: str, device: int | None = None, user: str = "ada") -> None:
        """The record of an open home; by default it tells the truth."""
        device = self.path(mountpoint).stat().st_dev if device is None else device
        for directory in (self.state(uid).parent, self.state(uid)):
            directory.mkdir(mode=0o700, exist_ok=True)
        text = (
            f"backend=ecryptfs\nmountpoint={octal(mountpoint)}\ndev={os.major(device)}:{os.minor(device)}\n"
            f"source=/home/.ecryptfs\nuser={user}\nkey=12\n"
        )
        (self.state(uid) / "open").write_text(text, encoding="utf-8")

    # What happens in it

    def enter(self, arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        """The command that runs `arguments` in the machine, with this environment and no other."""
        nsenter = ["/usr/bin/nsenter", f"--target={self._pid}", *self.namespaces, "--wd=/", "--"]
        given = ENVIRONMENT | dict(environment)
        return [*nsenter, "/usr/bin/env", "-i", *(f"{name}={value}" for name, value in given.items()), *arguments]

    def run(
        self, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None, status: int | None = 0, timeout: int = 60
    ) -> str:
        """Run a command to its end; its output. Fails on another exit status or on anything the sanitizers say."""
        with open(os.devnull, "rb") as null:
            done = subprocess.run(
                self.enter(arguments, environment or {}),
                stdin=null,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
            )
        said = done.stdout + done.stderr
        assert not any(word in said for word in SERIOUS), said
        assert status is None or done.returncode == status, f"{arguments}: {done.returncode}\n{said}"
        return done.stdout

    def pam(self, service: str, user: str, *steps: str, environment: Mapping[str, str] | None = None) -> list[str]:
        """Run the steps of the test application (see `pamapp.c`); the lines it prints."""
        given = self.build.environment() | dict(environment or {})
        said = self.run(["/opt/test/pamapp", service, user, *steps], environment=given).splitlines()
        return [line for line in said if not line.endswith(MARKER)]

    def start(self, service: str, user: str, *steps: str) -> Session:
        """The test application in the background."""
        return Session(self, ["/opt/test/pamapp", service, user, *steps])


class Session:
    """A test application that runs beside the test; it goes on at each `wait` step when `go_on` is called."""

    def __init__(self, machine: Machine, arguments: Sequence[str]) -> None:
        self._machine = machine
        self._process: subprocess.Popen[str] = subprocess.Popen(
            machine.enter(arguments, machine.build.environment(leaks=False)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """The next line it prints."""
        return str(_stream(self._process.stdout).readline()).rstrip("\n")

    def go_on(self) -> None:
        """Let it pass one `wait`."""
        stream = _stream(self._process.stdin)
        stream.write("\n")
        stream.flush()

    def kill(self, pid: int) -> None:
        """SIGKILL to the process that printed `pid`, and the end of this session."""
        self._machine.run(["kill", "-KILL", str(pid)])
        self.finish()

    def finish(self) -> list[str]:
        """Wait for its end; the lines that nobody has read."""
        said, _ = self._process.communicate(timeout=60)
        return str(said).splitlines()


def _stream(stream: IO[Any] | None) -> IO[Any]:
    assert stream is not None
    return stream


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
