"""Users have their own keys carried to the layout, without root and nobody else's."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.sshd.harness import ADA, BOB

if TYPE_CHECKING:
    from tests.sshd.full import FullMachine


def as_user(machine: FullMachine, uid: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `pyhome …` as one of them."""
    identity = ["/usr/bin/setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    command = machine.enter([*identity, "/usr/bin/pyhome", *arguments], {"HOME": "/root"})
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.guarantee(5)
def test_everybody_carries_their_own_keys_and_no_others(full: FullMachine) -> None:
    """Also without an encrypted home, from which no session's end would carry them."""
    for user in ("ada", "bob"):
        full.authorize(user, full.line)
    with full.daemon():
        refused = as_user(full, BOB, "sshd", "sync")
        assert refused.returncode == 18
        assert "0-pyhome.conf: is not in place" in refused.stderr
        full.pyhome("apply", "--yes")
        for user in ("ada", "bob"):
            full.authorize(user, b"ssh-rsa damaged\n")
        done = as_user(full, BOB, "sshd", "sync")
        assert (done.returncode, done.stdout) == (0, "bob: sshd has your keys as they are now\n"), done
        assert "/home/bob/.ssh/authorized_keys:1: " in done.stderr
        assert full.laid_out("bob") is None
        assert full.laid_out("ada") is not None
        again = as_user(full, BOB, "sshd", "sync", "bob")
        assert (again.returncode, again.stdout) == (0, "bob: nothing to change\n")
        others = as_user(full, BOB, "sshd", "sync", "--json", "ada")
        assert (others.returncode, "NotAllowedError" in others.stdout + others.stderr) == (42, True), others
        for verb in (["plan"], ["apply", "--yes"], ["check"], ["revert", "--yes"]):
            assert as_user(full, BOB, "sshd", *verb).returncode == 42
        assert full.laid_out("ada") is not None
        _, line = full.new_key("copied")
        full.authorize("ada", line)
        assert '"path": "/etc/ssh/authorized_keys.d/ada"' in as_user(full, ADA, "sshd", "sync", "--json").stdout
        assert (full.laid_out("ada") or b"").endswith(line)
        full.configure("sshd_sync_off = ada\n")
        off = as_user(full, ADA, "sshd", "sync")
        assert (off.returncode, "syncing is switched off" in off.stderr) == (18, True)
    assert "DaemonError" in as_user(full, ADA, "sshd", "sync", "--json").stdout


def test_a_locked_home_is_said_and_what_is_in_the_way_is_not_followed(full: FullMachine) -> None:
    full.authorize("ada", full.line)
    full.authorize("bob", full.line)
    full.pyhome("apply", "--yes")
    held = full.laid_out("bob")
    keys = full.path("/home/bob/.ssh/authorized_keys")
    with full.daemon():
        done = as_user(full, ADA, "sshd", "sync")
        assert done.returncode == 0
        assert "locked" in done.stderr
        keys.unlink()
        keys.symlink_to("/etc/shadow")
        done = as_user(full, BOB, "sshd", "sync")
        assert (done.returncode, "is a link" in done.stderr) == (0, True), done
        keys.unlink()
        os.mkfifo(keys)
        assert as_user(full, BOB, "sshd", "sync").returncode == 0
        full.path("/usr/lib/pyhome/pyhome-sync").write_text("#!/bin/sh\nkill -SEGV $$\n", encoding="ascii")
        assert as_user(full, BOB, "sshd", "sync").returncode == 18
    assert full.laid_out("bob") == held
