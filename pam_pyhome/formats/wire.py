"""The protocol between pam_pyhome.so and its worker: frames on a stream socket, one verb and one answer at a time.

All integers are little-endian. A *frame* is ``u32 length | u8 kind | body``; ``length`` counts kind and body and is
1 to 65536. A *blob* is ``u32 size | bytes``; size 0xFFFFFFFF stands for NULL and is followed by nothing. Strings are
blobs without NUL.

The shim speaks first:

====  ========  ====================================================================================================
kind  name      body
====  ========  ====================================================================================================
1     START     u8 version (1), u8 phase, i32 PAM flags, u32 uid, u32 gid, u32 pid of the PAM process,
                blob user, blob service, blob home directory, u16 argc, argc blobs (the tokens)
2     ANSWER    i32 PAM status, then what the verb says below (if the status is PAM_SUCCESS)
====  ========  ====================================================================================================

Phases: 1 authenticate, 2 setcred, 3 acct_mgmt, 4 open_session, 5 close_session, 6 chauthtok.

The worker sends verbs, and reads the ANSWER to each before it sends the next; REPLY ends it and has no answer:

====  ===============  =============================================  ===================
kind  name             body                                           answer
====  ===============  =============================================  ===================
16    GET_ITEM         u32 item                                       blob (NULL: unset)
17    SET_ITEM         u32 item, blob
18    PUT_ENV          blob ``NAME=value`` or ``NAME``
19    GET_ENV          blob name                                      blob (NULL: unset)
20    CONVERSE         u16 count, count times (u32 style, blob text)  count blobs
21    FAIL_DELAY       u32 microseconds
22    SET_DATA         blob name, blob value (NULL: forget it)
23    GET_DATA         blob name                                      blob (NULL: unset)
24    ADD_SESSION_KEY  blob description, blob payload, u32 perm       i32 serial
31    REPLY            i32 PAM code of the phase
====  ===============  =============================================  ===================

GET_ITEM and SET_ITEM know the string items only (PAM_SERVICE 1, PAM_USER 2, PAM_TTY 3, PAM_RHOST 4, PAM_AUTHTOK 6,
PAM_OLDAUTHTOK 7, PAM_RUSER 8, PAM_USER_PROMPT 9, PAM_XDISPLAY 11, PAM_AUTHTOK_TYPE 13), and SET_ITEM not the first two;
anything else is answered PAM_BAD_ITEM. An unknown verb, a frame that is too long or a body that does not add up ends the
exchange: the shim answers the phase as if the worker had died.

Behind the REPLY to *authenticate* the shim may, on the same socket, send the START of the session that follows. It closes the
socket if there is to be none; and it asks a new worker if this one has gone.
"""

from __future__ import annotations

import struct

from pam_pyhome.errors import UnknownVersionError, WireError
from pam_pyhome.formats.binary import Reader, pack_blob, pack_text
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION = 1
MAX_FRAME = 65536
HEADER_SIZE = 5

START = 1
ANSWER = 2
GET_ITEM = 16
SET_ITEM = 17
PUT_ENV = 18
GET_ENV = 19
CONVERSE = 20
FAIL_DELAY = 21
SET_DATA = 22
GET_DATA = 23
ADD_SESSION_KEY = 24
REPLY = 31

PHASE_AUTHENTICATE = 1
PHASE_SETCRED = 2
PHASE_ACCT_MGMT = 3
PHASE_OPEN_SESSION = 4
PHASE_CLOSE_SESSION = 5
PHASE_CHAUTHTOK = 6

ITEM_SERVICE = 1
ITEM_USER = 2
ITEM_TTY = 3
ITEM_RHOST = 4
ITEM_AUTHTOK = 6
ITEM_OLDAUTHTOK = 7
ITEM_RUSER = 8
ITEM_USER_PROMPT = 9
ITEM_XDISPLAY = 11
ITEM_AUTHTOK_TYPE = 13

STATUS_SUCCESS = 0


class Start(Record):
    """What the shim says first. Text that is not UTF-8 is kept as surrogates; `tokens` are bytes as configured."""

    phase: int
    flags: int
    uid: int
    gid: int
    pid: int
    user: str
    service: str
    home: str
    tokens: tuple[bytes, ...]


def frame(kind: int, body: bytes) -> bytes:
    """A whole frame. Raises WireError if it would be longer than MAX_FRAME."""
    length = 1 + len(body)
    if length > MAX_FRAME:
        raise WireError(f"a frame of {length} bytes is too long")
    return struct.pack("<IB", length, kind) + body


def parse_header(data: bytes) -> tuple[int, int]:
    """Kind and body size from the first HEADER_SIZE bytes of a frame. Raises WireError for a length out of range."""
    if len(data) != HEADER_SIZE:
        raise WireError(f"a frame header of {len(data)} bytes")
    length, kind = struct.unpack("<IB", data)
    if not 1 <= length <= MAX_FRAME:
        raise WireError(f"a frame says that it has {length} bytes")
    return kind, length - 1


