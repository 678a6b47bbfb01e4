"""``pyhome encrypt``, ``decrypt`` and ``confirm``: a plain home becomes an encrypted one, or the other way round."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import TYPE_CHECKING

import click

from pam_pyhome.admin import accounts, conversion, conversion_checks
from pam_pyhome.admin import conversion_facts as facts
from pam_pyhome.admin.conversion_record import find, is_swapped, place_of
from pam_pyhome.cli import conversion_text, create, homes_text, options, plans, recovery_show
from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.answers import answers
from pam_pyhome.cli.failure import INTERRUPTED, CommandError, insist_on_root
from pam_pyhome.cli.progress import Bars
from pam_pyhome.cli.recovery_show import Keeper, show_key
from pam_pyhome.cli.usage import RootCommand
from pam_pyhome.errors import (
    NoAnswerError,
    NoHomeError,
    NoUserError,
    PyhomeError,
    QrCodeError,
    RecoveryFileError,
    SshdError,
)
from pam_pyhome.policy.failures import failure_of
from pam_pyhome.sshd import manage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.admin.conversion_checks import Outlook

DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would happen and how long it would take, and change nothing.")
RESUME = click.option("--resume", is_flag=True, help="Go on from where an earlier run was stopped.")


@click.command(cls=RootCommand, help="Turn the plain home of USER into an encrypted one.")
@options.USER
@options.BACKEND
@options.PASSWORD_FILE
@DRY_RUN
@RESUME
@recovery_show.QR
@recovery_show.FILE
@options.YES
@options.JSON
def encrypt(
    user: str, backend: str | None, password_file: str | None, recovery_file: str | None,
    *, qr: bool, dry_run: bool, resume: bool, yes: bool, as_json: bool,
) -> None:  # fmt: skip
    """Encrypt a home."""
    recovery_show.check_options(qr=qr, as_json=as_json)
    keeper = Keeper(user, recovery_file, qr=qr)
    with _reported(user, facts.ENCRYPT), _kept_if_valid(keeper, user):
        keeper.check()
        _convert(_Run(user, facts.ENCRYPT, as_json, keeper), backend, password_file, dry_run=dry_run, resume=resume, yes=yes)
        if not dry_run:
            keeper.remind()


@contextlib.contextmanager
def _kept_if_valid(keeper: Keeper, user: str) -> Iterator[None]:
    """Remove the page with the recovery key if what it opens has been taken back."""
    try:
        yield
    except BaseException:
        if find(user) is None:
            keeper.discard()
        raise


@click.command(cls=RootCommand, help="Turn the encrypted home of USER into a plain one.")
@options.USER
@options.PASSWORD_FILE
@DRY_RUN
@RESUME
@options.YES
@options.JSON
def decrypt(user: str, password_file: str | None, *, dry_run: bool, resume: bool, yes: bool, as_json: bool) -> None:
    """Decrypt a home."""
    with _reported(user, facts.DECRYPT):
        _convert(_Run(user, facts.DECRYPT, as_json), None, password_file, dry_run=dry_run, resume=resume, yes=yes)


@click.command(cls=RootCommand, help="Remove the copy from before, which 'encrypt' and 'decrypt' keep, of the home of USER.")
@options.USER
@options.YES
@options.JSON
def confirm(user: str, *, yes: bool, as_json: bool) -> None:
    """Remove the other copy."""
    with _reported(user, "confirm"):
        accounts.find(user)
        record = conversion.confirmable(user, find(user))
        options.confirm(f"Remove the copy of the home of {one_line(user)} in {place_of(record.account)}?", yes=yes)
        record = conversion.confirm(user)
        if as_json:
            plans.print_json({"user": user, "direction": record.direction, "removed": True})
        else:
            click.echo(one_line(conversion_text.confirmed(record)))


class _Run:
    """One run of `encrypt` or `decrypt`."""

    def __init__(self, user: str, direction: str, as_json: bool, keeper: Keeper | None = None) -> None:  # noqa: FBT001 - handed on
        self._keeper = keeper
        self.user = user
        self.direction = direction
        self.as_json = as_json

    def say(self, line: str) -> None:
        """For people; where a program reads, they look at the standard error."""
        click.echo(one_line(line), err=self.as_json)

    def show(self, recovery: str) -> None:
        """Print the recovery key; it must have reached whoever reads it before the home can be used."""
        show_key(self.user, recovery, as_json=self.as_json)
        if self._keeper is not None:
            self._keeper.show(recovery, quiet=self.as_json)

    def carry_keys(self, user: str) -> None:
        """Have the user's SSH keys where sshd finds them. SshdError."""
        try:
            manage.sync_if_wanted(user)
        except subprocess.SubprocessError as error:
            raise SshdError("sshd", str(error)) from error


