"""A test machine that has the disks of a dead one: `/mnt/old` is its root file system, and `/mnt/old/home` that of its homes."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from tests.create.machine import PASSWORD, PYHOME, CreateMachine, recovery_key
from tests.fscrypt.homes import mount_image

if TYPE_CHECKING:
    from pathlib import Path

OLD = "/mnt/old"
ADA, BOB = f"{OLD}/home/ada", f"{OLD}/home/bob"
BOBS = 61002


class SalvageMachine(CreateMachine):
    """Homes of the dead machine: ada's was made by `pyhome create`, bob's by the real `fscrypt`. Here are no such users."""

    recovery = ""

    def bury(self, image: Path) -> None:
        """Make the homes, then take everything away from this machine but the two disks."""
        self.recovery = recovery_key(self.create("ada"))
        self.log_in(PASSWORD, "sh=ada:echo dear > /home/ada/letter; mkdir /home/ada/deep; cp /bin/true /home/ada/deep")
        self.add_fscrypt_home("bob", BOBS, PASSWORD)
        self.run(["umount", "/home"])
        self.run(["install", "-d", "-m", "700", "/mnt"])
        mount_image(self, image, OLD)
        for directory in (f"{OLD}/home", f"{OLD}/var/lib", "/srv"):
            self.path(directory).mkdir(parents=True, exist_ok=True)
        self.run(["mount", "-o", "loop", f"/srv/{image.name}-home", f"{OLD}/home"])
        self.run(["cp", "-a", "/.fscrypt", OLD])
        self.run(["cp", "-a", "/var/lib/pyhome", f"{OLD}/var/lib"])
        self.run(["rm", "-r", "/.fscrypt", "/var/lib/pyhome"])
        for name in ("ada", "bob"):
            self.run(["sed", "-i", f"/^{name}:/d", "/etc/passwd", "/etc/shadow", "/etc/group"])

    def recover(self, *arguments: str, said: bytes = b"", status: int = 0) -> str:
        """Run `pyhome recover`; what it prints, errors included."""
        done = self.ran(PYHOME, "recover", *arguments, said=said + b"\n")
        text = (done.stdout + done.stderr).decode()
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{text}"
        assert "Traceback" not in text, text
        return text

    def opens(self, path: str, secret: bytes | str, *arguments: str) -> str:  # type: ignore[override]  # another machine's homes
        """Open a home with what is typed; the directory where it is open."""
        said = secret if isinstance(secret, bytes) else secret.encode()
        shown = self.recover("--json", "--password-file", "-", *arguments, path, said=said)
        return str(json.loads(shown)["opened"]["directory"])

    def refuses_to(self, *arguments: str, status: int, said: bytes = b"") -> str:
        """A run that fails in one line and leaves nothing behind; the line."""
        line = self.recover(*arguments, said=said, status=status)
        assert line.startswith("pyhome recover: "), line
        assert line.count("\n") == 1, line
        assert self.left() == [], line
        return line

    def close(self, directory: str) -> None:
        """Close what is open at a directory, and see that nothing is left of it."""
        self.recover("--close", directory)
        assert self.left() == []

    def left(self) -> list[str]:
        """What there is of homes that are open: mounts, records, keys, directories."""
        mounts = self.run(["cat", "/proc/self/mountinfo"]).splitlines()
        found = [line for line in mounts if line.split()[4].startswith(("/run/pyhome-recover/", "/root/"))]
        base = self.path("/run/pyhome-recover")
        found += [path.name for path in [*base.glob("*"), *base.glob(".open/*")] if path.name not in {".open", "lock"}]
        return found + [f"{path} is unlocked" for path in (ADA, BOB) if self.is_unlocked(path)]

    def is_unlocked(self, path: str) -> bool:
        """Whether the kernel has the key of a home, as the names in it show."""
        return any(name in {"letter", "secret", ".profile"} for name in self.run(["ls", "-A", path]).split())

    def parsed(self, *arguments: str, status: int = 0, said: bytes = b"") -> Any:  # noqa: ANN401 - JSON is anything
        """What `--json` prints on the standard output."""
        done = self.ran(PYHOME, "recover", "--json", *arguments, said=said + b"\n")
        assert done.returncode == status, done
        return json.loads(done.stdout)

    def try_to(self, script: str) -> subprocess.CompletedProcess[bytes]:
        """Run a shell script in the machine."""
        return self.ran("/bin/sh", "-c", script, said=b"")
