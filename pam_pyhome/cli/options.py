"""What several verbs have in common: options, the name of a user, and the question before something changes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from pam_pyhome.admin import accounts
from pam_pyhome.cli.failure import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable

DECLINED = 1


def _complete_user(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of ordinary users."""
    return [CompletionItem(account.name) for account in accounts.people() if account.name.startswith(incomplete)]


USER = click.argument("user", shell_complete=_complete_user)
ANY_USER = click.argument("user", required=False, shell_complete=_complete_user)
USERS = click.argument("users", nargs=-1, shell_complete=_complete_user)
BACKEND = click.option(
    "--backend",
    type=click.Choice(["fscrypt", "ecryptfs"]),
    help="How it is stored. Default: fscrypt where the file system can, else ecryptfs.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
YES = click.option("--yes", is_flag=True, help="Do not ask.")
PASSWORD_FILE = click.option(
    "--password-file", type=click.Path(), metavar="FILE", help="Read passwords from FILE, or from the standard input for '-'."
)


def confirm(question: str, *, yes: bool, show: Callable[[], None] = lambda: None) -> None:
    """Ask before anything is changed; on a terminal only, where `show` shows what. Without one, `--yes` has to be given."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("there is no terminal to ask on; --yes goes on without")
    show()
    if not click.confirm(question, default=False):
        raise CommandError("nothing was changed", DECLINED)
