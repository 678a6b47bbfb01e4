"""Leases and the record of an open home, below `/run/pyhome/UID` (docs/design.md, section 3)."""

from __future__ import annotations

import os

from pam_pyhome.errors import FormatError, UnsafeFileError
from pam_pyhome.formats.facts import Session
from pam_pyhome.formats.state import LeaseInfo, emit_lease, emit_open, parse_lease, parse_open
from pam_pyhome.kernel import files
from pam_pyhome.kernel.process import start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from pam_pyhome.formats.state import OpenRecord

RUN = "/run/pyhome"
OPEN = "open"
GATE = "gate"
HOLD = "hold"
BESIDES = "besides"
LEASE_PREFIX = "lease."
CONVERSION = "pyhome-convert"  # the service of a lease that holds a home which is being converted
GATE_SECONDS = 10.0
_LIMIT = 65536


class UserState:
    """The state directory of one user, created if need be. Use as a context manager."""

    def __init__(self, uid: int) -> None:
        """Open `/run/pyhome/UID`. UnsafeFileError if it is not root's alone."""
        self.uid = uid
        for path in (RUN, f"{RUN}/{uid}"):
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                continue
        self._directory = files.open_directory(f"{RUN}/{uid}", owners=(0,))
        self._gate = -1

    def __enter__(self) -> Self:
        """The state itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the directory, and with it the gate."""
        self.open_gate()
        os.close(self._directory)

    def close_gate(self, seconds: float) -> bool:
        """Keep new leases out, trying for `seconds`; whether it worked. Held until `open_gate`."""
        if self._gate >= 0:
            return True
        self._gate = os.open(GATE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._directory)
        if files.try_lock(self._gate, exclusive=True, seconds=seconds):
            return True
        self.open_gate()
        return False

    def open_gate(self) -> None:
        """Let new leases in again; nothing if they were not kept out."""
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1

    def read_record(self) -> OpenRecord | None:
        """The record of the open home, or None if it is locked or the record is unusable."""
        try:
            return parse_open(files.read_file(self._directory, OPEN, owners=(0,), limit=_LIMIT))
        except (FileNotFoundError, FormatError, UnsafeFileError):
            return None

    def write_record(self, record: OpenRecord) -> None:
        """Record that the home is open."""
        files.replace_file(self._directory, OPEN, emit_open(record))

    def opened_at(self) -> int:
        """When the record of the open home was written, in seconds of the epoch; 0 if there is none."""
        try:
            return int(os.stat(OPEN, dir_fd=self._directory, follow_symlinks=False).st_mtime)
        except FileNotFoundError:
            return 0

    def drop_record(self) -> None:
        """Record that the home is locked."""
        self.drop_hold()
        self._remove(BESIDES)
        self._remove(OPEN)

    def note_besides(self, lines: list[str]) -> None:
        """Keep, while the home is open, which directories besides it stay locked, and why."""
        if lines:
            files.replace_file(self._directory, BESIDES, "\n".join(lines).encode("utf-8", "surrogateescape")[:_LIMIT])
        else:
            self._remove(BESIDES)

    def besides(self) -> tuple[str, ...]:
        """Those lines."""
        try:
            content = files.read_file(self._directory, BESIDES, owners=(0,), limit=_LIMIT)
        except (FileNotFoundError, UnsafeFileError):
            return ()
        return tuple(content.decode("utf-8", "surrogateescape").split("\n"))

    def hold(self) -> None:
        """Record that the home, which no session holds, was opened by hand and is to stay open."""
        files.replace_file(self._directory, HOLD, b"")

    def is_on_hold(self) -> bool:
        """Whether the home stays open until it is locked by hand."""
        return files.exists(self._directory, HOLD)

    def drop_hold(self) -> None:
        """Leave the home to its sessions again."""
        self._remove(HOLD)

    def _remove(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._directory)
        except FileNotFoundError:
            return

    def take_lease(self, service: str) -> int:
        """Hold the home as a session does, with the gate closed; the descriptor that holds it until it is closed. OSError."""
        name = f"{LEASE_PREFIX}{os.getpid()}.{service}"
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._directory)
        files.try_lock(fd, exclusive=True)
        os.truncate(fd, 0)
        os.write(fd, emit_lease(LeaseInfo(os.getpid(), start_time(os.getpid()), service, "", "")))
        return fd

    def end_lease(self, service: str, fd: int) -> None:
        """Give up what `take_lease` took."""
        self._remove(f"{LEASE_PREFIX}{os.getpid()}.{service}")
        os.close(fd)

    def _leases(self) -> list[str]:
        """The names of all lease files, dead ones included."""
        return sorted(name for name in os.listdir(self._directory) if name.startswith(LEASE_PREFIX))

    def _open_lease(self, name: str) -> int | None:
        """Descriptor of a lease file, or None if it is gone."""
        try:
            return os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._directory)
        except OSError:
            return None

    def _bury(self, name: str, fd: int) -> None:
        """Remove a dead lease, whose lock is ours now."""
        try:
            os.unlink(name, dir_fd=self._directory)
        except FileNotFoundError:
            pass
        os.close(fd)

    def is_held(self) -> bool:
        """Whether any session holds a lease; dead leases are removed on the way."""
        for name in self._leases():
            fd = self._open_lease(name)
            if fd is None:
                continue
            # Shared, so that two who try at the same time do not take each other for holders.
            if not files.try_lock(fd, exclusive=False):
                os.close(fd)
                return True
            self._bury(name, fd)
        return False

    def sessions(self) -> tuple[Session, ...]:
        """The sessions whose leases are held, oldest first. Nothing is removed: the gate may be open."""
        found = []
        for name in self._leases():
            fd = self._open_lease(name)
            if fd is not None:
                if not files.try_lock(fd, exclusive=False):
                    found.append(self._read_lease(name, int(os.fstat(fd).st_mtime)))
                os.close(fd)
        return tuple(sorted(found, key=lambda session: (session.since, session.pid)))

    def _read_lease(self, name: str, since: int) -> Session:
        """What a lease says of its session; of one without a text, its name has the process."""
        try:
            lease = parse_lease(files.read_file(self._directory, name, owners=(0,), limit=_LIMIT))
        except (OSError, FormatError, UnsafeFileError):
            pid = name.split(".")[1]
            return Session(int(pid) if pid.isdigit() else 0, since, "", "", "")
        return Session(lease.pid, since, lease.service, lease.tty, lease.rhost)

    def wait_until_free(self) -> bool:
        """Return when no lease that exists now is held any more, however long that takes; whether one was."""
        was_held = False
        for name in self._leases():
            fd = self._open_lease(name)
            if fd is not None:
                # Not buried here: a lease that is being made looks dead until it is locked, and the gate is not ours.
                was_held |= files.wait_for_lock(fd)
                os.close(fd)
        return was_held


def has_state(uid: int) -> bool:
    """Whether the user has had a lease or an open home since the machine was started."""
    return os.path.isdir(f"{RUN}/{uid}")


def has_record(uid: int) -> bool:
    """Whether the home of this user is recorded as open."""
    return os.path.exists(f"{RUN}/{uid}/{OPEN}")


def users_with_records() -> list[int]:
    """The uids whose homes are recorded as open."""
    try:
        names = os.listdir(RUN)
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if name.isdigit() and has_record(int(name)))
