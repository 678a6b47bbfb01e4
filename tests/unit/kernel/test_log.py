"""What reaches the log is one line, whatever was in it."""

from __future__ import annotations

import syslog

import pytest

from pam_pyhome.kernel.log import WARNING, log


@pytest.mark.parametrize("evil", ["\n", "\r", "\0", "\x1b[2J", "\u2028", "\u202e", "\udc80"])
def test_nothing_in_a_line_makes_another(monkeypatch: pytest.MonkeyPatch, evil: str) -> None:
    written: list[tuple[int, str]] = []
    monkeypatch.setattr(syslog, "syslog", lambda priority, line: written.append((priority, line)))
    log(WARNING, f"uid 1: /home/ada/{evil}Nov 25 sshd: it was root{'x' * 100000}")
    ((priority, line),) = written
    assert priority == syslog.LOG_WARNING
    assert line.isprintable()
    assert line.startswith("uid 1: /home/ada/?")
    assert len(line) < 5000, "what is too long for the socket of the log is lost"
