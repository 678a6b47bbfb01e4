"""``pyhome update``: changing how a home is."""

from __future__ import annotations

import click

from pam_pyhome.admin import homes
from pam_pyhome.cli import homes_text, options
from pam_pyhome.cli.answers import answers
from pam_pyhome.cli.homes import answering, print_outcome
from pam_pyhome.formats import broker
from pam_pyhome.formats.broker import Request

_CHOICES = {
    ("open_at_login", True): broker.OPEN_AT_LOGIN,
    ("open_at_login", False): broker.NO_OPEN_AT_LOGIN,
    ("lock_at_logout", True): broker.LOCK_AT_LOGOUT,
    ("lock_at_logout", False): broker.NO_LOCK_AT_LOGOUT,
    ("passphrase", "login"): broker.FOLLOW_LOGIN,
    ("passphrase", "own"): broker.OWN_PASSPHRASE,
    ("costs", True): broker.RENEW_COSTS,
}


@click.command(help="Change how the home of USER is: when it opens and is locked, and what opens it.")
@options.ANY_USER
@click.option("--open-at-login/--no-open-at-login", default=None, help="Whether logins open it.")
@click.option("--lock-at-logout/--no-lock-at-logout", default=None, help="Whether it is locked when the last session ends.")
@click.option(
    "--passphrase",
    type=click.Choice(["login", "own"]),
    help="Whether the login password opens it or a passphrase of its own. For eCryptfs.",
)
@click.option("--costs", is_flag=True, help="Have guessing the password cost what new ones do. For fscrypt.")
@options.PASSWORD_FILE
@options.JSON
def update(user: str | None, password_file: str | None, *, as_json: bool, **wanted: object) -> None:
    """Change what is asked for."""
    changes = sum(_CHOICES.get(each, 0) for each in wanted.items() if isinstance(each[1], (bool, str)))
    if not changes:
        raise click.UsageError("say what is to be changed")
    with answering():
        changed, facts = homes.perform(user, Request(broker.UPDATE, changes=changes), answers(password_file))
        said = homes_text.rules_of(facts) if changed else f"The home of {facts.user} was so already."
        print_outcome(facts, changed=changed, as_json=as_json, said=said)
