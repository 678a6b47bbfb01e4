"""What is prepared where a recovery key has opened an fscrypt home: a new login protector, and the policy that it opens.

It travels in the place of a prepared protector (`formats/opened.py`): ``magic "PYHRENEW" | u8 version (1) | blob descriptor |
blob protector | blob policy``, with the blobs of `pam_pyhome.formats.binary`. No protector begins like that.
"""

from __future__ import annotations

from pam_pyhome.errors import FormatError, UnknownVersionError
from pam_pyhome.formats.binary import Reader, pack_blob, pack_text
from pam_pyhome.record import Record

WHAT = "prepared login protector"
_MAGIC = b"PYHRENEW"
_VERSION = 1


class Renewal(Record):
    """A login protector of the name `descriptor`, and the home's policy with it: the bytes of both files."""

    descriptor: str
    protector: bytes
    policy: bytes


def is_renewal(data: bytes) -> bool:
    """Whether `data` is one, and not a protector."""
    return data.startswith(_MAGIC)


def emit_renewal(renewal: Renewal) -> bytes:
    """Write one."""
    texts = pack_text(renewal.descriptor, _fail) + pack_blob(renewal.protector) + pack_blob(renewal.policy)
    return _MAGIC + bytes([_VERSION]) + texts


def parse_renewal(data: bytes) -> Renewal:
    """Read what `emit_renewal` wrote. FormatError, UnknownVersionError."""
    reader = Reader(data, _fail)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise _fail("the magic is missing")
    version = reader.integer("B")
    if version != _VERSION:
        raise UnknownVersionError(WHAT, version)
    renewal = Renewal(reader.text(), reader.value(), reader.value())
    reader.end()
    return renewal


def _fail(reason: str) -> FormatError:
    return FormatError(WHAT, reason)
