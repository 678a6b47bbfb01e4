"""The protocol between the broker and the login shell or the command line: packets on a unix SOCK_SEQPACKET socket, mode 0666.

One packet is ``u8 kind | body`` and at most 4096 bytes, but for FACTS and FAILED. Whose home is meant is never said: the broker
takes the uid of the peer from SO_PEERCRED.

====  ========  ==========  ======================================================================================
kind  name      from        body
====  ========  ==========  ======================================================================================
1     ASK       the shell   none: is my home open, and if not, what must be answered?
2     ANSWER    the shell   the secret, 1 to 512 bytes
3     REQUEST   the command u8 verb | u8 flags | u16 seconds (little-endian): do this with my home
16    OPEN      the broker  none: the home is open, go on
17    PROMPT    the broker  text to show before asking for an ANSWER, without echo
18    SAY       the broker  a line to show
19    REFUSED   the broker  a line: why not; the conversation is over
20    NONE      the broker  none: there is no encrypted home, go on
21    FACTS     the broker  u8 changed (0 or 1) | facts (`formats/facts.py`): it is done, and this is how the home is now
22    FAILED    the broker  failure (`formats/facts.py`): it is not done; the conversation is over
23    ASK_NEW   the broker  text to show before asking, twice, for an ANSWER that is to be a password from now on
24    SHOW_KEY  the broker  a new recovery key to show; the ANSWER, whatever it is, says that it has been shown
25    SYNCED    the broker  u8 changed (0 or 1): the SSH keys are where sshd finds them while the home is locked
====  ========  ==========  ======================================================================================

The shell sends ASK. The broker answers OPEN, NONE, REFUSED or PROMPT; to a PROMPT the shell sends one ANSWER. The broker then
answers OPEN, or slows down and sends SAY and another PROMPT; after three prompts in all it sends REFUSED. It may send OPEN
whenever the shell waits, because another session may open the home. Who breaks these rules is hung up on.

The command sends REQUEST instead. The broker answers FACTS or FAILED, after as many SAY as it likes, and PROMPT, ASK_NEW and
SHOW_KEY as often as the verb needs answers. The verbs are SHOW, UNLOCK, LOCK, PASSWD, TEST_KEY, NEW_KEY, UPDATE, and SYNC, which is
answered with SYNCED instead of FACTS, because whoever has no encrypted home may have keys. ``seconds`` (at most an hour) and the
flag FORCE are LOCK's alone. The flags of UPDATE are the changes that are asked for, at least one and no two that contradict
each other.

Texts are UTF-8, not empty, and hold printable characters only, so that a line is one line and cannot move a cursor.
"""

from __future__ import annotations

import struct

from pam_pyhome.errors import WireError
from pam_pyhome.formats.facts import MAX_FACTS, parse_facts, parse_failure
from pam_pyhome.record import Record

SOCKET = "/run/pyhome-unlock.sock"
MAX_PACKET = 4096
MAX_SECRET = 512
PROMPTS = 3
#: Whoever connects waits so long at a time, in the kernel's queue, and tries again: others may fill the broker's queue.
CONNECT_MICROSECONDS = 500_000

ASK = 1
ANSWER = 2
REQUEST = 3
OPEN = 16
PROMPT = 17
SAY = 18
REFUSED = 19
NONE = 20
FACTS = 21
FAILED = 22
ASK_NEW = 23
SHOW_KEY = 24
SYNCED = 25

SHOW, UNLOCK, LOCK, PASSWD, TEST_KEY, NEW_KEY, UPDATE, SYNC = 1, 2, 3, 4, 5, 6, 7, 8
FORCE = 1
OPEN_AT_LOGIN, NO_OPEN_AT_LOGIN, LOCK_AT_LOGOUT, NO_LOCK_AT_LOGOUT = 1, 2, 4, 8
FOLLOW_LOGIN, OWN_PASSPHRASE, RENEW_COSTS = 16, 32, 64
LONGEST_WAIT = 3600

