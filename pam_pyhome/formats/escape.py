r"""The lines of a file, and backslash and three octal digits for bytes that would break one: ``\040`` is a space."""

from __future__ import annotations

from pam_pyhome.errors import FormatError

_OCTAL = b"01234567"
_HIGHEST = 0o377


def lines(data: bytes) -> list[bytes]:
    """The lines with their ends, which the last may lack. Unlike for `bytes.splitlines`, a CR ends none.

    The kernel puts it into mountinfo as it is, and to sshd and PAM it is no end of a line either.
    """
    *whole, last = data.split(b"\n")
    return [line + b"\n" for line in whole] + ([last] if last else [])


def undo_octal(data: bytes, what: str) -> bytes:
    """Replace every escape by its byte. Raises FormatError, naming `what`, for a backslash that begins no escape."""
    head, *escapes = data.split(b"\\")
    return head + b"".join(_undo_one(escaped, what) for escaped in escapes)


def _undo_one(escaped: bytes, what: str) -> bytes:
    digits = escaped[:3]
    if len(digits) != 3 or digits.strip(_OCTAL) or int(digits, 8) > _HIGHEST:
        raise FormatError(what, "a backslash without three octal digits")
    return bytes([int(digits, 8)]) + escaped[3:]


def to_octal(data: bytes) -> bytes:
    """Escape control bytes, DEL, everything beyond ASCII and the backslash itself."""
    return b"".join(bytes([byte]) if is_plain(byte) else b"\\%03o" % byte for byte in data)


def is_plain(byte: int) -> bool:
    """Whether `to_octal` leaves this byte alone: printable ASCII other than the backslash."""
    return 0x20 <= byte < 0x7F and byte != 0x5C
