"""What is sent to the log: fields that nothing in a value can forge, one line for people, and never a wait."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from pam_pyhome import events
from pam_pyhome.kernel import log as module
from pam_pyhome.kernel.log import Person, log
from tests.pam.machine_init import fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def listener(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(path))
    listening.settimeout(1)
    return listening


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(module, "JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setattr(module, "SYSLOG", str(tmp_path / "syslog"))
    monkeypatch.setattr(module, "_patience", [0.1])
    with listener(tmp_path / "journal") as listening:
        yield listening


@pytest.mark.parametrize("evil", ["\n", "\r", "\0", "\x1b[2J", "\u2028", "\u202e", "\udc80", "=\nUSER=root\n"])
def test_nothing_in_a_value_makes_another_line_or_field(journal: socket.socket, evil: str) -> None:
    whose = Person(f"a{evil}", 1001, f"/home/{evil}x")
    log(events.STAYS_OPEN, f"pid 1 ({evil}Nov 25 sshd: it was root{'ü' * 100000}", whose, service="sshd")
    record = fields(journal.recv(1 << 20))
    assert record["MESSAGE"].isprintable()
    assert record["MESSAGE"].startswith("sshd: user a")
    assert record["PYHOME_WHY"].isprintable()
    assert max(len(value.encode("utf-8", "surrogateescape")) for value in record.values()) < 4096, "journalctl leaves more out"
    assert {"USER": f"a{evil}", "UID": "1001", "HOME": f"/home/{evil}x"}.items() <= record.items()
    assert {"PYHOME_WHAT": "stays-open", "MESSAGE_ID": events.STAYS_OPEN.id, "PRIORITY": "5"}.items() <= record.items()
    assert not any(name.startswith("_") for name in record), "those are for journald to say"


def test_without_journald_it_is_a_line_to_syslog(journal: socket.socket, tmp_path: Path) -> None:
    os.unlink(module.JOURNAL)
    log(events.LOCKED, "nobody listens")
    with listener(tmp_path / "syslog") as syslog:
        log(events.LOCKED, "the last\nsession has ended", Person("ada", 1001))
        line = syslog.recv(65536).decode()
    assert line.startswith("<85>")
    assert line.endswith(f" pyhome[{os.getpid()}]: user ada: locked the home: the last?session has ended")


def test_a_log_that_nobody_reads_is_waited_for_once(journal: socket.socket) -> None:
    began = time.monotonic()
    for _ in range(400):
        log(events.LOCKED, "x" * 4000)
    assert time.monotonic() - began < 2
