"""The record of a file system that root has approved: ``/var/lib/pyhome/trusted/UUID`` or ``UUID.USER``.

Lines of ``name=value``, each once and ended by LF: ``uuid``, ``disk`` (what tells its disk from another one, as
`kernel.filesystems.disk_of` has it), ``mountpoint`` (where it was at that time, for people to read), ``user`` (whose keys it gets;
empty for everybody's). In values, control bytes, the backslash and everything beyond ASCII are a backslash and three octal digits.
"""

from __future__ import annotations

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.escape import to_octal, undo_octal
from pam_pyhome.record import Record

WHAT = "record of an approved file system"
MAX_SIZE = 32768
_NAMES = ("uuid", "disk", "mountpoint", "user")


class Approval(Record):
    """What root has approved."""

    uuid: str
    disk: str
    mountpoint: str
    user: str


def emit_approval(approval: Approval) -> bytes:
    """Write a record."""
    values = ((name, str(getattr(approval, name)).encode("utf-8", "surrogateescape")) for name in _NAMES)
    return b"".join(name.encode("ascii") + b"=" + to_octal(value) + b"\n" for name, value in values)


def parse_approval(data: bytes) -> Approval:
    """Read a record. FormatError for missing, repeated and unknown names."""
    found: dict[str, str] = {}
    if not data.endswith(b"\n"):
        raise FormatError(WHAT, "the last line is not complete")
    for line in data.split(b"\n")[:-1]:
        name, _, value = line.partition(b"=")
        key = name.decode("ascii", "replace")
        if key not in _NAMES or key in found:
            raise FormatError(WHAT, "a line is not name=value with a known name, or stands twice")
        found[key] = undo_octal(value, WHAT).decode("utf-8", "surrogateescape")
    if len(found) != len(_NAMES):
        raise FormatError(WHAT, "a name is missing")
    return Approval(*(found[name] for name in _NAMES))
