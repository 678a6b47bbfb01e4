"""The command line: ``pyhome VERB …``. Results go to the standard output; a failure is one line on the standard error."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from pam_pyhome import __version__
from pam_pyhome.cli import homes_json
from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.conversion import confirm, decrypt, encrypt
from pam_pyhome.cli.create import create
from pam_pyhome.cli.doctor import doctor
from pam_pyhome.cli.ecryptfs import ecryptfs
from pam_pyhome.cli.failure import INTERRUPTED, CommandError
from pam_pyhome.cli.homes import inspect, list_, lock, passwd, sessions, status, unlock
from pam_pyhome.cli.recover import recover
from pam_pyhome.cli.recovery import recovery
from pam_pyhome.cli.remove import remove
from pam_pyhome.cli.setup import rollback, setup
from pam_pyhome.cli.shell import shell
from pam_pyhome.cli.sshd import sshd
from pam_pyhome.cli.update import update
from pam_pyhome.formats.facts import Failure
from pam_pyhome.kernel.process import protect_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "pyhome"


@click.group(invoke_without_command=True)
@click.version_option(__version__, prog_name=PROGRAM)
@click.pass_context
def cli(context: click.Context) -> None:
    """Encrypted home directories that open at login and close at logout."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


cli.add_command(create)
cli.add_command(remove)
cli.add_command(encrypt)
cli.add_command(confirm)
cli.add_command(decrypt)
cli.add_command(list_)
cli.add_command(status)
cli.add_command(inspect)
cli.add_command(sessions)
cli.add_command(unlock)
cli.add_command(lock)
cli.add_command(passwd)
cli.add_command(recovery)
cli.add_command(recover)
cli.add_command(update)
cli.add_command(setup)
cli.add_command(rollback)
cli.add_command(doctor)
cli.add_command(ecryptfs)
cli.add_command(shell)
cli.add_command(sshd)


def main() -> NoReturn:
    """Run what the arguments say and exit: 0, 2 for a wrong command line, or the number of the failure."""
    # A user may lock only so much memory; what is left is that no core is dumped.
    with contextlib.suppress(OSError):
        protect_memory()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line; its exit status."""
    try:
        result = cli.main(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except CommandError as error:
        line, failure, message, fields = str(error), error.failure, error.message, error.fields
    except click.ClickException as error:
        line = message = _usage(error)
        failure, fields = Failure(error.exit_code, ""), {}
    except (click.Abort, KeyboardInterrupt):
        line = message = f"{PROGRAM}: interrupted; start again if that was not meant"
        failure, fields = Failure(INTERRUPTED, ""), {}
    else:
        return result if isinstance(result, int) else 0
    if "--json" in arguments:
        with contextlib.suppress(OSError):
            click.echo(homes_json.error(failure, message, fields))
    click.echo(one_line(line), err=True)
    return failure.code


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else PROGRAM
    return f"{command}: {error.format_message().rstrip('.')}; see '{command} --help'"
