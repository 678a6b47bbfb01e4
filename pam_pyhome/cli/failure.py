"""Failures on their way to the one line that the command prints about them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from pam_pyhome.cli.advice import one_line, sentence
from pam_pyhome.errors import PyhomeError

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERRUPTED = 130


class CommandError(Exception):
    """A command failed: the line that says so, and the exit status."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Put the name of the running command before the message."""
        super().__init__(one_line(f"{click.get_current_context().command_path}: {message}"))
        self.exit_code = exit_code


@contextlib.contextmanager
def reported(thing: str) -> Iterator[None]:
    """Turn what goes wrong with `thing` into a CommandError."""
    try:
        yield
    except PyhomeError as error:
        raise CommandError(sentence(error, thing), error.exit_code) from error
    except OSError as error:
        raise CommandError(sentence(error, thing), 1) from error
    except KeyboardInterrupt as error:
        raise CommandError(f"{thing}: interrupted; start again if that was not meant", INTERRUPTED) from error
