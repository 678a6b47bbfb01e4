"""``pyhome ecryptfs``: the arguments and the output of the ecryptfs-* tools of the same names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from pam_pyhome.admin import ecryptfs_tools as tools
from pam_pyhome.cli import homes_json, json_text, options
from pam_pyhome.cli.failure import CommandError, reported
from pam_pyhome.cli.terminal import Secrets, emit
from pam_pyhome.cli.usage import Group

if TYPE_CHECKING:
    from collections.abc import Iterable

STDIN = "-"
KEYRING = "user keyring"
# A passphrase on the command line may begin with a dash.
_RAW = {"ignore_unknown_options": True}


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def ecryptfs(context: click.Context) -> None:
    """Work on eCryptfs key files and keys, as the ecryptfs-* tools do."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@ecryptfs.command(context_settings=_RAW, options_metavar="", help="Print the mount passphrase that FILE holds.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[FILE] [- | PASSPHRASE]")
@options.JSON
def unwrap(arguments: tuple[str, ...], *, as_json: bool) -> None:
    """Print the mount passphrase."""
    path, (password,) = _file_and_secrets(arguments, ("Passphrase",), default=True)
    with reported(path):
        passphrase = tools.unwrap(path, password)
    _print(passphrase, {**homes_json.path("passphrase", passphrase)} if as_json else None)


@ecryptfs.command(
    context_settings=_RAW, options_metavar="", help="Write FILE: a mount passphrase, wrapped with another."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="FILE [- | PASSPHRASE WRAPPING]")
@options.JSON
def wrap(arguments: tuple[str, ...], *, as_json: bool) -> None:
    """Write a wrapped-passphrase file."""
    prompts = ("Passphrase to wrap", "Wrapping passphrase")
    path, (passphrase, password) = _file_and_secrets(arguments, prompts, new=True)
    with reported(path):
        tools.wrap(path, passphrase, password)
    _print_written(path, as_json=as_json)


@ecryptfs.command(context_settings=_RAW, options_metavar="", help="Change the passphrase that opens FILE.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="FILE [- | OLD NEW]")
@options.JSON
def rewrap(arguments: tuple[str, ...], *, as_json: bool) -> None:
    """Change the wrapping passphrase; the file as it was stays as FILE.old."""
    again = "New wrapping passphrase (again)"
    path, (old, new, *repeated) = _file_and_secrets(
        arguments, ("Old wrapping passphrase", "New wrapping passphrase"), again=again
    )
    if repeated and repeated != [new]:
        raise CommandError(f"{path}: the new wrapping passphrases do not match; nothing was changed, start again", 1)
    with reported(path):
        tools.rewrap(path, old, new)
    _print_written(path, as_json=as_json)


@ecryptfs.command("add-passphrase", help="Add the key of a mount passphrase to the user keyring.")
@click.option("--fnek", is_flag=True, help="Add the key for file names, too.")
@click.argument("source", required=False, metavar="[-]")
@options.JSON
def add_passphrase(fnek: bool, source: str | None, *, as_json: bool) -> None:  # noqa: FBT001 - click passes a flag like this
    """Add one key or both."""
    if source not in {None, STDIN}:
        raise click.UsageError("passphrases are not taken from the command line")
    with reported(KEYRING):
        passphrase = Secrets(ask=source is None).next("Passphrase")
        signatures = tools.add(passphrase, filenames=fnek)
    _print_inserted(signatures, as_json=as_json)


@ecryptfs.command(
    context_settings=_RAW, options_metavar="", help="Add both keys of what FILE holds to the user keyring."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[FILE] [- | PASSPHRASE]")
@options.JSON
def insert(arguments: tuple[str, ...], *, as_json: bool) -> None:
    """Unwrap, then add both keys."""
    path, (password,) = _file_and_secrets(arguments, ("Passphrase",), default=True)
    with reported(path):
        passphrase = tools.unwrap(path, password)
    with reported(KEYRING):
        signature = tools.insert(passphrase)
    _print_inserted((signature,), as_json=as_json)


def _file_and_secrets(
    arguments: tuple[str, ...], prompts: tuple[str, ...], *, default: bool = False, new: bool = False, again: str | None = None
) -> tuple[str, list[bytes]]:
    """The file, and one secret for each prompt: from the arguments, or read as `Secrets` does.

    With `default`, its name may be missing; with `new`, the file itself. `again` is a prompt for those who are asked only.
    """
    if default and arguments in {(), (STDIN,)}:
        arguments = (tools.default_file(), *arguments)
    if not arguments:
        raise click.UsageError("FILE is missing")
    path, *secrets = arguments
    if secrets in ([], [STDIN]):
        wanted = prompts if secrets or again is None else (*prompts, again)
        with reported(path):
            if not new:
                os.stat(path)  # nobody types a secret for a file that is not there
            source = Secrets(ask=not secrets)
            return path, [source.next(prompt) for prompt in wanted]
    if len(secrets) != len(prompts):
        raise click.UsageError(f"FILE is followed by {STDIN}, by {len(prompts)} passphrases, or by nothing")
    return path, [os.fsencode(secret) for secret in secrets]


def _print_inserted(signatures: Iterable[str], *, as_json: bool) -> None:
    if as_json:
        _print(b"", {"signatures": list(signatures)})
        return
    for signature in signatures:
        _print(b"Inserted auth tok with sig [%s] into the user session keyring" % signature.encode("ascii"))


def _print_written(path: str, *, as_json: bool) -> None:
    """The tools of these names say nothing of what they have written."""
    if as_json:
        _print(b"", {**homes_json.path("file", os.fsencode(path))})


def _print(line: bytes, fields: dict[str, object] | None = None) -> None:
    emit(line if fields is None else json_text.whole(fields).encode())
