"""Protocol Buffers on the wire, as much of it as fscrypt's metadata uses, with every unknown field kept byte for byte.

A message is a sequence of ``varint key | value``; the key is the field's number shifted left by three, and the kind of its
value: 0 a varint, 1 eight bytes, 2 a varint size and so many bytes, 5 four bytes. Groups (3 and 4) are not accepted. See
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from pam_pyhome.errors import FormatError
from pam_pyhome.record import Record

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {FIXED64: 8, FIXED32: 4}
_NUMBER_MAX = (1 << 29) - 1
_VARINT_BYTES = 10
_BITS = 64


class Field(Record):
    """One field: its `number` and `kind`, its `value` (an integer for VARINT, else bytes), and `raw`, the bytes it came from."""

    number: int
    kind: int
    value: int | bytes
    raw: bytes

    def __repr__(self) -> str:
        """Never the value."""
        return f"Field({self.number}, {self.kind}, {len(self.raw)} bytes)"


class Message(Record):
    """A message of the format called `what`: its fields in the order in which they stood."""

    what: str
    fields: tuple[Field, ...]

    def emit(self) -> bytes:
        """The message's bytes; those it was parsed from, but for fields that were replaced."""
        return b"".join(field.raw for field in self.fields)

    def integer(self, number: int) -> int:
        """The unsigned integer of field `number`, 0 if it is not there. FormatError if it is another kind, or there twice."""
        field = self._single(number, VARINT)
        return field.value if field is not None and isinstance(field.value, int) else 0

    def data(self, number: int) -> bytes | None:
        """The bytes of field `number`, None if it is not there. FormatError if it is another kind, or there twice."""
        field = self._single(number, BYTES)
        return field.value if field is not None and isinstance(field.value, bytes) else None

    def text(self, number: int) -> str:
        """The text of field `number`, empty if it is not there. FormatError if it is not UTF-8."""
        try:
            return (self.data(number) or b"").decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError(self.what, f"field {number} is not text") from None

    def messages(self, number: int, what: str) -> tuple[Message, ...]:
        """All messages in field `number`, which may be repeated."""
        found = [field for field in self.fields if field.number == number]
        if any(field.kind != BYTES for field in found):
            raise FormatError(self.what, f"field {number} is of another kind")
        return tuple(parse_message(field.value, what) for field in found if isinstance(field.value, bytes))

    def message(self, number: int, what: str) -> Message | None:
        """The message in field `number`, None if it is not there. FormatError if it is there twice."""
        data = self.data(number)
        return None if data is None else parse_message(data, what)

    def replaced(self, number: int, value: bytes) -> Message:
        """The same message with `value` as field `number`, in the place of the present one or at the end."""
        new = bytes_field(number, value)
        if self._single(number, BYTES) is None:
            return Message(self.what, (*self.fields, new))
        return Message(self.what, tuple(new if field.number == number else field for field in self.fields))

    def _single(self, number: int, kind: int) -> Field | None:
        found = [field for field in self.fields if field.number == number]
        if len(found) > 1:
            raise FormatError(self.what, f"field {number} stands {len(found)} times")
        if found and found[0].kind != kind:
            raise FormatError(self.what, f"field {number} is of another kind")
        return found[0] if found else None


def parse_message(data: bytes, what: str) -> Message:
    """Read a whole message of the format called `what`. FormatError for anything that is not one."""
    fields, offset = [], 0
    while offset < len(data):
        field = _parse_field(data, offset, what)
        offset += len(field.raw)
        fields.append(field)
    return Message(what, tuple(fields))


def _parse_field(data: bytes, start: int, what: str) -> Field:
    key, offset = _parse_varint(data, start, what)
    number, kind = key >> 3, key & 7
    if not 1 <= number <= _NUMBER_MAX:
        raise FormatError(what, f"field number {number} is out of range")
    if kind == VARINT:
        integer, offset = _parse_varint(data, offset, what)
        return Field(number, kind, integer, data[start:offset])
    size = _FIXED_SIZES.get(kind, 0)
    if kind == BYTES:
        size, offset = _parse_varint(data, offset, what)
    elif not size:
        raise FormatError(what, f"field {number} is of unknown kind {kind}")
    if size > len(data) - offset:
        raise FormatError(what, f"field {number} is cut off")
    return Field(number, kind, data[offset : offset + size], data[start : offset + size])


def _parse_varint(data: bytes, start: int, what: str) -> tuple[int, int]:
    """The integer at `start` and the offset behind it."""
    value = 0
    for index, byte in enumerate(data[start : start + _VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >> _BITS:
                break
            return value, start + index + 1
    raise FormatError(what, "an integer is cut off or too large")


def varint(value: int) -> bytes:
    """The shortest encoding of an integer of 0 to 64 bits."""
    if value < 0 or value >> _BITS:
        raise ValueError(f"{value} is not an unsigned integer of 64 bits")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def bytes_field(number: int, value: bytes) -> Field:
    """A field of bytes, text or a message."""
    return Field(number, BYTES, value, varint(number << 3 | BYTES) + varint(len(value)) + value)


def integer_field(number: int, value: int) -> Field:
    """A field of an unsigned integer or a truth value."""
    return Field(number, VARINT, value, varint(number << 3 | VARINT) + varint(value))


def build(what: str, *fields: Field | None) -> Message:
    """A message of the given fields; None and, as in proto3, integers of 0 are left out."""
    return Message(what, tuple(field for field in fields if field is not None and field.value != 0))
