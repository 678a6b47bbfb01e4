"""What `pyhome recover` has opened, or is about to: `/run/pyhome-recover/.open`, one record of `formats.state` in each file.

All of `/run/pyhome-recover` is root's alone, and with it the homes that are opened there.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Self

from pam_pyhome.errors import PyhomeError, StorageError
from pam_pyhome.formats.state import emit_open, parse_open
from pam_pyhome.kernel import files

if TYPE_CHECKING:
    from pam_pyhome.formats.state import OpenRecord

BASE = "/run/pyhome-recover"
_DIRECTORY = f"{BASE}/.open"
_LOCK = "lock"
_MAX = 1 << 16
_LOCK_SECONDS = 60.0


class Register:
    """The records. Use as a context manager, which lets no other process open or close homes. StorageError after a minute."""

    def __init__(self) -> None:
        """Nothing happens yet."""
        self._fd = -1
        self._lock = -1

    def __enter__(self) -> Self:
        """Make the directories, and lock."""
        for path in (BASE, _DIRECTORY):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
            os.close(files.open_directory(path, owners=(0,)))
        self._fd = files.open_directory(_DIRECTORY, owners=(0,))
        self._lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        if not files.try_lock(self._lock, exclusive=True, seconds=_LOCK_SECONDS):
            os.close(self._lock)
            os.close(self._fd)
            raise StorageError(BASE, "another pyhome is opening or closing a home there")
        self._sweep()
        return self

    def _sweep(self) -> None:
        """Remove what killed processes have left before they opened anything: records that announce nothing, empty directories."""
        for name in os.listdir(self._fd):
            if name.endswith(files.STAGED_SUFFIX):
                os.unlink(name, dir_fd=self._fd)
        places = {os.fsdecode(record.mountpoint) for record in self.all().values()}
        for name in os.listdir(BASE):
            if f"{BASE}/{name}" not in {_DIRECTORY, *places}:
                with contextlib.suppress(OSError):
                    os.rmdir(f"{BASE}/{name}")

    def __exit__(self, *_: object) -> None:
        """Leave nothing that announces nothing, and unlock."""
        with contextlib.suppress(OSError, PyhomeError):
            self._sweep()
        os.close(self._lock)
        os.close(self._fd)

    def all(self) -> dict[str, OpenRecord]:
        """The records by the names of their files. FormatError for a damaged one."""
        names = [name for name in os.listdir(self._fd) if name.isdigit()]
        return {name: parse_open(files.read_file(self._fd, name, owners=(0,), limit=_MAX)) for name in sorted(names, key=int)}

    def at(self, directory: str) -> tuple[str, OpenRecord] | None:
        """The record of what is open at a directory, with its name; None if nothing is."""
        wanted = os.fsencode(directory)
        return next(((name, record) for name, record in self.all().items() if record.mountpoint == wanted), None)

    def lying_in(self, directory: str) -> list[tuple[str, OpenRecord]]:
        """The records of open homes whose ciphertext is a directory, or below it, with their names."""
        top = os.fsencode(directory).rstrip(b"/") + b"/"
        return [each for each in self.all().items() if (each[1].source + b"/").startswith(top)]

    def new(self) -> str:
        """A name for one more record."""
        return str(max((int(name) for name in os.listdir(self._fd) if name.isdigit()), default=0) + 1)

    def write(self, name: str, record: OpenRecord) -> None:
        """Put a record on disk, in the place of the one that is there. FormatError, OSError."""
        files.replace_file(self._fd, name, emit_open(record))

    def forget(self, name: str) -> None:
        """Remove a record."""
        os.unlink(name, dir_fd=self._fd)