def parse_start(body: bytes) -> Start:
    """Read the body of START. Raises WireError, and UnknownVersionError if the shim speaks another version."""
    reader = Reader(body, WireError)
    version = reader.integer("B")
    if version != VERSION:
        raise UnknownVersionError("shim protocol", version)
    phase = reader.integer("B")
    if not PHASE_AUTHENTICATE <= phase <= PHASE_CHAUTHTOK:
        raise WireError(f"phase {phase} is not known")
    flags, uid, gid, pid = (reader.integer(code) for code in "iIII")
    user, service, home = reader.text(), reader.text(), reader.text()
    tokens = tuple(_string(reader.value()) for _ in range(reader.integer("H")))
    reader.end()
    return Start(phase, flags, uid, gid, pid, user, service, home, tokens)


def emit_start(start: Start) -> bytes:
    """The START frame that the shim would send. Raises WireError for values that do not fit."""
    body = _pack("BBiIII", VERSION, start.phase, start.flags, start.uid, start.gid, start.pid)
    body += b"".join(pack_text(text, WireError) for text in (start.user, start.service, start.home))
    body += _pack("H", len(start.tokens)) + b"".join(pack_blob(_string(token)) for token in start.tokens)
    return frame(START, body)


def parse_answer(body: bytes) -> tuple[int, bytes]:
    """PAM status and the rest of an ANSWER's body. Raises WireError for a failure that is followed by anything."""
    reader = Reader(body, WireError)
    status = reader.integer("i")
    rest = reader.rest()
    if status != STATUS_SUCCESS and rest:
        raise WireError(f"status {status} with {len(rest)} bytes after it")
    return status, rest


def emit_answer(status: int, rest: bytes = b"") -> bytes:
    """The ANSWER frame that the shim would send."""
    return frame(ANSWER, _pack("i", status) + rest)


def parse_blob(rest: bytes) -> bytes | None:
    """The one blob of an answer; None for NULL. Raises WireError."""
    return parse_blobs(rest, 1)[0]


def parse_blobs(rest: bytes, count: int) -> tuple[bytes | None, ...]:
    """The blobs of an answer, exactly `count` of them. Raises WireError."""
    reader = Reader(rest, WireError)
    blobs = tuple(reader.blob() for _ in range(count))
    reader.end()
    return blobs


def parse_serial(rest: bytes) -> int:
    """The key serial of an answer. Raises WireError."""
    reader = Reader(rest, WireError)
    serial = reader.integer("i")
    reader.end()
    return serial


def parse_empty(rest: bytes) -> None:
    """Insist on an answer that says nothing but its status. Raises WireError."""
    Reader(rest, WireError).end()


def emit_get_item(item: int) -> bytes:
    """Ask for a string item."""
    return frame(GET_ITEM, _pack("I", item))


def emit_set_item(item: int, value: bytes | None) -> bytes:
    """Set a string item; None unsets it."""
    return frame(SET_ITEM, _pack("I", item) + pack_blob(_string(value) if value is not None else None))


def emit_put_env(setting: str) -> bytes:
    """Set a variable of the PAM environment by ``NAME=value``, or delete it by ``NAME``."""
    return frame(PUT_ENV, pack_text(setting, WireError))


def emit_get_env(name: str) -> bytes:
    """Ask for a variable of the PAM environment."""
    return frame(GET_ENV, pack_text(name, WireError))


def emit_converse(messages: Iterable[tuple[int, str]]) -> bytes:
    """Hold a conversation: pairs of a PAM message style and its text. The answer has one blob for each."""
    packed = [_pack("I", style) + pack_text(text, WireError) for style, text in messages]
    return frame(CONVERSE, _pack("H", len(packed)) + b"".join(packed))


def emit_fail_delay(microseconds: int) -> bytes:
    """Ask libpam to wait that long if the transaction fails."""
    return frame(FAIL_DELAY, _pack("I", microseconds))


def emit_set_data(name: str, value: bytes | None) -> bytes:
    """Keep a value in the PAM handle; None forgets it."""
    return frame(SET_DATA, pack_text(name, WireError) + pack_blob(value))


def emit_get_data(name: str) -> bytes:
    """Ask for a value kept in the PAM handle."""
    return frame(GET_DATA, pack_text(name, WireError))


def emit_add_session_key(description: str, payload: bytes, permissions: int) -> bytes:
    """Add a ``user`` key to the session keyring of the PAM process, with the kernel's 32 permission bits."""
    return frame(ADD_SESSION_KEY, pack_text(description, WireError) + pack_blob(payload) + _pack("I", permissions))


def emit_reply(code: int) -> bytes:
    """End the exchange with the PAM code of the phase."""
    return frame(REPLY, _pack("i", code))


def _pack(codes: str, *values: int) -> bytes:
    try:
        return struct.pack("<" + codes, *values)
    except struct.error:
        raise WireError("a number is out of its range") from None


def _string(value: bytes) -> bytes:
    if b"\0" in value:
        raise WireError("a string has a NUL in it")
    return value
