"""Bytes that must not be printed, compared in variable time, pickled or left behind."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import NoReturn, Self


class Secret:
    """A secret of any length in a buffer that `wipe` overwrites. Use as a context manager, or wipe it yourself.

    Python may have made copies of the bytes it was built from; the processes that hold secrets are short-lived, locked
    in memory and undumpable for that reason.
    """

    __slots__ = ("_buffer",)

    def __init__(self, value: bytes | bytearray | memoryview) -> None:
        """Copy `value`; the caller still owns its own copy."""
        self._buffer = bytearray(value)

    def reveal(self) -> bytes:
        """The secret itself. Name every call site in a review."""
        return bytes(self._buffer)

    def wipe(self) -> None:
        """Overwrite and forget the secret; harmless when done twice."""
        self._buffer[:] = bytes(len(self._buffer))
        self._buffer.clear()

    def __len__(self) -> int:
        """Size in bytes; 0 after `wipe`."""
        return len(self._buffer)

    def __eq__(self, other: object) -> bool:
        """Compare with another Secret in a time that does not depend on where they differ."""
        if not isinstance(other, Secret) or len(self) != len(other):
            return False
        difference = 0
        for left, right in zip(self._buffer, other._buffer):
            difference |= left ^ right
        return difference == 0

    __hash__ = None  # type: ignore[assignment]  # a secret is never a key of a table

    def __enter__(self) -> Self:
        """Return the secret, to be wiped on exit."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wipe."""
        self.wipe()

    def __repr__(self) -> str:
        """Never the content."""
        return "Secret(hidden)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise TypeError("a Secret is not pickled or copied")
