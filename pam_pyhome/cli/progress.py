"""How far a long piece of work is: bytes, files, rate and time left, on a terminal only, and gone when it is done."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID


class Bars:
    """One bar for each part of the work. Use as a context manager. Where nobody looks, nothing is shown."""

    def __init__(self, size: int, files: int) -> None:
        """So many bytes and files there are to do in each part."""
        self._size = size
        self._files = files
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Begin to show."""
        if sys.stderr.isatty():
            self._progress = _make()
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """Leave the terminal as it was."""
        if self._progress is not None:
            self._progress.stop()

    def show(self, part: str, done: int, files: int) -> None:
        """So many bytes and files of a part are done."""
        if self._progress is None:
            return
        if part not in self._tasks:
            self._tasks[part] = self._progress.add_task(part, total=max(self._size, 1), files=0, all=self._files)
        self._progress.update(self._tasks[part], completed=min(done, self._size), files=min(files, self._files))


def _make() -> Progress:
    from rich.console import Console  # noqa: PLC0415 - takes a tenth of a second, for this alone
    from rich.progress import (  # noqa: PLC0415 - as above
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    files = TextColumn("{task.fields[files]}/{task.fields[all]} files")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), files, TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
