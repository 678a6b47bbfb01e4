"""Failures on their way to the one line that the command prints about them, and with --json to an object that says the same."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import click

from pam_pyhome.cli.advice import one_line, sentence
from pam_pyhome.errors import NotAllowedError, PyhomeError
from pam_pyhome.formats.facts import Failure
from pam_pyhome.policy.failures import failure_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

INTERRUPTED = 130


class CommandError(Exception):
    """A command failed: the line that says so, and the exit status.

    `failure` has the facts, if there are more than its cause has; `fields` go beside the error in an object.
    """

    def __init__(
        self, message: str, exit_code: int, failure: Failure | None = None, fields: Mapping[str, object] | None = None
    ) -> None:
        """Put the name of the running command before the message."""
        super().__init__(one_line(f"{click.get_current_context().command_path}: {message}"))
        self.message = message
        self.exit_code = exit_code
        self.fields = fields or {}
        self._failure = failure

    @property
    def failure(self) -> Failure:
        """What there is to know: of an error of ours its class and its facts, else the status alone."""
        if self._failure is not None:
            return self._failure
        cause = self.__cause__
        return failure_of(cause) if isinstance(cause, (PyhomeError, OSError)) else Failure(self.exit_code, "")


def insist_on_root(why: str) -> None:
    """CommandError unless root runs the command; `why` it has to."""
    if os.geteuid() != 0:
        code = NotAllowedError.exit_code
        raise CommandError(f"{why}; run it as root", code, Failure(code, NotAllowedError.__name__, "", why))


@contextlib.contextmanager
def reported(thing: str) -> Iterator[None]:
    """Turn what goes wrong with `thing` into a CommandError."""
    try:
        yield
    except (PyhomeError, OSError) as error:
        failure = failure_of(error)
        if thing.endswith(f"/{failure.what}"):  # it was opened below a directory that was open
            failure = Failure(failure.code, failure.kind, thing, failure.reason, failure.lines)
        raise CommandError(sentence(error, thing), failure.code, failure) from error
    except KeyboardInterrupt as error:
        raise CommandError(f"{thing}: interrupted; start again if that was not meant", INTERRUPTED) from error
