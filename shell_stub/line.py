"""One answer as it is typed, key by key, with the corrections that a terminal offers."""

from __future__ import annotations

import termios

from pam_pyhome.formats.broker import MAX_SECRET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CONTROLS = 6
_ERASE = (b"\x08", b"\x7f")  # terminals do not agree with their own settings about it


class Line:
    """What was typed since the last end of a line; the terminal gives each key at once, so that it is seen that somebody types."""

    def __init__(self, modes: list[Any]) -> None:
        """`modes` as tcgetattr(3) gives them: they say which keys correct and end a line."""
        controls = modes[_CONTROLS] if modes else []
        self._keys = {controls[name]: name for name in (termios.VKILL, termios.VWERASE, termios.VEOF, termios.VLNEXT) if controls}
        self._keys.update(dict.fromkeys((*_ERASE, controls[termios.VERASE] if controls else _ERASE[0]), termios.VERASE))
        self._keys.pop(b"\0", None)
        self._typed = bytearray(MAX_SECRET)
        self._size = 0
        self._literal = False

    def key(self, key: bytes) -> bytearray | None:
        """Take one byte; the whole answer if that ended it. The caller wipes it. One that is too long is an empty one.

        EOFError if the end of input was typed, and nothing else.
        """
        meaning = None if self._literal else self._keys.get(key)
        ends = not self._literal and key == b"\n"
        self._literal = meaning == termios.VLNEXT
        if meaning == termios.VEOF and not self._size:
            raise EOFError
        if ends or meaning == termios.VEOF:
            return self._typed[: self._size] if self._size <= MAX_SECRET else bytearray()
        if meaning is None:
            self._add(key)
        elif meaning != termios.VLNEXT:
            self._correct(meaning)
        return None

    def _add(self, key: bytes) -> None:
        if self._size < MAX_SECRET:
            self._typed[self._size] = key[0]
        self._size += 1

    def _correct(self, meaning: int) -> None:
        """Take back a letter, a word or all."""
        if meaning == termios.VERASE:
            self._drop_letter()
        elif meaning == termios.VKILL:
            self._size = 0
        else:
            while self._size and self._last() == b" ":
                self._drop_letter()
            while self._size and self._last() != b" ":
                self._drop_letter()

    def _drop_letter(self) -> None:
        """All bytes of one letter in UTF-8."""
        while self._size and b"\x80" <= self._last() < b"\xc0":
            self._size -= 1
        self._size = max(0, self._size - 1)

    def _last(self) -> bytes:
        """The last byte; of what is too long, any."""
        return bytes(self._typed[min(self._size, MAX_SECRET) - 1 : min(self._size, MAX_SECRET)])

    def wipe(self) -> None:
        """Forget it."""
        wipe(self._typed)


def wipe(buffer: bytearray) -> None:
    """Overwrite in place."""
    buffer[:] = bytes(len(buffer))
