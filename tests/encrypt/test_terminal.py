"""At a terminal: the question before anything changes, the password without echo, progress while it copies, Ctrl-C."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from tests.create.machine import PASSWORD, PYHOME
from tests.encrypt.machine import EncryptMachine, state

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root

LIMITED = '#!/bin/sh\nexec /usr/bin/rsync.real --bwlimit=4000 "$@"\n'


def start(machine: EncryptMachine, *arguments: str) -> pexpect.spawn:
    command = machine.enter(["/usr/bin/setsid", "--wait", "--ctty", PYHOME, *arguments], {"TERM": "xterm", "COLUMNS": "120"})
    return pexpect.spawn(command[0], command[1:], timeout=30, dimensions=(24, 120))


def slow(machine: EncryptMachine) -> Path:
    """A home that takes seconds to copy."""
    home = machine.add_plain()
    for number in range(30):
        (home / f"bulk {number}").write_bytes(os.urandom(200_000))
    rsync = machine.path("/usr/bin/rsync")
    rsync.rename(rsync.with_name("rsync.real"))
    rsync.write_text(LIMITED, encoding="ascii")
    rsync.chmod(0o755)
    return home


def test_asked_and_shown(machine: EncryptMachine) -> None:
    slow(machine)
    for answer, status in ((b"n", 1), (b"y", 0)):
        terminal = start(machine, "encrypt", "ada")
        terminal.expect_exact(b"ada: encrypt /home/ada with fscrypt")
        terminal.expect_exact(b"Encrypt the home of ada? [y/N]: ")
        terminal.sendline(answer)
        if status == 0:
            terminal.expect_exact(b"Login password of ada: ")
            terminal.sendline(PASSWORD)
            terminal.expect_exact(b"It opens the home whatever becomes of the password:")
            terminal.expect(rb"copying.*MB.* files.*MB/s")
            terminal.expect(rb"verifying")
            terminal.expect_exact(b"ada: /home/ada is encrypted with fscrypt")
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == status, terminal.before
        assert machine.is_encrypted() == (status == 0)


def test_interrupted_while_it_copies(machine: EncryptMachine) -> None:
    home = slow(machine)
    before = state(home)
    terminal = start(machine, "encrypt", "--yes", "ada")
    terminal.expect_exact(b"Login password of ada: ")
    terminal.sendline(PASSWORD)
    terminal.expect(rb"copying.*MB/s")
    terminal.sendintr()
    terminal.expect_exact(b"ada: interrupted; the home is as it was, 'pyhome encrypt --resume ada' goes on")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    assert state(home) == before
    assert machine.run(["pgrep", "-f", "bwlimit"], status=None) == ""
    machine.convert("encrypt", "--resume", "ada")
    assert machine.open_state() == before
