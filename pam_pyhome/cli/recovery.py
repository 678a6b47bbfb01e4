"""``pyhome recovery``: the key that opens a home whatever becomes of its password, and copies of what the password opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pam_pyhome.admin import homes
from pam_pyhome.cli import options, plans
from pam_pyhome.cli.answers import AtTerminal, answers
from pam_pyhome.cli.create import show_key
from pam_pyhome.cli.homes import answering, print_outcome
from pam_pyhome.errors import NoAnswerError
from pam_pyhome.formats import broker
from pam_pyhome.formats.broker import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.formats.facts import HomeFacts

_ECRYPTFS = "; the mount passphrase from when the home was made opens it all the same, and always will"


@click.group(invoke_without_command=True)
@click.pass_context
def recovery(context: click.Context) -> None:
    """Try or renew a recovery key; list or restore the copies of key files."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@recovery.command(help="Say whether a recovery key opens the home of USER; nothing is changed.")
@options.ANY_USER
@options.PASSWORD_FILE
@options.JSON
def test(user: str | None, password_file: str | None, *, as_json: bool) -> None:
    """Try the one on paper."""
    with answering(as_json=as_json):
        _, facts = homes.perform(user, Request(broker.TEST_KEY), answers(password_file))
        print_outcome(facts, changed=False, as_json=as_json, said=f"This recovery key opens the home of {facts.user}.")


@recovery.command(help="Make a new recovery key for the home of USER, and print it; the old one does not open it any more.")
@options.ANY_USER
@options.PASSWORD_FILE
@options.JSON
def new(user: str | None, password_file: str | None, *, as_json: bool) -> None:
    """Replace the one on paper."""
    with answering(as_json=as_json):
        facts = homes.perform(user, Request(broker.SHOW), AtTerminal())[1]
        talk = answers(password_file, _shower(facts, as_json=as_json))
        changed, facts = homes.perform(facts.user, Request(broker.NEW_KEY), talk)
        more = _ECRYPTFS if facts.backend == "ecryptfs" else ""
        said = f"The home of {facts.user} opens with this recovery key, and with no older one{more}."
        print_outcome(facts, changed=changed, as_json=as_json, said=said)


def _shower(facts: HomeFacts, *, as_json: bool) -> Callable[[str], None]:
    """What prints the key; it must have reached whoever reads it before it is the one."""

    def show(key: str) -> None:
        try:
            if as_json:
                plans.print_json({"user": facts.user, "recovery_key": key})
                click.get_text_stream("stdout").flush()
            else:
                show_key(facts.user, key)
        except OSError as error:
            raise NoAnswerError(f"the recovery key cannot be printed: {error.strerror}") from error

    return show
