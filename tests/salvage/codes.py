"""What a phone sees: QR codes in characters and in drawings, read by the real `zbarimg`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ZOOM = 8
_BLOCKS = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}


def from_text(said: str) -> list[list[int]]:
    """The modules of a code that is printed in half blocks, whatever stands around it; 1 is ink."""
    lines = [line for line in said.splitlines() if line and not line.strip("".join(_BLOCKS))]
    lines = [line for line in lines if len(line) == max(map(len, lines))]
    return [[_BLOCKS[letter][half] for letter in line] for line in lines for half in (0, 1)]


def from_svg(drawing: str) -> list[list[int]]:
    """The modules of the one path in a drawing."""
    (path,) = re.findall(r' d="([^"]*)"', drawing)
    squares = [(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", path)]
    assert "".join(f"M{x} {y}h1v1h-1z" for x, y in squares) == path
    size = max(max(square) for square in squares) + 5
    return [[int((x, y) in squares) for x in range(size)] for y in range(size)]


def decoded(modules: list[list[int]], directory: Path) -> str:
    """What `zbarimg` reads."""
    rows = ["".join(str(module) * ZOOM for module in row) for row in modules for _ in range(ZOOM)]
    image = directory / "code.pbm"
    image.write_text(f"P1\n{len(rows[0])} {len(rows)}\n" + "\n".join(rows) + "\n", encoding="ascii")
    command = ["zbarimg", "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", str(image)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.rstrip("\n")
