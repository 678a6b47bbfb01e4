"""``pyhome recover``: a home of another installation, or on a disk taken out of another machine, opened to get the files back."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import click

from pam_pyhome.admin import salvage, salvage_find
from pam_pyhome.admin.salvage_record import BASE
from pam_pyhome.cli import homes_json, homes_text, options, plans, recover_text
from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.answers import answers
from pam_pyhome.cli.create import end_properly
from pam_pyhome.cli.failure import INTERRUPTED, CommandError, insist_on_root
from pam_pyhome.cli.usage import RootCommand
from pam_pyhome.errors import KeyFilesLostError, NoAnswerError, PyhomeError
from pam_pyhome.policy.failures import failure_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pam_pyhome.admin.salvage_find import Home, Search


class _Wishes:
    """How a home is to be opened."""

    def __init__(self, directory: str | None, password_file: str | None, *, writable: bool) -> None:
        self.directory = directory
        self.password_file = password_file
        self.writable = writable


@click.command(
    cls=RootCommand, help="Open a home of another installation, on a disk that is mounted at PATH, to get the files back."
)
@click.argument("path", required=False, type=click.Path())
@click.option(
    "--at", "directory", type=click.Path(), metavar="DIRECTORY",
    help="Where its files are to be: an empty directory of root's. Default: a new one in /run/pyhome-recover.",
)  # fmt: skip
@click.option("--writable", is_flag=True, help="Let its files be changed.")
@click.option("--list", "only_list", is_flag=True, help="List the homes at PATH and open none.")
@click.option("--metadata", type=click.Path(), metavar="DIRECTORY", help="Where else the key files of that machine are.")
@click.option("--close", "closing", is_flag=True, help="Close the home that is open at PATH, or was opened from it.")
@options.PASSWORD_FILE
@options.JSON
def recover(
    path: str | None, directory: str | None, metadata: str | None, password_file: str | None,
    *, writable: bool, only_list: bool, closing: bool, as_json: bool,
) -> None:  # fmt: skip
    """Find, open, close."""
    if closing and (path is None or directory or writable or only_list or metadata or password_file):
        raise click.UsageError("--close wants a PATH, and no other option but --json")
    wishes = _Wishes(directory, password_file, writable=writable)
    homes: list[Home] = []
    with _reported(path or BASE, homes):
        if path is None:
            _show_open(as_json=as_json)
        elif closing:
            _close(path, as_json=as_json)
        else:
            places = salvage_find.Places(metadata)
            found = salvage_find.search(path, places)
            homes += found.homes
            if only_list or len(found.homes) > 1 or not found.complete:
                _show(found, as_json=as_json)
            else:
                _open(found.homes[0], places, wishes, as_json=as_json)


def _show(found: Search, *, as_json: bool) -> None:
    """The homes that were found, and how to open one."""
    if as_json:
        homes = [_described(home) for home in found.homes]
        plans.print_json({"homes": homes, "complete": found.complete, "opened": None})
        return
    _print(homes_text.table(recover_text.rows(found.homes)))
    _print(recover_text.notes(found))


def _open(home: Home, places: salvage_find.Places, wishes: _Wishes, *, as_json: bool) -> None:
    """Ask for what opens it, and open it."""
    if not home.opens:
        raise KeyFilesLostError(home.path, home.trouble)
    end_properly()
    prompt = f"Recovery key or password of the home of {one_line(home.user)}"
    secret = answers(wishes.password_file).ask(prompt) or b""
    if not secret:
        raise NoAnswerError("no password was given")
    place = salvage.open_at(salvage.unlock(home, secret, places), wishes.directory, writable=wishes.writable)
    if as_json:
        opened = {**homes_json.path("directory", os.fsencode(place)), "writable": wishes.writable}
        plans.print_json({"homes": [_described(home)], "complete": True, "opened": opened})
    else:
        _print(recover_text.opened(home, place, writable=wishes.writable))


def _close(path: str, *, as_json: bool) -> None:
    path = os.path.abspath(path)
    os.chdir("/")  # this process is not what keeps the home busy
    record = salvage.close(path)
    if as_json:
        plans.print_json({"user": record.user, "closed": True, **homes_json.path("directory", record.mountpoint)})
    else:
        _print([f"The home of {record.user} is closed; nothing of it is left at {os.fsdecode(record.mountpoint)}."])


def _show_open(*, as_json: bool) -> None:
    """What is open now."""
    records = salvage.all_open()
    if as_json:
        described = [
            {"user": each.user, **homes_json.path("path", each.source), **homes_json.path("directory", each.mountpoint)}
            for each in records
        ]
        plans.print_json({"open": described})
    elif records:
        _print(homes_text.table(recover_text.open_rows(records)))
    else:
        click.echo("No home of another installation is open; name a PATH to look for one.", err=True)


def _described(home: Home) -> dict[str, object]:
    return {
        "user": one_line(home.user),
        "uid": home.uid,
        "backend": home.backend,
        **homes_json.path("path", os.fsencode(home.path)),
        "opens": [one_line(way) for way in home.opens],
        "trouble": one_line(home.trouble),
    }


def _print(lines: Iterable[str]) -> None:
    """Whatever somebody has written on the disk, each stays one line."""
    for line in lines:
        click.echo(one_line(line))


@contextlib.contextmanager
def _reported(path: str, homes: list[Home]) -> Iterator[None]:
    """Turn what goes wrong into a CommandError."""
    insist_on_root("opens homes of others")
    try:
        yield
    except (PyhomeError, OSError) as error:
        line = recover_text.failed(error, path, homes[0] if homes else None)
        raise CommandError(line, failure_of(error).code) from error
    except KeyboardInterrupt as error:
        line = f"{path}: interrupted; nothing is open, start again if that was not meant"
        raise CommandError(line, INTERRUPTED) from error
