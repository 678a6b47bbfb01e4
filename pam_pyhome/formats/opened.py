"""What the auth phase hands to the session phase: an opened home, ready to be mounted.

``magic "PYHOPEN" | u8 version (2) | blob user | blob backend | u16 count | count times (blob signature, blob payload) |
u8 rewrite [| blob expected | blob content] | blob used | u8 vouched``, with the integers and blobs of `pam_pyhome.formats.binary`;
``rewrite`` is 0 or 1, or 2 for none where it was a recovery key that opened the home. Version 1 ends before ``used``.
"""

from __future__ import annotations

import struct

from pam_pyhome.errors import FormatError, UnknownVersionError
from pam_pyhome.formats.binary import Reader, pack_blob, pack_text
from pam_pyhome.record import Record

WHAT = "opened home"
_MAGIC = b"PYHOPEN"
_VERSION = 2
_WITHOUT_USED = 1
_KEYS_MAX = 64
_BY_KEY = 2


class Rewrite(Record):
    """A wrapped file to be replaced: only if it still reads `expected`, by `content`."""

    expected: bytes
    content: bytes

    def __repr__(self) -> str:
        """Show the sizes only."""
        return f"Rewrite(expected={len(self.expected)} bytes, content={len(self.content)} bytes)"


class OpenedHome(Record):
    """The `keys` of a home as pairs of signature and kernel payload, and a rewrite that its file needs.

    `by_key`: a recovery key has opened it, and nothing is rewritten: what the password opens has not proved to be good. `used`: the
    key file that the password has opened, empty if none. `vouched`: somebody else has verified who opens the home.
    """

    user: str
    backend: str
    keys: tuple[tuple[str, bytes], ...]
    rewrite: Rewrite | None
    by_key: bool = False
    used: bytes = b""
    vouched: bool = False

    def with_vouched(self) -> OpenedHome:
        """The same, of somebody whom others have verified."""
        return OpenedHome(self.user, self.backend, self.keys, self.rewrite, self.by_key, self.used, vouched=True)

    def without_rewrite(self) -> OpenedHome:
        """The same where the file is written already."""
        return OpenedHome(self.user, self.backend, self.keys, None, self.by_key, self.used, self.vouched)

    def __repr__(self) -> str:
        """Never the payloads."""
        signatures = ", ".join(signature for signature, _ in self.keys)
        return f"OpenedHome({self.user!r}, {self.backend!r}, keys: {signatures}, {self.rewrite!r})"


def _fail(reason: str) -> FormatError:
    return FormatError(WHAT, reason)


def emit_opened(opened: OpenedHome) -> bytes:
    """Write an opened home. Raises FormatError for strings with a NUL, for more than 64 keys, and for `by_key` with a rewrite."""
    if opened.by_key and opened.rewrite is not None:
        raise _fail("a recovery key and a rewrite")
    if len(opened.keys) > _KEYS_MAX:
        raise _fail(f"{len(opened.keys)} keys")
    out = _MAGIC + bytes([_VERSION]) + pack_text(opened.user, _fail) + pack_text(opened.backend, _fail)
    out += struct.pack("<H", len(opened.keys))
    for signature, payload in opened.keys:
        out += pack_text(signature, _fail) + pack_blob(payload)
    if opened.rewrite is None:
        out += bytes([_BY_KEY if opened.by_key else 0])
    else:
        out += b"\1" + pack_blob(opened.rewrite.expected) + pack_blob(opened.rewrite.content)
    return out + pack_blob(opened.used) + bytes([opened.vouched])


def parse_opened(data: bytes) -> OpenedHome:
    """Read what `emit_opened` wrote. Raises FormatError, and UnknownVersionError for another version."""
    reader = Reader(data, _fail)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise _fail("the magic is missing")
    version = reader.integer("B")
    if version not in (_WITHOUT_USED, _VERSION):
        raise UnknownVersionError(WHAT, version)
    user, backend = reader.text(), reader.text()
    keys, mark = _parse_keys(reader), reader.integer("B")
    if mark > _BY_KEY:
        raise _fail("the mark of a rewrite is not 0, 1 or 2")
    rewrite = Rewrite(reader.value(), reader.value()) if mark == 1 else None
    used, vouched = (b"", 0) if version == _WITHOUT_USED else (reader.value(), reader.integer("B"))
    reader.end()
    if vouched > 1:
        raise _fail("a flag is neither 0 nor 1")
    return OpenedHome(user, backend, keys, rewrite, mark == _BY_KEY, used, bool(vouched))


def _parse_keys(reader: Reader) -> tuple[tuple[str, bytes], ...]:
    count = reader.integer("H")
    if count > _KEYS_MAX:
        raise _fail(f"{count} keys")
    return tuple((reader.text(), reader.value()) for _ in range(count))
