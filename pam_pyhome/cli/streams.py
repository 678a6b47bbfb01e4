"""The three standard streams, whatever they are: closed, full, or a pipe that nobody reads any more."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

    from typing_extensions import Buffer

_INPUT, _OUTPUT, _ERRORS = range(3)


class OutputError(Exception):
    """The standard output cannot be written: the `reason`, and in `more` what became of what was to be done.

    It is no OSError, so that nobody takes it for one about a home.
    """

    def __init__(self, reason: str, more: str = "'pyhome status' tells what was done") -> None:
        """Keep the reason."""
        super().__init__(f"the standard output cannot be written: {reason}; send it somewhere else, {more}")
        self.reason = reason


class _Output(io.FileIO):
    """A stream that says once that it cannot be written, and then swallows what is left over, as at the end of the program."""

    def __init__(self, number: int, *, silent: bool) -> None:
        """`silent`: there is nobody to tell."""
        super().__init__(number, "wb", closefd=False)
        self._silent = silent
        self._dead = False

    def write(self, data: Buffer, /) -> int:
        """As of `io.RawIOBase`. OutputError."""
        if self._dead:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self._dead = True
            if self._silent:
                return memoryview(data).nbytes
            raise OutputError(error.strerror or str(error)) from None


def prepare() -> None:
    """Have all three, so that no file that is opened later takes the place of one that is closed, and say so if one is full."""
    for number, flags in ((_INPUT, os.O_RDONLY), (_OUTPUT, os.O_RDONLY), (_ERRORS, os.O_RDWR)):
        try:
            os.fstat(number)
        except OSError:
            # What is opened gets the lowest number that is free. A standard output that can only be read cannot be written.
            os.open(os.devnull, flags)
            os.set_inheritable(number, True)  # noqa: FBT003 - it has no name
    sys.stdin = sys.stdin or io.TextIOWrapper(io.BufferedReader(io.FileIO(_INPUT, closefd=False)))
    sys.stdout = _text(_OUTPUT, sys.stdout, silent=False)
    sys.stderr = _text(_ERRORS, sys.stderr, silent=True)


def _text(number: int, before: TextIO | None, *, silent: bool) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    # A name that the terminal's encoding does not have is shown all the same.
    binary = io.BufferedWriter(_Output(number, silent=silent))
    return io.TextIOWrapper(binary, encoding=encoding, errors="backslashreplace", line_buffering=True)
