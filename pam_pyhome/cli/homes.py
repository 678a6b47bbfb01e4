"""The everyday verbs, with the meaning that they have in homectl: list, status, inspect, sessions, unlock, lock, passwd."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import click

from pam_pyhome.admin import accounts, adoption_record, conversion_progress, homes, removal_record
from pam_pyhome.admin.conversion_record import find, users
from pam_pyhome.cli import homes_json, homes_text, options
from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.answers import AtTerminal, FromFile, answers
from pam_pyhome.cli.failure import INTERRUPTED, CommandError, reported
from pam_pyhome.errors import NoAnswerError, NoHomeError, NoUserError
from pam_pyhome.formats import broker
from pam_pyhome.formats.broker import Request
from pam_pyhome.formats.facts import OLDER
from pam_pyhome.formats.words import quoted
from pam_pyhome.policy.failures import failure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pam_pyhome.admin.conversion_progress import Running
    from pam_pyhome.admin.conversion_record import Record
    from pam_pyhome.formats.facts import HomeFacts


@click.command("list", help="List the encrypted homes: all of them for root, for others their own.")
@options.JSON
def list_(*, as_json: bool) -> None:
    """All homes."""
    with answering():
        found = homes.everybody(AtTerminal())
        if as_json:
            click.echo(homes_json.listing(found))
        elif found:
            _print(homes_text.table(homes_text.home_rows(found)))
        else:
            click.echo(homes_text.NO_HOMES, err=True)


@click.command(help="Say whether the home of USER is open, and who holds it.")
@options.ANY_USER
@options.JSON
def status(user: str | None, *, as_json: bool) -> None:
    """A sentence; one more, if a copy of the home is kept, or if what was begun is not finished."""
    conversions, running = _conversions(user), _running(user)
    removals, adoptions = (_begun(each, user) for each in (removal_record.users, adoption_record.users))
    begun = bool(conversions or removals or adoptions or running)
    with answering():
        try:
            found = _asked(user)
        except homes.FailedError as error:
            if error.failure.kind not in (NoHomeError.__name__, NoUserError.__name__) or not begun:
                raise
            found = []
        if as_json:
            click.echo(homes_json.listing(found, conversions, removals, running, adoptions))
            return
        _print(map(homes_text.headline, found))
        if not (found or begun):
            click.echo(homes_text.NO_HOMES, err=True)
        _print(map(homes_text.running, running))
        if os.geteuid() != 0:
            _print(homes_text.other_copy(facts) for facts in found if facts.copy_kept)
        _print(homes_text.older_password(facts) for facts in found if any(slot.kind == OLDER for slot in facts.slots))
        _print(line for facts in found for line in homes_text.besides(facts))
        _print(homes_text.old_password(facts) for facts in found if facts.waits_for_old)
        busy = {each.user for each in running}
        _print(_reminder(each) for each in conversions if each.account.name not in busy)
        _print(f"The home of {name} is being removed: 'pyhome remove {quoted(name)}' finishes that." for name in removals)
        _print(f"The home of {name} is being adopted: 'pyhome adopt {quoted(name)}' finishes that." for name in adoptions)


def _reminder(record: Record) -> str:
    """What is still to be done about a home that is or was encrypted or decrypted."""
    from pam_pyhome.admin.conversion import was_opened  # noqa: PLC0415 - half of the program, which most people never need
    from pam_pyhome.cli.conversion_text import reminder  # noqa: PLC0415 - as above

    return reminder(record, opened=was_opened(record))


@click.command(help="Tell everything about the home of USER, and what to do next.")
@options.ANY_USER
@options.JSON
def inspect(user: str | None, *, as_json: bool) -> None:
    """A sentence, the facts, the next step."""
    with answering():
        facts = _show(user)
        if as_json:
            click.echo(homes_json.listing([facts]))
        else:
            _print(homes_text.inspection(facts))


@click.command(help="List the sessions that hold the home of USER.")
@options.ANY_USER
@options.JSON
def sessions(user: str | None, *, as_json: bool) -> None:
    """A table."""
    with answering():
        found = _asked(user)
        if as_json:
            click.echo(homes_json.listing(found))
        elif any(facts.sessions for facts in found):
            _print(homes_text.table(homes_text.session_rows(found)))
        else:
            click.echo("No session holds an encrypted home.", err=True)


@click.command(help="Open the home of USER. Without a session, it stays open until 'pyhome lock'.")
@options.ANY_USER
@options.PASSWORD_FILE
@options.JSON
def unlock(user: str | None, password_file: str | None, *, as_json: bool) -> None:
    """Open by hand."""
    with answering():
        changed, facts = homes.perform(user, Request(broker.UNLOCK), answers(password_file))
        said = "" if changed else f"The home of {facts.user} was open already. "
        print_outcome(facts, changed=changed, as_json=as_json, said=f"{said}{homes_text.headline(facts)}")
        if changed and not as_json and _is_below(os.fsdecode(facts.mountpoint)):
            click.echo("This shell is still in the directory that the home has hidden; type 'cd' to enter the home.", err=True)


@click.command(help="Lock the home of USER, unless it is in use by another session or by a process.")
@options.ANY_USER
@click.option(
    "--wait", "seconds", type=click.IntRange(0, broker.LONGEST_WAIT), default=0, metavar="SECONDS",
    help="How long to wait for sessions and processes to end.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Then lock it under other sessions, and end processes of USER that use it.")
@options.JSON
def lock(user: str | None, *, seconds: int, force: bool, as_json: bool) -> None:
    """Lock by hand."""
    with answering(forced=force):
        os.chdir("/")  # this process is not what keeps the home busy
        changed, facts = homes.perform(user, Request(broker.LOCK, force, seconds), AtTerminal())
        already = "" if changed else f"The home of {facts.user} was locked already. "
        print_outcome(facts, changed=changed, as_json=as_json, said=already or homes_text.headline(facts))


@click.command(help="Change the password of USER's home, and with it the login password if the home follows that.")
@options.ANY_USER
@click.option("--home-only", is_flag=True, help="Change that of the home only, as after a login password was reset.")
@options.PASSWORD_FILE
@options.JSON
def passwd(user: str | None, password_file: str | None, *, home_only: bool, as_json: bool) -> None:
    """Change a password."""
    with answering():
        given = answers(password_file)
        facts = _show(user)
        both = facts.follows_login and not home_only
        if both:
            lines = given.both() if isinstance(given, FromFile) else None
            changed, facts = homes.change_both_passwords(facts, lines, given)
        else:
            changed, facts = homes.perform(user, Request(broker.PASSWD), given)
        with_it = "; the login password is as it was" if facts.follows_login and not both else ""
        said = f"The home of {facts.user} opens with the new password{with_it}."
        print_outcome(facts, changed=changed, as_json=as_json, said=said)


def _running(user: str | None) -> list[Running]:
    """What goes on now, of a user or of all; who is not root sees their own."""
    if user is None and os.geteuid() == 0:
        return conversion_progress.all_running()
    try:
        found = conversion_progress.find(accounts.find(user).name)
    except NoUserError:
        return []
    return [found] if found is not None else []


def _conversions(user: str | None) -> list[Record]:
    """What is kept or not finished, of a user or of all. It is on record for root alone."""
    if os.geteuid() != 0:
        return []
    with reported(user or "the homes"):
        return [record for record in map(find, [user] if user is not None else users()) if record is not None]


def _begun(users_of: Callable[[], list[str]], user: str | None) -> list[str]:
    """With whose homes something was begun, by its records. They are for root alone."""
    if os.geteuid() != 0:
        return []
    with reported(user or "the homes"):
        return [name for name in users_of() if user in (None, name)]


def _show(user: str | None) -> HomeFacts:
    return homes.perform(user, Request(broker.SHOW), AtTerminal())[1]


def _asked(user: str | None) -> list[HomeFacts]:
    """The home of a user; without one, that of whoever asks, and for root all."""
    return homes.everybody(AtTerminal()) if user is None and os.geteuid() == 0 else [_show(user)]


def print_outcome(facts: HomeFacts, *, changed: bool, as_json: bool, said: str) -> None:
    """How the home is now, as a line or as an object."""
    click.echo(homes_json.outcome(facts, changed=changed) if as_json else one_line(said.strip()))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(one_line(line))


def _is_below(mountpoint: str) -> bool:
    """Whether the working directory is one that the home has hidden."""
    try:
        return os.path.commonpath((os.getcwd(), mountpoint)) == mountpoint
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def answering(*, forced: bool = False) -> Iterator[None]:
    """Turn what goes wrong into a CommandError; `forced` as of `homes_text.failed`."""
    try:
        yield
    except homes.FailedError as error:
        failure, user = error.failure, error.user
    except NoAnswerError as error:
        failure, user = failure_of(error), ""
    except KeyboardInterrupt as error:
        raise CommandError("interrupted; start again if that was not meant", INTERRUPTED) from error
    else:
        return
    raise CommandError(homes_text.failed(failure, user, forced=forced), failure.code, failure)
