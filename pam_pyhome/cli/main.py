"""The command line: ``pyhome VERB …``. Results go to the standard output; a failure is one line on the standard error."""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from pam_pyhome import __version__
from pam_pyhome.cli import homes_json, json_text, streams
from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.failure import INTERRUPTED, CommandError
from pam_pyhome.cli.usage import PROGRAM, Group, sentence
from pam_pyhome.errors import PyhomeError
from pam_pyhome.formats.facts import Failure
from pam_pyhome.kernel.process import protect_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Each verb, in the order of the help, and where it is: none is imported for another one, nor all of them for each completion.
VERBS = {
    "create": "create.create",
    "remove": "remove.remove",
    "encrypt": "conversion.encrypt",
    "confirm": "conversion.confirm",
    "decrypt": "conversion.decrypt",
    "adopt": "adopt.adopt",
    "list": "homes.list_",
    "status": "homes.status",
    "inspect": "homes.inspect",
    "sessions": "homes.sessions",
    "unlock": "homes.unlock",
    "lock": "homes.lock",
    "passwd": "homes.passwd",
    "recovery": "recovery.recovery",
    "recover": "recover.recover",
    "update": "update.update",
    "trust": "trust.trust",
    "setup": "setup.setup",
    "rollback": "setup.rollback",
    "doctor": "doctor.doctor",
    "ecryptfs": "ecryptfs.ecryptfs",
    "shell": "shell.shell",
    "sshd": "sshd.sshd",
}


_SETTINGS = {"help_option_names": ["-h", "--help"]}


class Verbs(Group):
    """The verbs, each imported when it is asked for."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """See `click.Group`."""
        return list(VERBS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """See `click.Group`."""
        module, _, attribute = VERBS.get(name, "").partition(".")
        if not module:
            return None
        found: click.Command = getattr(importlib.import_module(f"pam_pyhome.cli.{module}"), attribute)
        return found


@click.group(cls=Verbs, invoke_without_command=True, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name=PROGRAM)
@click.pass_context
def cli(context: click.Context) -> None:
    """Encrypted home directories that open at login and close at logout."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> NoReturn:
    """Run what the arguments say and exit: 0, 2 for a wrong command line, or the number of the failure."""
    streams.prepare()
    # A user may lock only so much memory; what is left is that no core is dumped.
    with contextlib.suppress(OSError):
        protect_memory()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line; its exit status."""
    json_text.start()
    try:
        result = cli.main(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except CommandError as error:
        line, failure, message, fields = str(error), error.failure, error.message, error.fields
    except click.ClickException as error:
        line = message = sentence(error)
        failure, fields = Failure(error.exit_code, ""), {}
    except (click.Abort, KeyboardInterrupt):
        line = message = f"{PROGRAM}: interrupted; start again if that was not meant"
        failure, fields = Failure(INTERRUPTED, ""), {}
    except streams.OutputError as error:
        line = message = f"{PROGRAM}: {error}"
        failure, fields = Failure(PyhomeError.exit_code, "OSError", "standard output", error.reason), {}
    else:
        return result if isinstance(result, int) else 0
    if "--json" in arguments:
        with contextlib.suppress(streams.OutputError):
            click.echo(homes_json.error(failure, message, fields))
    click.echo(one_line(line), err=True)
    return failure.code
