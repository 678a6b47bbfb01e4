"""Reading and writing packed fields: the part that the shim's protocol and the opened home have in common.

All integers are little-endian. A *blob* is ``u32 size | bytes``; size 0xFFFFFFFF is NULL and nothing follows.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NULL_SIZE = 0xFFFFFFFF


class Reader:
    """A cursor over bytes that never reads past the end. `fail` makes the exception to raise from a reason."""

    def __init__(self, data: bytes, fail: Callable[[str], Exception]) -> None:
        """Start at the first byte."""
        self._data = data
        self._offset = 0
        self._fail = fail

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self._offset + size
        if end > len(self._data):
            raise self._fail(f"{end - len(self._data)} bytes are missing")
        taken = self._data[self._offset : end]
        self._offset = end
        return taken

    def integer(self, code: str) -> int:
        """The next integer; `code` is its struct letter (B u8, H u16, I u32, i i32)."""
        packed = "<" + code
        value: int = struct.unpack(packed, self.take(struct.calcsize(packed)))[0]
        return value

    def blob(self) -> bytes | None:
        """The next blob; None for NULL."""
        size = self.integer("I")
        return None if size == NULL_SIZE else self.take(size)

    def value(self) -> bytes:
        """The next blob, which must not be NULL."""
        blob = self.blob()
        if blob is None:
            raise self._fail("a value is NULL")
        return blob

    def text(self) -> str:
        """The next blob, which must be a string: not NULL, without NUL. Bytes that are not UTF-8 become surrogates."""
        value = self.value()
        if b"\0" in value:
            raise self._fail("a string has a NUL in it")
        return value.decode("utf-8", "surrogateescape")

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self._data) - self._offset)

    def end(self) -> None:
        """Insist that nothing is left."""
        left = len(self._data) - self._offset
        if left:
            raise self._fail(f"{left} bytes too many")


def pack_blob(value: bytes | None) -> bytes:
    """Write one blob; None is NULL."""
    return struct.pack("<I", NULL_SIZE) if value is None else struct.pack("<I", len(value)) + value


def pack_text(value: str, fail: Callable[[str], Exception]) -> bytes:
    """Write one string as `Reader.text` reads it; raises what `fail` makes if it has a NUL or does not encode."""
    try:
        encoded = value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise fail("a string cannot be encoded") from None
    if b"\0" in encoded:
        raise fail("a string has a NUL in it")
    return pack_blob(encoded)
