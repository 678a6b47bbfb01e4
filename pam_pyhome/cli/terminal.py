"""Secrets from the terminal or the standard input, results to the standard output; all of them bytes, whatever they encode."""

from __future__ import annotations

import os
import sys
import termios

from pam_pyhome.cli.streams import OutputError

LINE_MAX = 4096
_INPUT = 0
_OUTPUT = 1


class Secrets:
    """Where passphrases come from, one line each.

    With `ask`, and a terminal as standard input, each is asked for there, without echo, and what is printed does not mix
    with the results. Otherwise they are the lines of the standard input.
    """

    def __init__(self, *, ask: bool) -> None:
        """Choose the source; nothing is read yet."""
        self._ask = ask and os.isatty(_INPUT)

    def next(self, prompt: str) -> bytes:
        """The next passphrase; `prompt` is shown with a colon and a space. An end of input reads as an empty one."""
        line = ask(prompt) if self._ask else sys.stdin.buffer.readline(LINE_MAX)
        return line.removesuffix(b"\n")


def ask(prompt: str, *, shown: bool = False) -> bytes:
    """What is typed at the terminal, `shown` or without echo, with the end of its line. OSError if there is no terminal."""
    fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        before = termios.tcgetattr(fd)
        silent = [*before[:3], before[3] if shown else before[3] & ~termios.ECHO, *before[4:]]
        try:
            termios.tcsetattr(fd, termios.TCSAFLUSH, silent)
            os.write(fd, prompt.encode() + b": ")
            return os.read(fd, LINE_MAX)
        finally:
            termios.tcsetattr(fd, termios.TCSAFLUSH, before)
            if not shown:
                os.write(fd, b"\n")
    finally:
        os.close(fd)


def emit(line: bytes) -> None:
    """Print one line. OutputError if it cannot be written as a whole."""
    rest = memoryview(line + b"\n")
    try:
        while rest:
            rest = rest[os.write(_OUTPUT, rest) :]
    except OSError as error:
        raise OutputError(error.strerror or str(error)) from None
