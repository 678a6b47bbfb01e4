"""Nobody but root gets to a copy of a home, and what copies it cannot be led out of it, whatever the user does meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.create.machine import PASSWORD
from tests.encrypt import watched
from tests.encrypt.machine import EncryptMachine

pytestmark = pytest.mark.root

SCRIPT = str(Path(watched.__file__))
#: As naive as no rsync has ever been: it follows links that somebody puts in its way, on both sides, and says what came of it.
NAIVE = """#!/bin/sh
eval "source=\\${$(($# - 1))} target=\\${$#}"
exec 3>&2 2>"$target/complaints"
ln -s /etc "$target/a"; ln -s ../../../../../etc "$target/b"; ln -s /home/ada "$target/c"
for name in a b c; do echo evil >"$target/$name/hosts" && echo "wrote $name"; done >>"$target/said"
for path in a/shadow b/shadow c/../../etc/shadow; do cat "$source/$path"; done >>"$target/said"
cat "$source/null" && echo opened a device >>"$target/said"
{ echo /*; echo /home/*; } >>"$target/said"
tr '\\n' ' ' <"$target/said" >&3
exit 11
"""


@pytest.mark.guarantee(16)
def test_the_other_copy_is_roots_alone_at_every_moment(machine: EncryptMachine) -> None:
    machine.add_plain()
    for verb in ("encrypt", "decrypt"):
        arguments = [SCRIPT, "/home/.pyhome-converting.ada", verb, "--yes", "--password-file", "-", "ada"]
        said = machine.ran("/usr/bin/python3", "-I", "-B", *arguments, said=PASSWORD + b"\n").stdout.decode()
        assert said.splitlines()[-1] == "modes=['0:700']"


@pytest.mark.guarantee(16)
def test_links_lead_nowhere_while_it_copies(machine: EncryptMachine) -> None:
    home = machine.add_plain()
    for name, target in (("a", "/etc"), ("b", "../../etc"), ("c", "/home/ada")):
        (home / name).symlink_to(target)
    (home / "null").symlink_to("/dev/null")
    rsync = machine.path("/usr/bin/rsync")
    rsync.unlink()
    rsync.write_text(NAIVE, encoding="ascii")
    rsync.chmod(0o755)
    hosts = machine.read("/etc/hosts")
    said = machine.convert("encrypt", "ada", status=72)
    seen = said.partition("copying failed: ")[2].partition("; when")[0].split()
    top = {"/usr", "/home", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}
    assert {"/usr", "/home"} <= set(seen) <= top | {"/home/ada", "/home/*"}, said
    assert machine.read("/etc/hosts") == hosts
    assert not (home / "hosts").exists()
