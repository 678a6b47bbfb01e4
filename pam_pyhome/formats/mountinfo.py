"""The kernel's list of mounts, ``/proc/PID/mountinfo``: proc_pid_mountinfo(5).

One line per mount: ``36 35 98:0 /root /mountpoint options [optional fields] - type source super-options``.
"""

from __future__ import annotations

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.escape import undo_octal
from pam_pyhome.record import Record

WHAT = "mountinfo"
_FIXED_FIELDS = 6


class Mount(Record):
    """One mount. `device` is ``major:minor``; paths and options have their octal escapes undone."""

    mount_id: int
    parent_id: int
    device: str
    root: bytes
    mountpoint: bytes
    options: bytes
    fstype: str
    source: bytes
    super_options: bytes


def parse_mountinfo(data: bytes) -> list[Mount]:
    """All mounts, in the order of the file. Raises FormatError for a line that is not of the documented form."""
    if data and not data.endswith(b"\n"):
        raise FormatError(WHAT, "the last line is not complete")
    return [_parse_line(line) for line in data.split(b"\n")[:-1]]


def _parse_line(line: bytes) -> Mount:
    head = line.split(b" ", _FIXED_FIELDS)
    _, separator, after = (b" " + head[-1]).partition(b" - ")
    tail = after.split(b" ", 2)
    if not separator or len(head) <= _FIXED_FIELDS or len(tail) != 3:
        raise FormatError(WHAT, "a line has too few fields")
    root, mountpoint, options = (undo_octal(field, WHAT) for field in head[3:_FIXED_FIELDS])
    source, super_options = (undo_octal(field, WHAT) for field in tail[1:])
    fstype = undo_octal(tail[0], WHAT).decode("utf-8", "surrogateescape")
    mount_id, parent_id = _number(head[0]), _number(head[1])
    return Mount(mount_id, parent_id, _device(head[2]), root, mountpoint, options, fstype, source, super_options)


def _number(field: bytes) -> int:
    if not field.isdigit() or len(field) > 20:
        raise FormatError(WHAT, "a number is not one")
    return int(field)


def _device(field: bytes) -> str:
    major, colon, minor = field.partition(b":")
    if not colon:
        raise FormatError(WHAT, "a device is not major:minor")
    return f"{_number(major)}:{_number(minor)}"
