"""Names and paths in sentences. Whoever has chosen them may have had a terminal, a log or root's shell in mind."""

from __future__ import annotations

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-")


def one_line(text: str) -> str:
    """`text` with everything escaped that is not printable, so that a strange path cannot make a second line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def quoted(name: str) -> str:
    """A name or path as one word of a command, for people to type or copy.

    One with characters that cannot be printed is printed with those escaped, and so names nothing.
    """
    word = one_line(name)
    if word and not frozenset(word) - _PLAIN:
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"
