"""What there is to know about one user's encrypted home, and why something that was asked for did not happen.

Both travel from pyhomed to the command line behind the kind of a packet (`formats/broker.py`), with the integers and blobs of
`pam_pyhome.formats.binary`. A flag is ``u8`` 0 or 1.

``facts := u8 version (2) | u32 uid | u64 since | u8 flags | text user, home, backend, state, trouble | blob mountpoint, storage |
u8 n, n times slot | u8 n, n times session | u8 n, n times text holder | u8 n, n times text beside``;
``slot := u8 usable | text name, kind, trouble``;
``session := u32 pid | u64 since | text service, tty, rhost``. The flags are, from bit 0: held, follows_login, opens_at_login,
locks_at_logout, copy_kept, waits_for_old; the others are 0.

``failure := u8 code | text kind, what, reason | u8 n, n times text line``.

Texts and lists that are too long are cut, so that facts have at most `MAX_FACTS` bytes.
"""

from __future__ import annotations

import struct

from pam_pyhome.errors import WireError
from pam_pyhome.formats.binary import Reader, pack_blob
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    T = TypeVar("T")

VERSION = 2
MAX_FACTS = 131072
MOST = 32  # entries of a list
LONGEST = 400  # bytes of a text
LONGEST_PATH = 4096

OPEN, LOCKED, PARTLY, UNKNOWN = "open", "locked", "partly locked", "unknown"
# Kinds of a slot.
RECOVERY, OLDER, SECOND_PASSWORD = "recovery key", "older password", "second login password"
STATES = (OPEN, LOCKED, PARTLY, UNKNOWN)

_HEAD = struct.Struct("<BIQB")
_FLAGS = ("held", "follows_login", "opens_at_login", "locks_at_logout", "copy_kept", "waits_for_old")


class Slot(Record):
    """One way to open a home: a key file, its `kind`, what is wrong with it if anything is, and whether it works all the same."""

    name: str
    kind: str
    trouble: str = ""
    usable: bool = True


class Session(Record):
    """A session that holds a home: its PAM process, since when (seconds of the epoch), and what PAM said of it."""

    pid: int
    since: int
    service: str
    tty: str
    rhost: str


class HomeFacts(Record):
    """A home. `since` is when it was opened, in seconds of the epoch, 0 if that is not known.

    `held`: opened by hand without a session, so it stays open until it is locked by hand. `copy_kept`: there is another copy of the
    home, from converting it. `waits_for_old`: root has set another login password, and the home opens with the old one.
    `holders` are the processes that use it, one line each. `trouble` is what makes it unusable, or empty. `besides` are the
    directories besides it that stayed locked when it was opened, and why, one line each.
    """

    user: str
    uid: int
    home: str
    backend: str
    state: str
    trouble: str = ""
    mountpoint: bytes = b""
    storage: bytes = b""
    since: int = 0
    held: bool = False
    follows_login: bool = True
    opens_at_login: bool = True
    locks_at_logout: bool = True
    copy_kept: bool = False
    waits_for_old: bool = False
    slots: tuple[Slot, ...] = ()
    sessions: tuple[Session, ...] = ()
    holders: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()


class Failure(Record):
    """Why it did not happen: exit status and class of the error, what it is about, the reason, and who is in the way."""

    code: int
    kind: str
    what: str = ""
    reason: str = ""
    lines: tuple[str, ...] = ()


def emit_facts(facts: HomeFacts) -> bytes:
    """Write facts. Raises WireError for a state that there is not and for numbers out of range."""
    if facts.state not in STATES:
        raise WireError(f"{facts.state} is no state of a home")
    flags = sum(bool(getattr(facts, name)) << bit for bit, name in enumerate(_FLAGS))
    out = _pack(_HEAD, VERSION, facts.uid, facts.since, flags)
    out += b"".join(map(_text, (facts.user, facts.home, facts.backend, facts.state, facts.trouble)))
    out += pack_blob(facts.mountpoint[:LONGEST_PATH]) + pack_blob(facts.storage[:LONGEST_PATH])
    out += _many(facts.slots, _emit_slot)
    return out + _many(facts.sessions, _emit_session) + _many(facts.holders, _text) + _many(facts.besides, _text)


def _emit_slot(slot: Slot) -> bytes:
    return bytes((slot.usable,)) + _text(slot.name) + _text(slot.kind) + _text(slot.trouble)


def _emit_session(session: Session) -> bytes:
    texts = b"".join(map(_text, (session.service, session.tty, session.rhost)))
    return _pack(struct.Struct("<IQ"), session.pid, session.since) + texts


def parse_facts(data: bytes) -> HomeFacts:
    """Read facts. Raises WireError for anything that `emit_facts` does not write."""
    reader = Reader(data, WireError)
    version, uid, since, flags = (reader.integer(code) for code in "BIQB")
    if version != VERSION or flags >> len(_FLAGS):
        raise WireError(f"facts of version {version} with flags {flags:#x}")
    user, home, backend, state, trouble = (reader.text() for _ in range(5))
    if state not in STATES:
        raise WireError("no state of a home")
    facts = HomeFacts(
        user,
        uid,
        home,
        backend,
        state,
        trouble,
        reader.value(),
        reader.value(),
        since,
        slots=_read_many(reader, lambda: _read_slot(reader)),
        sessions=_read_many(reader, lambda: _read_session(reader)),
        holders=_read_many(reader, reader.text),
        besides=_read_many(reader, reader.text),
        **{name: bool(flags >> bit & 1) for bit, name in enumerate(_FLAGS)},
    )
    reader.end()
    return facts


def _read_slot(reader: Reader) -> Slot:
    usable = reader.integer("B")
    if usable > 1:
        raise WireError("a flag is neither 0 nor 1")
    return Slot(reader.text(), reader.text(), reader.text(), bool(usable))


def _read_session(reader: Reader) -> Session:
    return Session(reader.integer("I"), reader.integer("Q"), reader.text(), reader.text(), reader.text())


def emit_failure(failure: Failure) -> bytes:
    """Write a failure. Raises WireError for a code out of range."""
    texts = b"".join(map(_text, (failure.kind, failure.what, failure.reason)))
    return _pack(struct.Struct("<B"), failure.code) + texts + _many(failure.lines, _text)


def parse_failure(data: bytes) -> Failure:
    """Read a failure. Raises WireError for anything that `emit_failure` does not write, and for the code of a success."""
    reader = Reader(data, WireError)
    code = reader.integer("B")
    if code == 0:
        raise WireError("a failure with the code of a success")
    failure = Failure(code, reader.text(), reader.text(), reader.text(), _read_many(reader, reader.text))
    reader.end()
    return failure


def _pack(form: struct.Struct, *values: int) -> bytes:
    try:
        return form.pack(*values)
    except struct.error as error:
        raise WireError(str(error)) from None


def _text(value: str) -> bytes:
    """A blob of at most LONGEST bytes that is text; bytes of paths and names that are not UTF-8 survive, NUL does not."""
    encoded = value.replace("\0", "?").encode("utf-8", "surrogateescape")
    if len(encoded) > LONGEST:
        encoded = encoded[:LONGEST].decode("utf-8", "ignore").encode()
    return pack_blob(encoded)


def _many(values: Sequence[T], emit: Callable[[T], bytes]) -> bytes:
    return bytes((min(len(values), MOST),)) + b"".join(map(emit, values[:MOST]))


def _read_many(reader: Reader, read: Callable[[], T]) -> tuple[T, ...]:
    count = reader.integer("B")
    if count > MOST:
        raise WireError(f"a list of {count}")
    return tuple(read() for _ in range(count))
