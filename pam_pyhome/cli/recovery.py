"""``pyhome recovery``: the key that opens a home whatever becomes of its password, and copies of what the password opens."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from pam_pyhome.admin import accounts, backups, homes
from pam_pyhome.cli import homes_json, homes_text, options, plans, recovery_show
from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.answers import AtTerminal, answers
from pam_pyhome.cli.failure import CommandError, insist_on_root
from pam_pyhome.cli.homes import answering, print_outcome
from pam_pyhome.cli.recovery_show import Keeper, show_key
from pam_pyhome.cli.streams import OutputError
from pam_pyhome.cli.usage import Group, RootCommand
from pam_pyhome.errors import PyhomeError, QrCodeError, RecoveryFileError, RestoreError
from pam_pyhome.formats import broker
from pam_pyhome.formats.broker import Request
from pam_pyhome.formats.words import quoted
from pam_pyhome.policy.failures import failure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pam_pyhome.admin.backups import Backup
    from pam_pyhome.formats.facts import HomeFacts

_ECRYPTFS = "; the mount passphrase from when the home was made opens it all the same, and always will"


@click.group(cls=Group, invoke_without_command=True)
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
    with answering():
        _, facts = homes.perform(user, Request(broker.TEST_KEY), answers(password_file))
        print_outcome(facts, changed=False, as_json=as_json, said=f"This recovery key opens the home of {facts.user}.")


@recovery.command(help="Make a new recovery key for the home of USER, and print it; the old one does not open it any more.")
@options.ANY_USER
@options.PASSWORD_FILE
@recovery_show.QR
@recovery_show.FILE
@options.JSON
def new(user: str | None, password_file: str | None, recovery_file: str | None, *, qr: bool, as_json: bool) -> None:
    """Replace the one on paper."""
    recovery_show.check_options(qr=qr, as_json=as_json)
    with answering(), _keeping():
        facts = homes.perform(user, Request(broker.SHOW), AtTerminal())[1]
        keeper = Keeper(facts.user, recovery_file, qr=qr)
        keeper.check()
        talk = answers(password_file, _shower(facts, keeper, as_json=as_json))
        try:
            changed, facts = homes.perform(facts.user, Request(broker.NEW_KEY), talk)
        except homes.FailedError:
            if keeper.shown:
                click.echo(f"The recovery key above may be void; 'pyhome recovery test {quoted(facts.user)}' tells.", err=True)
            raise
        more = _ECRYPTFS if facts.backend == "ecryptfs" else ""
        said = f"The home of {facts.user} opens with this recovery key, and with no older one{more}."
        print_outcome(facts, changed=changed, as_json=as_json, said=said)


def _shower(facts: HomeFacts, keeper: Keeper, *, as_json: bool) -> Callable[[str], None]:
    """What prints the key; it must have reached whoever reads it before it is the one."""

    def show(key: str) -> None:
        try:
            show_key(facts.user, key, as_json=as_json)
            keeper.show(key, quiet=as_json)
        except OutputError:
            keeper.discard()
            raise

    return show


@contextlib.contextmanager
def _keeping() -> Iterator[None]:
    """Turn what goes wrong with a page or a QR code into a CommandError."""
    try:
        yield
    except (QrCodeError, RecoveryFileError) as error:
        raise CommandError(recovery_show.failed(error), error.exit_code) from error


@recovery.command(
    "backups", cls=RootCommand, help="List the copies of key files and metadata that are kept for USER, or for everybody."
)
@options.ANY_USER
@options.JSON
def backups_(user: str | None, *, as_json: bool) -> None:
    """What could be restored."""
    insist_on_root("copies are root's")
    with answering(), _failing(user):
        people = accounts.people() if user is None else [accounts.find(user)]
        found = [each for account in people for each in backups.find(account)]
        if as_json:
            plans.print_json({"backups": [_as_json(each) for each in found]})
        elif found:
            rows = [["USER", "WRITTEN", "NAME", "WHAT", "COMPARED"]]
            rows += [[each.user, homes_text.moment(each.written), each.name, each.what, each.state] for each in found]
            for line in homes_text.table(rows):
                click.echo(one_line(line))
        else:
            click.echo("No copies are kept.", err=True)


@recovery.command(cls=RootCommand, help="Put the copy NAME of a file of USER's back; what is there now is kept as another copy.")
@options.USER
@click.argument("name")
@options.YES
@options.JSON
def restore(user: str, name: str, *, yes: bool, as_json: bool) -> None:
    """Put one back."""
    insist_on_root("copies are root's")
    with answering(), _failing(user):
        account = accounts.find(user)
        found = next((each for each in backups.find(account) if each.name == name), None)
        if found is None:
            raise RestoreError(name, backups.NO_SUCH)
        options.confirm(one_line(f"Put it in the place of {found.path}?"), yes=yes, show=lambda: click.echo(one_line(_line(found))))
        path, changed = backups.restore(account, name)
        if as_json:
            plans.print_json({"user": user, "name": name, "path": path, "changed": changed})
        else:
            click.echo(one_line(f"{path} is {'the copy now' if changed else 'as the copy already'}."))


def _line(found: Backup) -> str:
    return f"{found.name}: {found.what}, written {homes_text.moment(found.written)}; {found.state}"


def _as_json(found: Backup) -> dict[str, object]:
    return found._asdict() | {"written": homes_json.moment(found.written)}


@contextlib.contextmanager
def _failing(user: str | None) -> Iterator[None]:
    """What goes wrong, as it would come from pyhomed."""
    try:
        homes.be_root()
        yield
    except (PyhomeError, OSError) as error:
        raise homes.FailedError(failure_of(error), user or "") from error
