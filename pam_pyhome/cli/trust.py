"""``pyhome trust``: which file systems are given the keys of directories besides the homes."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import click

from pam_pyhome.admin import accounts, approving
from pam_pyhome.backends import trust as ranks
from pam_pyhome.cli import homes_json, homes_text, options, plans
from pam_pyhome.cli.failure import CommandError, insist_on_root, reported
from pam_pyhome.cli.usage import RootCommand
from pam_pyhome.errors import TrustError
from pam_pyhome.formats.words import one_line, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.admin.approving import FileSystem
    from pam_pyhome.formats.trusted import Approval

_BY = {ranks.ROOTS: "the root file system", ranks.CONFIGURED: "/etc/fstab or a mount unit", ranks.APPROVED: "a record"}
_ADVICE = {
    approving.NO_FILE_SYSTEM: "'pyhome trust' lists those",
    approving.CHANGEABLE: "only one on a disk, or in a file that nobody but root can change, is given keys",
    approving.NO_NAME: "list it in /etc/fstab, without user, users, owner and group",
    approving.TWIN: "unmount the copy first",
    approving.NOT_OURS: "add the option user to its line in /etc/fstab if it is to get no keys",
    approving.NO_RECORD: "'pyhome trust' lists what has been",
}


@click.command(
    cls=RootCommand, help="Let keys of users go to the file system that is mounted at MOUNTPOINT. Without MOUNTPOINT: list all."
)
@click.argument("mountpoint", required=False, type=click.Path())
@click.option("--user", metavar="USER", help="Only keys of USER.")
@click.option("--remove", "removing", is_flag=True, help="Take that back; MOUNTPOINT may be a UUID.")
@options.YES
@options.JSON
def trust(mountpoint: str | None, user: str | None, *, removing: bool, yes: bool, as_json: bool) -> None:
    """List, approve, take back."""
    if mountpoint is None and (user or removing or yes):
        raise click.UsageError("name a MOUNTPOINT")
    with _reported(mountpoint or ranks.PLACE):
        if user is not None:
            user = accounts.find(user).name
        if mountpoint is None:
            _list(as_json=as_json)
        elif removing:
            _remove(mountpoint, user, yes=yes, as_json=as_json)
        else:
            _approve(mountpoint, user or "", yes=yes, as_json=as_json)


def _list(*, as_json: bool) -> None:
    found = approving.all_known()
    if as_json:
        plans.print_json({"file_systems": [_described(each) for each in found]})
        return
    heads = ("MOUNTPOINT", "SOURCE", "UUID", "KEYS")
    rows = [(one_line(each.mountpoint), one_line(each.source or "-"), each.uuid or "-", _keys(each)) for each in found]
    for line in homes_text.table([heads, *rows]):
        click.echo(line)


def _keys(found: FileSystem) -> str:
    """Who gives it keys, and why."""
    if found.rank in (ranks.ROOTS, ranks.CONFIGURED) or "" in found.approved:
        return f"of everybody: {_BY.get(found.rank, _BY[ranks.APPROVED])}"
    if found.approved:
        return f"of {', '.join(map(one_line, found.approved))}: {_BY[ranks.APPROVED]}"
    return f"only of homes on it: {found.why}"


def _approve(mountpoint: str, user: str, *, yes: bool, as_json: bool) -> None:
    found = approving.at(mountpoint)
    if not approving.is_given_keys_of(found, user):
        approving.check(found)
        what = f"{one_line(found.source)} (UUID {found.uuid}, {one_line(found.disk) or 'no serial number'})"
        whose = f"{one_line(user)}'s keys" if user else "keys of all users"
        options.confirm(f"Whoever has written that disk can use what it gets. Give {what} {whose}?", yes=yes)
    changed = approving.approve(found, user)
    found = approving.at(mountpoint)
    if as_json:
        plans.print_json({"file_system": _described(found), "changed": changed})
        return
    if not changed:
        click.echo(f"{one_line(found.mountpoint)} was so already.")
        return
    click.echo(f"{one_line(found.mountpoint)} is given keys when homes are opened from now on.")
    click.echo(f"'pyhome trust --remove {quoted(found.mountpoint)}' takes that back.")


def _remove(name: str, user: str | None, *, yes: bool, as_json: bool) -> None:
    options.confirm(f"Give {one_line(name)} no more keys?", yes=yes)
    gone = approving.take_back(name, user)
    if as_json:
        plans.print_json({"file_systems": [_described(_removed(each)) for each in gone], "changed": True})
        return
    click.echo(f"{one_line(name)} is given no more keys; those that it has stay until the homes are locked.")


def _removed(each: Approval) -> FileSystem:
    return approving.FileSystem(each.mountpoint, "", each.uuid, each.disk, ranks.UNKNOWN, "", (each.user,))


def _described(found: FileSystem) -> dict[str, object]:
    return {
        **homes_json.path("mountpoint", os.fsencode(found.mountpoint)),
        "source": one_line(found.source),
        "uuid": found.uuid,
        "disk": one_line(found.disk),
        "trusted_by": _BY.get(found.rank),
        "why_not": found.why,
        "users": [one_line(user) for user in found.approved],
    }


@contextlib.contextmanager
def _reported(thing: str) -> Iterator[None]:
    """Turn what goes wrong into a CommandError. Everything here is root's."""
    insist_on_root("reads and writes files of root")
    try:
        with reported(thing):
            yield
    except CommandError as failure:
        cause = failure.__cause__
        if not isinstance(cause, TrustError):
            raise
        raise CommandError(f"{one_line(cause.path)}: {cause.reason}; {_ADVICE[cause.reason]}", cause.exit_code) from cause
