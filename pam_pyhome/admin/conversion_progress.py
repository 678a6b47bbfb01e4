"""How far a conversion is, for whoever looks: the one who runs it, root, and the owner of the home.

`/run/pyhome-converting/USER` has one line, the direction, the percentage and the seconds that are left, which root and the user's
group can read. The process that converts has it locked: if it is not locked, that process has been killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin.conversion_facts import COPYING_FILES as COPYING
from pam_pyhome.admin.conversion_facts import VERIFYING_FILES as VERIFYING
from pam_pyhome.errors import HomeElsewhereError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.admin.conversion_checks import Outlook
    from pam_pyhome.admin.conversion_kinds import Progress

DIRECTORY = "/run/pyhome-converting"
_MAX = 100
_PAUSE = 0.5
#: What a file costs besides its content, in bytes that could be copied in that time.
_PER_FILE = 32768
#: How much longer it takes to verify than to copy, before that is known: both copies are read from the disk.
_SLOWER = 2.0
#: From here on a part tells by itself how long it takes.
_TELLING = 0.05


class Course:
    """All parts of a conversion as one piece of work."""

    def __init__(self, size: int, files: int) -> None:
        """So many bytes and files there are, to be copied and to be verified."""
        self.size, self.files = size, files
        self.part, self.done, self.files_done = COPYING, 0, 0
        self._began = time.monotonic()
        self._copying_took = 0.0
        self._fraction = 0.0

    def tell(self, part: str, done: int, files: int) -> None:
        """So many bytes and files of a part are done."""
        now = time.monotonic()
        if part != self.part:
            self._copying_took = now - self._began if part == VERIFYING else 0.0
            self._began = now
        self.part, self.done, self.files_done = part, min(done, self.size), min(files, self.files)
        self._fraction = min((self.done + self.files_done * _PER_FILE) / max(self.size + self.files * _PER_FILE, 1), 1.0)

    @property
    def percent(self) -> int:
        """Of all that is to do, so much is done."""
        done = self._fraction if self.part == COPYING else 1 + _SLOWER * self._fraction
        return int(100 * done / (1 + _SLOWER))

    @property
    def rate(self) -> float:
        """Bytes a second, of the part that is at hand."""
        return self.done / max(time.monotonic() - self._began, 0.1)

    @property
    def seconds_left(self) -> float | None:
        """Until all of it is done, as far as that can be told; None if it cannot."""
        took, fraction = time.monotonic() - self._began, self._fraction
        if self.part == COPYING:
            return took / fraction * (1 - fraction + _SLOWER) if fraction > _TELLING else None
        whole = took / fraction if fraction > _TELLING else max(_SLOWER * self._copying_took, took)
        return whole * (1 - fraction)


class Running(NamedTuple):
    """A conversion that goes on: whose home, in which direction, how far it is, and how many seconds are left, if that is known."""

    user: str
    direction: str
    percent: int
    seconds_left: int | None


@contextlib.contextmanager
def published(outlook: Outlook, progress: Progress) -> Iterator[Progress]:
    """Have others see how far it is; gives what is to be told, and tells `progress` as well. OSError.

    Nobody else converts this home meanwhile.
    """
    account, course = outlook.account, Course(outlook.survey.size, outlook.survey.entries)
    with contextlib.suppress(FileExistsError):
        os.mkdir(DIRECTORY, 0o700)
    os.chmod(DIRECTORY, 0o711)
    path = f"{DIRECTORY}/{account.name}"
    # A new file each time: whoever can read one can lock it.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    written = 0.0

    def write() -> None:
        left = course.seconds_left
        line = f"{outlook.direction} {course.percent} {'-' if left is None else round(left)}"
        with contextlib.suppress(OSError):  # no space: who looks sees what was written before
            os.pwrite(fd, line.ljust(_MAX - 1).encode("ascii") + b"\n", 0)

    def tell(part: str, size: int, files: int) -> None:
        nonlocal written
        course.tell(part, size, files)
        progress(part, size, files)
        if time.monotonic() - written > _PAUSE:
            written = time.monotonic()
            write()

    try:
        write()
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.fchown(fd, 0, account.gid)
        os.fchmod(fd, 0o640)
        yield tell
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.close(fd)


def find(user: str) -> Running | None:
    """The conversion of a user's home that goes on now; None if there is none, or who asks is not to know."""
    if not user or "/" in user or user.startswith("."):
        return None  # not a name that has a home
    try:
        fd = os.open(f"{DIRECTORY}/{user}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _parse(user, os.pread(fd, _MAX, 0).decode("ascii").split())
    except OSError:
        return None
    else:
        return None  # it was killed
    finally:
        os.close(fd)


def _parse(user: str, words: list[str]) -> Running | None:
    if len(words) != 3:
        return None  # it was just begun, or there is no space in /run
    direction, percent, left = words
    return Running(user, direction, int(percent), int(left) if left.isdigit() else None)


def all_running() -> list[Running]:
    """Those of all users, for root."""
    try:
        names = sorted(os.listdir(DIRECTORY))
    except OSError:
        return []
    return [found for found in map(find, names) if found is not None]


def refuse(user: str) -> None:
    """HomeElsewhereError if the home of this user is being converted."""
    if find(user) is not None:
        raise HomeElsewhereError(user, "converting")
