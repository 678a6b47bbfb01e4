"""How far a long piece of work is: a line on a terminal, which is gone when it is done; elsewhere a line now and then."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Self

import click

from pam_pyhome.admin.conversion_checks import size
from pam_pyhome.admin.conversion_progress import Course
from pam_pyhome.cli.homes_text import duration

if TYPE_CHECKING:
    from types import TracebackType

_REDRAW_SECONDS = 0.1
#: Where nobody looks, but a log may be kept.
_QUIET_SECONDS, _LOG_SECONDS = 10.0, 30.0
_BAR = 20
_USUAL_WIDTH = 80


class Bars:
    """Shows all parts of the work as one. Use as a context manager."""

    def __init__(self, size: int, files: int) -> None:
        """So many bytes and files there are to do in each part."""
        self._course = Course(size, files)
        self._terminal = sys.stderr.isatty()
        self._next = 0.0 if self._terminal else time.monotonic() + _QUIET_SECONDS
        self._shown = 0

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """Leave the terminal as it was."""
        if self._shown:
            self._draw("")
            self._draw("")

    def show(self, part: str, done: int, files: int) -> None:
        """So many bytes and files of a part are done."""
        new = part != self._course.part
        self._course.tell(part, done, files)
        if time.monotonic() < self._next and not (new and self._terminal):
            return
        if self._terminal:
            self._next = time.monotonic() + _REDRAW_SECONDS
            width = _width() - 1  # whatever is in the last column may begin a new line
            self._draw(next((line for line in lines(self._course) if len(line) <= width), ""))
        else:
            self._next = time.monotonic() + _LOG_SECONDS
            click.echo(lines(self._course)[-2], err=True)

    def _draw(self, line: str) -> None:
        """In the place of the line before, with nothing that a simple terminal does not know."""
        sys.stderr.write("\r" + line.ljust(self._shown)[: max(len(line), _width() - 1)])
        sys.stderr.flush()
        self._shown = len(line)


def lines(course: Course) -> list[str]:
    """How far it is, in fewer and fewer words."""
    percent, seconds = f"{course.percent} %", course.seconds_left
    left = f", {duration(seconds)} left" if seconds is not None else ""
    full = _BAR * course.percent // 100
    bar = f"[{'#' * full}{' ' * (_BAR - full)}]"
    amount = f"{size(course.done)} of {size(course.size)}"
    files = f"{course.files_done}/{course.files} files"
    return [
        f"{course.part} {percent} {bar} {amount}, {files}, {size(int(course.rate))}/s{left}",
        f"{course.part} {percent} {bar} {amount}{left}",
        f"{course.part} {percent} {amount}{left}",
        f"{course.part} {percent}{left}",
        f"{percent}{left}",
    ]


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL_WIDTH
    except (OSError, ValueError):
        return _USUAL_WIDTH
