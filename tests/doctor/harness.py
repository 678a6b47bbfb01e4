"""A machine with the PAM files of a distribution, on which everything of pyhome is in order."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pam_pyhome.formats import pam_stack
from tests.login.homes import pyhomed, wrap
from tests.pam.harness import ENVIRONMENT, MODULES, Build, eventually
from tests.sshd.full import CONFIG_DIRECTORY, FullMachine

if TYPE_CHECKING:
    from collections.abc import Mapping

TREES = Path(__file__).parent / "trees"
PYHOME = ["/usr/bin/python3", "-I", "-B", "/usr/bin/pyhome"]
STATE = Path("/var/lib/pyhome/setup")
#: Modules that a distribution's rules name but its usual installation does not have.
ABSENT = {
    "debian12": {"pam_systemd_home.so", "pam_kwallet5.so"},
    "debian13": {"pam_systemd_home.so", "pam_kwallet5.so"},
    "arch": {"pam_gnome_keyring.so", "pam_kwallet5.so"},
    "fedora": {"pam_fprintd.so"},
}
#: What the real files of /proc and /sys are replaced by: a machine as it should be.
KERNEL = {
    "/proc/filesystems": "nodev\tproc\n\text4\nnodev\tecryptfs\n",
    "/proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu sse2 aes avx\n\n",
    "/proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
    "/proc/sys/fs/suid_dumpable": "0\n",
    "/proc/sys/kernel/core_pattern": "core\n",
}


def tree(name: str) -> dict[str, str]:
    """The PAM files of a distribution, content by path."""
    files: dict[str, str] = {}
    path = ""
    for line in (TREES / f"{name}.pam").read_text(encoding="ascii").splitlines(keepends=True):
        if line.startswith("== "):
            path = line[3:].strip()
            files[path] = ""
        elif line.strip():
            files[path] += line
    return files


def without_pyhome(files: Mapping[str, str]) -> dict[str, str]:
    """The same files before anybody has put our lines in."""
    return {
        path: "".join(line for line in text.splitlines(keepends=True) if "pam_pyhome" not in line)
        for path, text in files.items()
    }


class DoctorMachine(FullMachine):
    """Use as a context manager. `name` is one of the trees."""

    def __init__(self, base: Path, build: Build, name: str = "debian12") -> None:
        super().__init__(base, build)
        self.name = name

    def install(self, root: Path) -> None:
        """A copy of what was installed and compiled once."""
        staged = self.build.module.parent / "staged"
        if not staged.exists():
            super().install(staged)
            compileall.compile_dir(staged / "usr/lib/pyhome", quiet=1, stripdir=str(staged), prependdir="/")
        subprocess.run(["cp", "-a", "--no-preserve=ownership", f"{staged}/.", str(root)], check=True)

    def _furnish(self) -> None:
        super()._furnish()
        for path, text in KERNEL.items():
            self.over(path, text)
        self.set_pam(tree(self.name))
        # A recovery key, which is nobody's password.
        key = self.path(CONFIG_DIRECTORY) / "recovery-wrapped-passphrase"
        wrap(key, b"recovery key")
        key.chmod(0o600)
        self.start_daemon()
        self.add("/etc/shells", "/usr/lib/pyhome/pyhome-shell\n")
        self.path("/home/ada").chmod(0o500)

    def start_daemon(self) -> None:
        """Pyhomed, which ends with the machine."""
        subprocess.run(self.enter(["/usr/bin/setsid", "--fork", *pyhomed()], {}), stdin=subprocess.DEVNULL, check=True)
        assert eventually(self.path("/run/pyhome-unlock.sock").exists)

    # Planting

    def over(self, path: str, text: str) -> None:
        """Have a file of the kernel read otherwise."""
        stand_in = self.path("/mnt") / path.strip("/").replace("/", "-")
        fresh = not stand_in.exists()
        stand_in.write_text(text, encoding="ascii")
        if fresh:
            self.run(["/bin/mount", "--bind", f"/mnt/{stand_in.name}", path])

    def set_pam(self, files: Mapping[str, str]) -> None:
        """These PAM files and no others, and the modules that they name."""
        for directory in ("/etc/pam.d", "/usr/lib/pam.d"):
            shutil.rmtree(self.path(directory), ignore_errors=True)
            self.path(directory).mkdir()
        for path, text in files.items():
            self.path(path).write_text(text, encoding="ascii")
        rules = [rule for path, text in files.items() for rule in pam_stack.parse(text, path)]
        for name in {rule.target for rule in rules if not rule.includes}:
            module = self.path(MODULES / name)
            if name in ABSENT[self.name]:
                module.unlink(missing_ok=True)
            elif not module.exists():
                module.touch()

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a part of a file."""
        text = self.path(path).read_text(encoding="utf-8")
        assert old in text, text
        self.path(path).write_text(text.replace(old, new, 1), encoding="utf-8")

    def add(self, path: str, text: str) -> None:
        """Append to a file, which is made if need be."""
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        with self.path(path).open("a", encoding="utf-8") as file:
            file.write(text)

    # Running

    def command(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run `pyhome …` as it is installed."""
        command = self.enter([*PYHOME, *arguments], ENVIRONMENT)
        if stdin is None:
            return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
        return subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)

    def said(self, *arguments: str, status: int = 0) -> str:
        """Run `pyhome …`; what it printed, both kinds."""
        ran = self.command(*arguments)
        said = (ran.stdout + ran.stderr).decode("utf-8", "surrogateescape")
        assert ran.returncode == status, f"{ran.returncode}\n{said}"
        assert "Traceback" not in said, said
        return said

    def doctor(self, *arguments: str) -> dict[str, Any]:
        """What `pyhome doctor --json` says; its exit status fits."""
        ran = self.command("doctor", "--json", *arguments)
        assert ran.stdout, ran.stderr
        described: dict[str, Any] = json.loads(ran.stdout)
        assert ran.returncode == {"ok": 0, "warn": 1, "fail": 2}[described["verdict"]], ran.stderr
        return described

    def complaints(self, *arguments: str) -> list[dict[str, str]]:
        """Only what is not as it should be."""
        return [each for each in self.doctor(*arguments)["findings"] if each["level"] in {"warn", "fail"}]

    def snapshot(self, *tops: str) -> dict[str, tuple[int, int, int, bytes | str | None]]:
        """Owner, group, mode and content or target of everything below directories."""
        found: dict[str, tuple[int, int, int, bytes | str | None]] = {}
        for top in tops:
            root = self.path(top)
            for path in [root, *sorted(root.rglob("*"))] if root.exists() else []:
                status = path.lstat()
                content: bytes | str | None = None
                if path.is_symlink():
                    content = os.readlink(path)
                elif path.is_file():
                    content = path.read_bytes()
                found[top + str(path)[len(str(root)) :]] = (status.st_uid, status.st_gid, status.st_mode, content)
        return found


