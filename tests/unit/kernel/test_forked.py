"""Tests of work that is waited for so long and no longer."""

from __future__ import annotations

import os
import signal
import time

from pam_pyhome.kernel.forked import said_by


def _says_and_hangs(out: int) -> None:
    os.write(out, b"the first")
    time.sleep(60)
    os.write(out, b"and the rest")


def _floods(out: int) -> None:
    while True:
        os.write(out, bytes(4096))


def _fails(out: int) -> None:
    os.write(out, b"so far")
    raise ValueError


def test_what_was_said_in_time_counts() -> None:
    start = time.monotonic()
    assert said_by(_says_and_hangs, seconds=0.2, most=4096) == b"the first"
    assert time.monotonic() - start < 1


def test_bounds() -> None:
    assert len(said_by(_floods, seconds=5, most=10000)) == 10000
    assert said_by(_fails, seconds=5, most=4096) == b"so far"


def test_the_child_holds_nothing_open() -> None:
    """A lock that its parent gives up is free, whatever becomes of the child."""
    kept = os.open("/dev/null", os.O_RDONLY)

    def look(out: int) -> None:
        try:
            os.fstat(kept)
        except OSError:
            os.write(out, b"closed")

    kept = os.dup2(kept, 50)
    try:
        assert said_by(look, seconds=5, most=4096) == b"closed"
    finally:
        os.close(kept)


def test_where_dead_children_are_ignored() -> None:
    """As in a program that has told the kernel so and then loads the module."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert said_by(os.close, seconds=5, most=10) == b""
        assert said_by(_says_and_hangs, seconds=0.1, most=4096) == b"the first"
    finally:
        signal.signal(signal.SIGCHLD, before)
