"""What a process that was forked off says to the one that waits for it: how far it is, and what goes wrong."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pam_pyhome import errors
from pam_pyhome.errors import PyhomeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.admin.conversion_kinds import Progress

T = TypeVar("T")
_SYSTEM = "OSError"


class Line:
    """What a process that was forked off says of its progress and of what goes wrong, line by line."""

    def __init__(self, progress: Progress) -> None:
        """`progress` is told what the other process says."""
        self._progress = progress
        self._reader, self._writer = os.pipe()
        self._failure: tuple[str, list[Any]] | None = None
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: object) -> None:
        """Raise what went wrong over there."""
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)
        if self._failure is not None and (value is None or isinstance(value, PyhomeError)):
            name, arguments = self._failure
            kind_of_error = OSError if name == _SYSTEM else getattr(errors, name)
            raise kind_of_error(*(tuple(each) if isinstance(each, list) else each for each in arguments))

    def _listen(self) -> None:
        with open(self._reader, "rb", closefd=False) as stream:
            for line in stream:
                said = json.loads(line)
                if "failure" in said:
                    self._failure = (said["failure"], said["facts"])
                else:
                    self._progress(*said["done"])

    # In the other process

    def tell(self, part: str, size: int, files: int) -> None:
        """So many bytes and files of a part are done."""
        self._say({"done": (part, size, files)})

    def carry(self, work: Callable[[], T]) -> T:
        """Do it; what goes wrong goes wrong over there."""
        try:
            return work()
        except PyhomeError as error:
            self._say({"failure": type(error).__name__, "facts": list(vars(error).values())})
            raise
        except OSError as error:
            name = error.filename if isinstance(error.filename, str | bytes) else None
            self._say({"failure": _SYSTEM, "facts": [error.errno, error.strerror, name and os.fsdecode(name)]})
            raise

    def _say(self, value: dict[str, object]) -> None:
        os.write(self._writer, json.dumps(value).encode("ascii") + b"\n")
