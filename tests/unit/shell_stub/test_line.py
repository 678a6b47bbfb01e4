"""What becomes of keys at the prompt."""

from __future__ import annotations

import os
import termios

import pytest

from pam_pyhome.shell_stub.line import Line


def typed(keys: bytes) -> list[bytes]:
    """The answers, with the settings that a new terminal has; b"EOF" for the end of input."""
    keeper, fd = os.openpty()
    modes = termios.tcgetattr(fd)
    os.close(fd)
    os.close(keeper)
    line, found = Line(modes), []
    for key in keys:
        try:
            answer = line.key(bytes((key,)))
        except EOFError:
            answer = bytearray(b"EOF")
        if answer is not None:
            found.append(bytes(answer))
            line = Line(modes)
    return found


@pytest.mark.parametrize(
    ("keys", "answers"),
    [
        (b"secret\n", [b"secret"]),
        (b"\n", [b""]),
        (b"secrex\x7ft\n", [b"secret"]),
        (b"secrex\x08t\n", [b"secret"]),
        ("grün\x7f\x7fün\n".encode(), ["grün".encode()]),
        ("ü\x7f\x7f\x7fa\n".encode(), [b"a"]),
        (b"all wrong\x15right\n", [b"right"]),
        (b"two words \x17x\n", [b"two x"]),
        (b"\x04", [b"EOF"]),
        (b"half\x04", [b"half"]),
        (b"a\x16\x04\x16\nb\n", [b"a\x04\nb"]),
        (b"x" * 512 + b"\n", [b"x" * 512]),
        (b"x" * 513 + b"\n", [b""]),
        (b"x" * 513 + b"\x7f\n", [b"x" * 512]),
        (b"x" * 9000 + b"\nnext\n", [b"", b"next"]),
        (b"x" * 9000 + b"\x17\nnext\n", [b"", b"next"]),
    ],
)
def test_keys(keys: bytes, answers: list[bytes]) -> None:
    assert typed(keys) == answers
