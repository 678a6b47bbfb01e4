"""A test machine on which `pyhome create` runs, with skeleton files, and what there is to see of what it did."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fscrypt.homes import FscryptMachine
from tests.pam.harness import ENVIRONMENT, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping

PYHOME = "/usr/bin/pyhome"
PASSWORD = b"correct horse"
KILLED = -9


class CreateMachine(FscryptMachine):
    """`/home` can encrypt, users begin at uid 1000, and a new home has two files in it."""

    def furnish_create(self) -> None:
        """The command, and /etc/skel."""
        shutil.copy(REPOSITORY / "packaging/files/pyhome", self.path(PYHOME))
        self.path(PYHOME).chmod(0o755)
        shutil.rmtree(self.path("/etc/skel"))
        (self.path("/etc/skel") / ".config").mkdir(parents=True)
        (self.path("/etc/skel") / ".profile").write_text("# from the skeleton\n", encoding="ascii")
        (self.path("/etc/skel") / ".config/begun").write_text("a file\n", encoding="ascii")
        self.write_stack("unix", "auth required pam_unix.so nodelay\n")

    def ran(
        self, *arguments: str, said: bytes = PASSWORD + b"\n", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command with its standard input; how it ended."""
        command = self.enter(arguments, ENVIRONMENT | dict(environment or {}))
        return subprocess.run(command, input=said, capture_output=True, timeout=120)

    def create(self, *arguments: str, said: bytes = PASSWORD + b"\n", status: int = 0) -> str:
        """Run `pyhome create` with a password from the standard input; what it prints, errors included."""
        source = () if "--password-file" in arguments else ("--password-file", "-")
        done = self.ran(PYHOME, "create", *source, *arguments, said=said)
        text = (done.stdout + done.stderr).decode()
        assert done.returncode == status, f"{done.returncode}\n{text}"
        assert "Traceback" not in text, text
        return text

    def refuses(self, *arguments: str, status: int = 30, said: bytes = PASSWORD + b"\n") -> str:
        """Run `pyhome create`, which fails, prints one line and changes nothing; the line."""
        before = self.state_of_things()
        line = self.create(*arguments, said=said, status=status)
        assert line.startswith("pyhome create: ")
        assert line.count("\n") == 1
        assert self.state_of_things() == before
        return line

    def state_of_things(self) -> dict[str, object]:
        """All that a run that fails must leave as it was; what locked homes contain has no content."""
        found: dict[str, object] = {}
        for top in ("/home", "/.fscrypt"):
            for path in sorted(self.path(top).rglob("*")):
                status = path.lstat()
                found[str(path)] = (status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_size)
        for name in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid", "fscrypt.conf"):
            path = self.path(f"/etc/{name}")
            found[f"/etc/{name}"] = path.read_bytes() if path.is_file() else None
        return found

    def metadata(self) -> dict[str, list[str]]:
        """The files that fscrypt would look at, and what is beside them that should not be."""
        places = ("/.fscrypt", "/.fscrypt/policies", "/.fscrypt/protectors")
        both = [*places, *("/home" + place for place in places)]
        return {place: sorted(path.name for path in self.path(place).iterdir()) for place in both if self.path(place).is_dir()}

    def has_account(self, name: str = "ada") -> bool:
        """Whether there is a line in /etc/passwd."""
        return any(line.startswith(f"{name}:") for line in self.path("/etc/passwd").read_text(encoding="utf-8").splitlines())

    def leftovers(self) -> list[str]:
        """What no run that came to its end leaves."""
        found = [str(path) for path in self.path("/home").glob(".pyhome*")]
        found += [str(path) for path in self.path("/home/.ecryptfs").glob(".pyhome*")]
        found += [str(path) for path in self.path("/var/lib/pyhome/creating").glob("[!.]*")]
        return found + [f"{where}/{name}" for where, names in self.metadata().items() for name in names if "pyhome" in name]

    def read(self, inside: str) -> str:
        """A file of the machine."""
        return Path(self.path(inside)).read_text(encoding="utf-8")


def recovery_key(said: str) -> str:
    """The key among what `pyhome create` printed."""
    (line,) = [line.strip() for line in said.splitlines() if line.startswith("    ")]
    return line
