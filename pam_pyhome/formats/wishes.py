"""What the owner of an fscrypt home wishes, as `/var/lib/pyhome/UID.USER/wishes` keeps it.

Two lines and nothing else, each ``NAME=yes`` or ``NAME=no``: ``open_at_login``, then ``lock_at_logout``. eCryptfs has flag files
for the same.
"""

from __future__ import annotations

from pam_pyhome.errors import FormatError

NAME = "wishes"
MAX_SIZE = 64
_WORDS = {b"yes": True, b"no": False}


def emit_wishes(*, open_at_login: bool, lock_at_logout: bool) -> bytes:
    """Both lines."""
    return b"open_at_login=%s\nlock_at_logout=%s\n" % (_word(open_at_login), _word(lock_at_logout))


def _word(value: bool) -> bytes:  # noqa: FBT001 - it is the value that is written
    return b"yes" if value else b"no"


def parse_wishes(data: bytes) -> tuple[bool, bool]:
    """Whether the home is opened at login, and locked at logout. FormatError for anything that `emit_wishes` does not write."""
    for opens in _WORDS.values():
        for locks in _WORDS.values():
            if data == emit_wishes(open_at_login=opens, lock_at_logout=locks):
                return opens, locks
    raise FormatError(NAME, "does not say two wishes")