def _convert(run: _Run, backend: str | None, path: str | None, *, dry_run: bool, resume: bool, yes: bool) -> None:
    os.chdir("/")  # this process is not what keeps the home busy
    if not dry_run and not resume and _give_up(run, yes=yes):
        return
    outlook = conversion_checks.look(run.user, run.direction, backend, resume=resume)
    began = time.monotonic()
    if dry_run and not (run.as_json and outlook.problems):
        _print_outlook(run, outlook)
    if outlook.problems:
        raise _Problems(outlook.problems, _planned(outlook) if dry_run else {})
    if dry_run:
        return
    question = f"{run.direction.capitalize()} the home of {one_line(run.user)}?"
    options.confirm(question, yes=yes, show=lambda: _say_outlook(run, outlook))
    password = _password(run.user, run.direction, path)
    create.end_properly()
    _warn_of_keys(run, outlook)
    with Bars(outlook.survey.size, outlook.survey.entries) as bars:
        watcher = conversion.Watcher(run.show, bars.show, run.carry_keys)
        (conversion.encrypt if run.direction == facts.ENCRYPT else conversion.decrypt)(outlook, password, watcher)
    if run.as_json:
        plans.print_json(_described(outlook, time.monotonic() - began) | {"dry_run": False, "kept": place_of(outlook.account)})
    else:
        run.say(conversion_text.done(outlook))


def _give_up(run: _Run, *, yes: bool) -> bool:
    """Take back what the other verb has begun and not finished; whether there was anything."""
    record = find(run.user)
    if record is None or record.direction == run.direction or is_swapped(record):
        return False
    options.confirm(f"'{record.direction}' was begun and not finished. Take it back?", yes=yes)
    stayed = conversion.give_up(run.user, run.direction)
    if stayed is None:
        return False
    if run.as_json:
        plans.print_json({"user": run.user, "direction": record.direction, "taken_back": True, "protectors_kept": list(stayed)})
    else:
        run.say(conversion_text.taken_back(run.user, run.direction, stayed))
    return True


def _print_outlook(run: _Run, outlook: Outlook) -> None:
    if run.as_json:
        plans.print_json(_planned(outlook))
    else:
        _say_outlook(run, outlook)


def _say_outlook(run: _Run, outlook: Outlook) -> None:
    for line in conversion_text.outlook(outlook, conversion_checks.estimate(outlook)):
        run.say(line)


def _planned(outlook: Outlook) -> dict[str, object]:
    return _described(outlook, conversion_checks.estimate(outlook)) | {"dry_run": True, "kept": None}


def _described(outlook: Outlook, seconds: float) -> dict[str, object]:
    return {
        "user": outlook.account.name,
        "home": outlook.account.home,
        "direction": outlook.direction,
        "backend": outlook.backend,
        "storage": outlook.storage or outlook.account.home,
        "entries": outlook.survey.entries,
        "size": outlook.survey.size,
        "needed": outlook.needed,
        "free": outlook.free,
        "seconds": round(seconds),
        "resumed": outlook.goes_on,
        "problems": [line for each in outlook.problems for line in _lines(each, outlook.account.name, outlook.direction)],
    }


def _warn_of_keys(run: _Run, outlook: Outlook) -> None:
    """Whoever logs in by key alone needs the layout."""
    keys = os.path.lexists(f"{outlook.account.home}/.ssh/authorized_keys")
    if run.direction == facts.ENCRYPT and keys and manage.applied_site() is None:
        path = f"{outlook.account.home}/.ssh/authorized_keys"
        line = f"note: while the home is locked, sshd cannot read {path}; 'pyhome sshd apply' helps"
        click.echo(one_line(line), err=True)


def _password(user: str, direction: str, path: str | None) -> bytes:
    """The first line of a file, or of the standard input, or what somebody types. NoAnswerError."""
    prompt = f"Login password of {user}" if direction == facts.ENCRYPT else f"Password of the home of {user}"
    password = answers(path).ask(one_line(prompt)) or b""
    if not password:
        raise NoAnswerError("no password was given")
    return password


# What goes wrong


class _Problems(Exception):  # noqa: N818 - several errors
    """Several things are in the way at once."""

    def __init__(self, problems: tuple[PyhomeError, ...], fields: dict[str, object]) -> None:
        super().__init__()
        self.problems = problems
        self.fields = fields


def _lines(error: PyhomeError | OSError, user: str, verb: str) -> list[str]:
    if isinstance(error, (NoAnswerError, NoHomeError, NoUserError)):
        return [homes_text.failed(failure_of(error), user)]
    if isinstance(error, (QrCodeError, RecoveryFileError)):
        return [f"{user}: {recovery_show.failed(error)}"]
    return conversion_text.failed(error, user, verb)


@contextlib.contextmanager
def _reported(user: str, verb: str) -> Iterator[None]:
    """Turn what goes wrong into lines on the standard error, and one CommandError."""
    insist_on_root("copies files of others")
    try:
        yield
    except _Problems as several:
        errors: tuple[PyhomeError | OSError, ...] = several.problems
        fields = several.fields
    except (PyhomeError, OSError) as error:
        errors = (error,)
        fields = {}
    except KeyboardInterrupt as error:
        raise CommandError(conversion_text.interrupted(find(user), user), INTERRUPTED) from error
    else:
        return
    lines = [line for error in errors for line in _lines(error, user, verb)]
    failure = failure_of(errors[0])
    for line in lines[:-1]:
        click.echo(str(CommandError(line, failure.code)), err=True)
    raise CommandError(lines[-1], failure.code, failure, {**fields, "problems": lines})
