"""Passwords for whoever asks for them: typed at the terminal, or read from a file."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import click

from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.terminal import LINE_MAX, ask
from pam_pyhome.errors import NoAnswerError, PasswordUnchangedError
from pam_pyhome.formats.recovery import mistyped
from pam_pyhome.policy.messages import KEY_PROMPT

if TYPE_CHECKING:
    from collections.abc import Callable

STDIN = "-"
_TRIES = 3


class AtTerminal:
    """The `policy.verbs.Talk` of a person at a terminal. Prompts go there, what is said goes to the standard error."""

    def __init__(self, show: Callable[[str], None] | None = None) -> None:
        """`show` is given a new recovery key; without it, there is to be none."""
        self._show = show or _refuse_key

    def ask(self, prompt: str, *, new: bool = False, until: Callable[[], bool] | None = None) -> bytes | None:
        """See `Talk.ask`. NoAnswerError without a terminal; PasswordUnchangedError if a new password was not typed twice."""
        if not new:
            return self._ask_known(prompt)
        for _ in range(_TRIES):
            line = _ask(prompt)
            answer = line.removesuffix(b"\n")
            if not line:
                return answer  # Ctrl-D: nothing more is to come
            if not answer:
                self.say("That is empty; type one, or Ctrl-C to give up.")
            elif _ask(f"{prompt.rstrip(': ')} (again): ").removesuffix(b"\n") == answer:
                return answer
            else:
                self.say("The two are not the same; type both once more.")
        raise PasswordUnchangedError("", "the new passwords do not match")

    def _ask_known(self, prompt: str) -> bytes:
        """A password, which nobody sees; or a recovery key, which is long and shown, and again if a group of it is mistyped."""
        answer = _ask(prompt, shown=prompt == KEY_PROMPT).removesuffix(b"\n")
        for _ in range(_TRIES - 1):
            defect = mistyped(answer)
            if not defect:
                break
            self.say(f"This recovery key is {defect}; type it once more, it is shown now.")
            before, answer = answer, _ask(KEY_PROMPT, shown=True).removesuffix(b"\n")
            if answer == before:
                break  # a password can look like one
        return answer

    def say(self, line: str) -> None:
        """Show a line."""
        click.echo(one_line(line), err=True)

    def show_key(self, key: str) -> None:
        """See `Talk.show_key`."""
        self._show(key)

    def pause(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


def _ask(prompt: str, *, shown: bool = False) -> bytes:
    try:
        return ask(prompt.rstrip(": "), shown=shown)
    except OSError:
        raise NoAnswerError("there is no terminal to ask for the password on") from None


class FromFile(AtTerminal):
    """The `policy.verbs.Talk` of a script: each line of a file answers one prompt. What would be said to a person is not said."""

    def __init__(self, path: str, show: Callable[[str], None] | None = None) -> None:
        """Open the file, or take the standard input for ``-``. NoAnswerError if that cannot be read."""
        super().__init__(show)
        try:
            self._file = sys.stdin.buffer if path == STDIN else open(path, "rb", opener=_open_gently)  # noqa: SIM115 - read later
        except OSError as error:
            raise NoAnswerError(f"{path}: {error.strerror}") from error
        self._path = path

    def ask(self, prompt: str, *, new: bool = False, until: Callable[[], bool] | None = None) -> bytes | None:
        """See `Talk.ask`. NoAnswerError if the file cannot be read."""
        try:
            line = self._file.readline(LINE_MAX)
        except OSError as error:
            raise NoAnswerError(f"{self._path}: {error.strerror}") from error
        return line.removesuffix(b"\n") if line else None

    def both(self) -> tuple[bytes, bytes]:
        """The present password and the new one. NoAnswerError if there are not two lines."""
        present, new = self.ask(""), self.ask("")
        if present is None or new is None:
            raise NoAnswerError("the file has not two lines, the present password and the new one")
        return present, new

    def say(self, line: str) -> None:
        """Say nothing."""


def answers(path: str | None, show: Callable[[str], None] | None = None) -> AtTerminal:
    """Where passwords come from: the file at `path`, or the terminal; `show` takes a new recovery key. NoAnswerError."""
    return AtTerminal(show) if path is None else FromFile(path, show)


def _refuse_key(_key: str) -> None:
    raise NoAnswerError("nobody has asked for a recovery key")


def _open_gently(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOCTTY | os.O_CLOEXEC)
