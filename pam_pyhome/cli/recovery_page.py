"""A page to print with a recovery key on it, as text and as a drawing; and QR codes in characters."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Modules = Sequence[Sequence[bool]]

#: Modules of white around a code, without which it is not read: ISO/IEC 18004.
BORDER = 4
_UPPER, _LOWER, _FULL = "\N{UPPER HALF BLOCK}", "\N{LOWER HALF BLOCK}", "\N{FULL BLOCK}"
_BLOCKS = {(False, False): " ", (True, False): _UPPER, (False, True): _LOWER, (True, True): _FULL}
_MARGIN, _LINE, _MODULE = 20, 7, 1.6  # mm, on A4


class Page(NamedTuple):
    """What is on it: whose key, of which home, of which machine, when it was made, and the key."""

    user: str
    home: str
    machine: str
    when: str
    recovery: str


def _lines(page: Page) -> list[str]:
    groups = page.recovery.split("-")
    return [
        f"Recovery key of the encrypted home of {page.user}",
        "",
        f"Home:     {page.home}",
        f"Machine:  {page.machine}",
        f"Made:     {page.when}",
        "",
        *("    " + " - ".join(groups[start : start + 4]) for start in range(0, len(groups), 4)),
        "",
        "Whoever has this key can open the home, whatever becomes of its password.",
        "Keep it where no thief finds it, and not on the same machine.",
        "",
        "To open the home with it: mount the disk that the home is on, on this",
        "machine or any other that has pyhome, and run as root",
        "",
        "    pyhome recover PATH",
        "",
        "where PATH is where the disk is mounted. Type the key in when it is asked",
        "for, in groups as above; the last character of each group is a check. There",
        "is no i, l or o in it: what looks like one is a digit.",
    ]


def text(page: Page, modules: Modules) -> str:
    """The page as lines of text, the QR code in block characters: ink is black."""
    return "\n".join([*_lines(page), "", *half_blocks(modules)]) + "\n"


def half_blocks(modules: Modules) -> Iterator[str]:
    """A QR code in lines of characters, two rows of modules in each; what is black in the code is ink."""
    rows = [*modules, *[[False] * len(modules[0])] * (len(modules) % 2)]
    for upper, lower in zip(rows[::2], rows[1::2]):
        yield "".join(_BLOCKS[pair] for pair in zip(upper, lower))


def svg(page: Page, modules: Modules) -> str:
    """The page as a drawing for A4 paper: SVG 1.1."""
    lines = _lines(page)
    words = [
        f'<text x="{_MARGIN}" y="{_MARGIN + number * _LINE}" xml:space="preserve">{html.escape(line)}</text>'
        for number, line in enumerate(lines, start=1)
        if line
    ]
    top = _MARGIN + (len(lines) + 1) * _LINE
    black = [(x, y) for y, row in enumerate(modules) for x, module in enumerate(row) if module]
    squares = "".join(f"M{x} {y}h1v1h-1z" for x, y in black)
    return "\n".join(
        (
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<svg xmlns="http://www.w3.org/2000/svg" version="1.1" width="210mm" height="297mm" viewBox="0 0 210 297">',
            '<rect width="210" height="297" fill="#fff"/>',
            '<g font-family="monospace" font-size="4" fill="#000">',
            *words,
            "</g>",
            f'<path transform="translate({_MARGIN} {top}) scale({_MODULE})" fill="#000" d="{squares}"/>',
            "</svg>",
            "",
        )
    )