_EMPTY = (ASK, OPEN, NONE)
_TEXTS = (PROMPT, SAY, REFUSED, ASK_NEW, SHOW_KEY)
_VERBS = (SHOW, UNLOCK, LOCK, PASSWD, TEST_KEY, NEW_KEY, UPDATE, SYNC)
_REQUEST = struct.Struct("<BBH")
_OPPOSITES = (OPEN_AT_LOGIN | NO_OPEN_AT_LOGIN, LOCK_AT_LOGOUT | NO_LOCK_AT_LOGOUT, FOLLOW_LOGIN | OWN_PASSPHRASE)
_CHANGES = _OPPOSITES[0] | _OPPOSITES[1] | _OPPOSITES[2] | RENEW_COSTS


class Request(Record):
    """What the command asks for: a verb; for LOCK, how many seconds to wait, and whether to use force then; for UPDATE, what."""

    verb: int
    force: bool = False
    seconds: int = 0
    changes: int = 0


def request_packet(request: Request) -> bytes:
    """A REQUEST. Raises WireError for one that `parse_request` would not read."""
    try:
        body = _REQUEST.pack(request.verb, request.changes or (FORCE if request.force else 0), request.seconds)
    except struct.error as error:
        raise WireError(str(error)) from None
    if parse_request(body) != request:
        raise WireError("a request that its verb cannot have")
    return packet(REQUEST, body)


def parse_request(body: bytes) -> Request:
    """The body of a REQUEST. Raises WireError for an unknown verb and for what the verb cannot have."""
    if len(body) != _REQUEST.size:
        raise WireError(f"a request of {len(body)} bytes")
    verb, flags, seconds = _REQUEST.unpack(body)
    if verb not in _VERBS:
        raise WireError(f"verb {verb} is not known")
    if verb == UPDATE:
        if not flags or flags & ~_CHANGES or seconds or any(flags & pair == pair for pair in _OPPOSITES):
            raise WireError("changes that cannot be made")
        return Request(verb, changes=flags)
    if flags & ~FORCE or seconds > LONGEST_WAIT or (verb != LOCK and (flags or seconds)):
        raise WireError("a request that its verb cannot have")
    return Request(verb, bool(flags), seconds)


def packet(kind: int, body: bytes = b"") -> bytes:
    """A whole packet. Raises WireError for a kind that is not known or a body that this kind cannot have."""
    if kind in _EMPTY:
        fits = not body
    elif kind == ANSWER:
        fits = 1 <= len(body) <= MAX_SECRET
    elif kind in _TEXTS:
        fits = 1 <= len(body) < MAX_PACKET
    elif kind == REQUEST:
        fits = len(body) == _REQUEST.size
    elif kind == SYNCED:
        fits = body in (b"\0", b"\1")
    elif kind in (FACTS, FAILED):
        fits = 1 <= len(body) <= MAX_FACTS
    else:
        raise WireError(f"packet kind {kind} is not known")
    if not fits:
        raise WireError(f"a packet of kind {kind} with a body of {len(body)} bytes")
    return bytes((kind,)) + body


def parse_packet(data: bytes) -> tuple[int, bytes]:
    """Kind and body of one packet. Raises WireError for anything that `packet` would not make, and for a text that is none."""
    if not data:
        raise WireError("an empty packet, or the other end has hung up")
    kind, body = data[0], data[1:]
    packet(kind, body)
    if kind in _TEXTS:
        parse_text(body)
    elif kind == REQUEST:
        parse_request(body)
    elif kind == FAILED:
        parse_failure(body)
    elif kind == FACTS:
        if body[0] > 1:
            raise WireError("what has changed is neither nothing nor something")
        parse_facts(body[1:])
    return kind, body


def parse_text(body: bytes) -> str:
    """The text of a PROMPT, SAY, REFUSED, ASK_NEW or SHOW_KEY. WireError if it is not UTF-8 or holds what is not printable."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise WireError("a text is not UTF-8") from None
    if not text or not text.isprintable():
        raise WireError("a text is empty, or holds what is not printable")
    return text


def text_packet(kind: int, text: str) -> bytes:
    """A PROMPT, SAY, REFUSED, ASK_NEW or SHOW_KEY. What is not printable becomes ``?``, and what is too long is cut."""
    line = "".join(letter if letter.isprintable() else "?" for letter in text)
    body = line.encode("utf-8", "replace")[: MAX_PACKET - 1]
    return packet(kind, body.decode("utf-8", "ignore").encode())
