"""Users whom the name service knows and does not list, as those of sssd."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sshd.harness import SshdMachine

KAY = 61077
HOME = "/home/corp.example/kay"


def test_their_keys_are_laid_out_too(served: SshdMachine) -> None:
    source = Path(__file__).with_name("nss_unlisted.c")
    library = next(Path("/usr/lib").glob("*-linux-gnu")) / "libnss_unlisted.so.2"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(served.path(library)), str(source)], check=True)
    served.path("/etc/nsswitch.conf").write_text("passwd: files unlisted\ngroup: files\nshadow: files\n", encoding="ascii")
    assert str(KAY) not in served.run(["getent", "passwd"])
    home = served.path(HOME)
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/authorized_keys").write_bytes(served.line)
    for path in (home, home / ".ssh", home / ".ssh/authorized_keys"):
        os.chown(path, KAY, KAY)
        path.chmod(0o700)
    said = served.pyhome("apply", "--yes")
    assert served.line in (served.laid_out("kay") or b""), said
    served.run(["/bin/mount", "-t", "tmpfs", "-o", f"mode=0500,uid={KAY},gid={KAY}", "locked", HOME])
    served.start_sshd()
    assert served.lets_in("kay", served.key)
    served.pyhome("apply", "--yes", "--prune")
    assert served.laid_out("kay") is not None
