"""The protocol between the login shell and the broker: packets on a unix SOCK_SEQPACKET socket, mode 0666.

One packet is ``u8 kind | body`` and at most 4096 bytes. Whose home is meant is never said: the broker takes the uid of the
peer from SO_PEERCRED.

====  ========  ==========  ======================================================================================
kind  name      from        body
====  ========  ==========  ======================================================================================
1     ASK       the shell   none: is my home open, and if not, what must be answered?
2     ANSWER    the shell   the secret, 1 to 512 bytes
16    OPEN      the broker  none: the home is open, go on
17    PROMPT    the broker  text to show before asking for an ANSWER, without echo
18    SAY       the broker  a line to show
19    REFUSED   the broker  a line: why not; the conversation is over
20    NONE      the broker  none: there is no encrypted home, go on
====  ========  ==========  ======================================================================================

The shell sends ASK. The broker answers OPEN, NONE, REFUSED or PROMPT; to a PROMPT the shell sends one ANSWER. The broker then
answers OPEN, or slows down and sends SAY and another PROMPT; after three prompts in all it sends REFUSED. It may send OPEN
whenever the shell waits, because another session may open the home. Who breaks these rules is hung up on.

Texts are UTF-8, not empty, and hold printable characters only, so that a line is one line and cannot move a cursor.
"""

from __future__ import annotations

from pam_pyhome.errors import WireError

SOCKET = "/run/pyhome-unlock.sock"
MAX_PACKET = 4096
MAX_SECRET = 512
PROMPTS = 3

ASK = 1
ANSWER = 2
OPEN = 16
PROMPT = 17
SAY = 18
REFUSED = 19
NONE = 20

_EMPTY = (ASK, OPEN, NONE)
_TEXTS = (PROMPT, SAY, REFUSED)


def packet(kind: int, body: bytes = b"") -> bytes:
    """A whole packet. Raises WireError for a kind that is not known or a body that this kind cannot have."""
    if kind in _EMPTY:
        fits = not body
    elif kind == ANSWER:
        fits = 1 <= len(body) <= MAX_SECRET
    elif kind in _TEXTS:
        fits = 1 <= len(body) < MAX_PACKET
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
    return kind, body


def parse_text(body: bytes) -> str:
    """The text of a PROMPT, SAY or REFUSED. Raises WireError if it is not UTF-8 or holds what is not printable."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise WireError("a text is not UTF-8") from None
    if not text or not text.isprintable():
        raise WireError("a text is empty, or holds what is not printable")
    return text


def text_packet(kind: int, text: str) -> bytes:
    """A PROMPT, SAY or REFUSED. What is not printable becomes ``?``, and what is too long is cut."""
    line = "".join(letter if letter.isprintable() else "?" for letter in text)
    body = line.encode("utf-8", "replace")[: MAX_PACKET - 1]
    return packet(kind, body.decode("utf-8", "ignore").encode())
