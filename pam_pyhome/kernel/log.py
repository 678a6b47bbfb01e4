"""Records in the system's log: one for each event, with fields for programs and one line for people.

By journald's own protocol, and where there is no journald as a line to syslog. A record that cannot be sent is lost: no login waits
longer than a moment for the log, or fails because of it. The socket module takes too long to import, and syslog(3) waits for ever.
"""

from __future__ import annotations

import ctypes
import os
import time

from pam_pyhome.kernel.libc import check, proto
from pam_pyhome.kernel.notify import AF_UNIX, MSG_NOSIGNAL, SOCK_CLOEXEC, unix_address
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from pam_pyhome.events import Event

    class Whose(Protocol):
        """An account, or as much as is known of one, as `Person` is."""

        @property
        def name(self) -> str:
            """The name; empty if it is not known."""

        @property
        def uid(self) -> int:
            """The uid; -1 if it is not known."""

        @property
        def home(self) -> str:
            """The home directory; empty if it is not known."""


JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"
AUTHPRIV = 10
# Bytes. More than any sentence needs, and less than what journalctl leaves out of JSON.
_LONGEST = 4000
_SOCK_DGRAM, _MSG_DONTWAIT = 2, 0x40
_PATIENCE_SECONDS = 0.1

_speaker = ["pyhome"]
# A queue that is full is being emptied, unless journald has stopped: that is waited for once in a process.
_patience = [_PATIENCE_SECONDS]


class Person(Record):
    """Of whom not all is known that makes an account."""

    name: str = ""
    uid: int = -1
    home: str = ""


def begin(program: str) -> None:
    """Say who speaks, once for each process."""
    _speaker[0] = program


def log(event: Event, why: str = "", whose: Whose | None = None, *, service: str = "") -> None:
    """Write a record: what happened, why or what about it, to whose home, and at which service's login."""
    name, uid, home = (whose.name, whose.uid, whose.home) if whose is not None else ("", -1, "")
    why = _on_one_line(why)
    who = f"user {name}: " if name else f"uid {uid}: " if uid >= 0 else ""
    line = _on_one_line(f"{service}: " * bool(service) + who + event.text + f": {why}" * bool(why))
    fields = {
        "MESSAGE": line,
        "MESSAGE_ID": event.id,
        "PRIORITY": str(event.priority),
        "SYSLOG_FACILITY": str(AUTHPRIV),
        "SYSLOG_IDENTIFIER": _speaker[0],
        "PYHOME_WHAT": event.name,
        "PYHOME_WHY": why,
        "PYHOME_SERVICE": service,
        "USER": name,
        "UID": str(uid) if uid >= 0 else "",
        "HOME": home,
    }
    record = b"".join(_field(key, value) for key, value in fields.items() if value)
    text = f"<{AUTHPRIV * 8 + event.priority}>{time.strftime('%b %d %H:%M:%S')} {_speaker[0]}[{os.getpid()}]: {line}"
    if not _was_sent(JOURNAL, record):
        _was_sent(SYSLOG, os.fsencode(text))


def _on_one_line(text: str) -> str:
    """Without characters that could make another line or move a cursor, and not too long."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST])
    return plain.encode("utf-8")[:_LONGEST].decode("utf-8", "ignore")


def _field(name: str, value: str) -> bytes:
    """In the form in which a line feed in the value ends nothing: the name, the number of bytes, and so many bytes."""
    content = os.fsencode(value)
    return name.encode("ascii") + b"\n" + len(content).to_bytes(8, "little") + content + b"\n"


def _was_sent(path: str, datagram: bytes) -> bool:
    """False if nobody listens there. What has no room is lost."""
    try:
        _send(path, datagram)
    except BlockingIOError:
        if _patience:
            time.sleep(_patience.pop())
            return _was_sent(path, datagram)
    except OSError:
        return False
    return True


def _send(path: str, datagram: bytes) -> None:
    """OSError if it was not taken in."""
    integer, text, size = ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
    fd = check(proto(None, "socket", integer, integer, integer, integer)(AF_UNIX, _SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket")
    try:
        address = unix_address(path)
        send = proto(None, "sendto", ctypes.c_ssize_t, integer, text, size, integer, text, ctypes.c_uint)
        check(send(fd, datagram, len(datagram), MSG_NOSIGNAL | _MSG_DONTWAIT, address, len(address)), path)
    finally:
        os.close(fd)
