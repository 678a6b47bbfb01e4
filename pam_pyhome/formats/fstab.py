"""What root says is mounted where: ``/etc/fstab``, fstab(5), and the mount units of systemd, systemd.mount(5)."""

from __future__ import annotations

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.escape import lines, undo_octal
from pam_pyhome.record import Record

WHAT = "fstab"
FSTAB, UNIT_SUFFIX = "/etc/fstab", ".mount"
MAX_SIZE = 1 << 18
#: Options that let others than root mount.
OF_USERS = frozenset({"user", "users", "owner", "group"})

_FIELDS = 4
_PLAIN = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz:_."


class Entry(Record):
    """What is to be mounted (a path, ``UUID=`` and the like), where, and whether only root may do that."""

    what: str
    where: bytes
    by_root_only: bool


def parse_fstab(data: bytes) -> list[Entry]:
    """All lines that make sense."""
    found = []
    for line in lines(data):
        fields = line.split()
        if len(fields) < _FIELDS or fields[0].startswith(b"#"):
            continue
        try:
            what, where = undo_octal(fields[0], WHAT), undo_octal(fields[1], WHAT)
        except FormatError:
            continue
        options = {option.partition(b"=")[0].decode("ascii", "replace") for option in fields[3].split(b",")}
        found.append(Entry(_unquoted(what), where.rstrip(b"/") or b"/", not options & OF_USERS))
    return found


def _unquoted(what: bytes) -> str:
    """`what` without the quotation marks that the value of a tag may have."""
    name, equals, value = what.decode("utf-8", "surrogateescape").partition("=")
    return name + equals + value.strip('"')


def unit_name(where: bytes) -> str:
    """The name of the unit for a mount point, as ``systemd-escape --path --suffix=mount`` gives it."""
    parts = b"-".join(_escaped(part) for part in where.split(b"/") if part) or b"-"
    return (b"\\x2e" + parts[1:] if parts.startswith(b".") else parts).decode("ascii") + UNIT_SUFFIX


def _escaped(part: bytes) -> bytes:
    return b"".join(bytes([byte]) if byte in _PLAIN else b"\\x%02x" % byte for byte in part)


def parse_unit(data: bytes, where: bytes) -> Entry | None:
    """What the unit for a mount point mounts; None if it does not say."""
    values = [
        line.partition(b"=")[2].strip() for line in lines(data) if line.partition(b"=")[0].strip() == b"What"
    ]
    return Entry(_unquoted(values[-1]), where, by_root_only=True) if values and values[-1] else None
