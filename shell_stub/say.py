"""What is said to people and not to programs."""

from __future__ import annotations

import os


def say(line: str) -> None:
    """One line on the standard error, which may be closed; the standard output belongs to the command."""
    try:
        os.write(2, f"pyhome: {line}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass
