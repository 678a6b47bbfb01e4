"""Looking for policies on all file systems, of which any may be slow, full of rubbish or made by somebody else.

A child process looks, for so long and no longer, and tells what it finds as it goes: first what root knows best, last what root has
not approved, so that what comes last can take nothing away from the rest.
"""

from __future__ import annotations

import os
import struct
import time

from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends import trust
from pam_pyhome.errors import UnsafeFileError
from pam_pyhome.formats.mountinfo import parse_mountinfo
from pam_pyhome.kernel import forked, mounts
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pam_pyhome.backends.base import Account
    from pam_pyhome.formats.mountinfo import Mount

AT_LOGIN, AT_LEISURE = 2.0, 8.0  # seconds for all file systems together
_STRANGERS_PART = 0.25  # of that, after which those that root has not approved are not looked at any more
_MOST_FILES, _MOST_OF_STRANGERS, _MOST_BYTES = 1024, 64, 1 << 20
_FRAME = struct.Struct("<BHI")
_VERDICT, _POLICY, _KNOWN, _END = range(4)


class Found(Record):
    """A file with a policy: on which file system (a number), and its name."""

    place: int
    identifier: str
    content: bytes


class Survey(Record):
    """What there is: file systems as they are mounted, how well root knows each (`trust`) and if not why, and the policies.

    `complete`: there is no more. Otherwise there may be, and file systems without a verdict have not been looked at.
    `known_complete`: there is no more on those that root knows.
    """

    mounts: tuple[Mount, ...]
    verdicts: dict[int, tuple[int, str]]
    policies: tuple[Found, ...]
    known_complete: bool
    complete: bool


def survey(account: Account, home_device: str, *, seconds: float, known: Sequence[str] = ()) -> Survey:
    """The policies on all file systems that may be the account's. The names in `known` are tried before others are looked for."""
    every = parse_mountinfo(mounts.read_mountinfo())
    places = tuple(store.main_mounts())
    child = _Child(account, home_device, every, places, known, time.monotonic() + seconds * _STRANGERS_PART)
    return _parse(places, forked.said_by(child.look, seconds=seconds, most=2 * _MOST_BYTES))


class _Child:
    """The process that looks."""

    def __init__(
        self,
        account: Account,
        home_device: str,
        every: list[Mount],
        places: tuple[Mount, ...],
        known: Sequence[str],
        deadline: float,
    ) -> None:
        self._account = account
        self._home = home_device
        self._every = every
        self._places = places
        self._known = known
        self._deadline = deadline  # for strangers
        self._files, self._bytes = _MOST_FILES, _MOST_BYTES
        self._complete = True

    def look(self, out: int) -> None:
        """Look everywhere, and write what there is to `out`."""

        def say(kind: int, place: int, content: bytes) -> None:
            view = memoryview(_FRAME.pack(kind, place, len(content)) + content)
            while view:
                view = view[os.write(out, view) :]

        places = self._judge(say)
        for rank, place in places:
            if rank != trust.UNKNOWN:
                self._look_at(place, say, None)
        say(_KNOWN, 0, bytes((self._complete,)))
        self._files = min(self._files, _MOST_OF_STRANGERS)
        for rank, place in places:
            if rank == trust.UNKNOWN:
                self._look_at(place, say, self._deadline)
        say(_END, 0, bytes((self._complete,)))

    def _judge(self, say: Callable[[int, int, bytes], None]) -> list[tuple[int, int]]:
        """Say how well root knows each file system; that of those that could be looked at, the best known first."""
        book, found = trust.Book(), []
        for place, mount in enumerate(self._places):
            try:
                seen = trust.look_at(mount, self._every)
            except OSError:
                continue
            is_homes = mount.device == self._home
            rank, why = (trust.HOMES_OWN, "") if is_homes else book.judge(seen, self._account.name)
            say(_VERDICT, place, bytes((rank,)) + why.encode("utf-8", "surrogateescape"))
            found.append((rank, place))
        return sorted(found)

    def _look_at(self, place: int, say: Callable[[int, int, bytes], None], deadline: float | None) -> None:
        """Say which policies one file system has."""
        where = os.fsdecode(self._places[place].mountpoint)
        for name in self._known:
            self._read(place, where, name, say)
        try:
            names, complete = store.policies(self._account, where)
        except (OSError, UnsafeFileError):
            return
        for name in names:
            if deadline is not None and time.monotonic() > deadline:
                complete = False
                break
            if name not in self._known and not self._read(place, where, name, say):
                complete = False
        self._complete = self._complete and complete

    def _read(self, place: int, where: str, name: str, say: Callable[[int, int, bytes], None]) -> bool:
        """Say what one policy is; whether that was possible."""
        if self._files <= 0 or self._bytes <= 0:
            return False
        try:
            content = store.read(self._account, where, store.POLICIES, name)
        except (OSError, UnsafeFileError):
            return False
        self._files -= 1
        self._bytes -= len(content)
        say(_POLICY, place, name.encode("ascii") + content)
        return True


def _parse(places: tuple[Mount, ...], data: bytes) -> Survey:
    """What the child has said, as far as it came."""
    verdicts: dict[int, tuple[int, str]] = {}
    found: list[Found] = []
    complete = {_KNOWN: False, _END: False}
    while len(data) >= _FRAME.size:
        kind, place, size = _FRAME.unpack(data[: _FRAME.size])
        content, data = data[_FRAME.size : _FRAME.size + size], data[_FRAME.size + size :]
        if len(content) != size:
            break
        if kind == _VERDICT:
            verdicts[place] = content[0], content[1:].decode("utf-8", "surrogateescape")
        elif kind == _POLICY:
            found.append(Found(place, content[:32].decode("ascii"), content[32:]))
        else:
            complete[kind] = content == b"\1"
    return Survey(places, verdicts, tuple(found), complete[_KNOWN], complete[_END])
