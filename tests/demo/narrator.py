"""Tells what happens, in plain sentences, with the seconds since the beginning."""

from __future__ import annotations

import sys
import time


class Narrator:
    """Writes to the standard output, at once."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def tell(self, sentence: str) -> None:
        """One step."""
        self._print(f"\n[{time.monotonic() - self._began:4.1f} s] {sentence}")

    def show(self, command: str, said: str) -> None:
        """A command and its output, as on a terminal."""
        lines = [line.rstrip() for line in said.strip("\r\n").splitlines()]
        self._print("\n".join([f"    {command}", *(f"      {line}" for line in lines)]))

    def _print(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
