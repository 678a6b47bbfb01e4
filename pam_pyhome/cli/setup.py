"""``pyhome setup`` and ``pyhome rollback``: making the machine ready, and taking that back by name."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

import click

from pam_pyhome.admin import setup as setups
from pam_pyhome.cli import options, plans
from pam_pyhome.cli.failure import CommandError
from pam_pyhome.cli.usage import RootCommand
from pam_pyhome.sshd import manage, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from pam_pyhome.admin.plan import Change


class _Undo(NamedTuple):
    """What can be rolled back under a name."""

    what: str
    when: Callable[[], float | None]
    plan: Callable[[], list[Change]]
    carry_out: Callable[[Sequence[Change]], list[str]]


def _sshd_when() -> float | None:
    try:
        return os.stat(os.path.join(survey.STATE, "journal")).st_mtime
    except FileNotFoundError:
        return None


_UNDOS = {
    "setup": _Undo("pyhome setup: PAM files, units", setups.when, setups.undo_plan, setups.rollback),
    "sshd": _Undo(
        "pyhome sshd: keys outside of homes", _sshd_when, manage.undo_plan, lambda changes: [manage.revert(changes)]
    ),
}


@click.command(cls=RootCommand, help="Make this machine ready for homes that open at login.")
@click.option("--dry-run", is_flag=True, help="Show the plan as a diff, try it out, and change nothing.")
@options.JSON
@options.YES
def setup(*, dry_run: bool, as_json: bool, yes: bool) -> None:
    """Plan, try out, confirm, carry out, prove."""
    with _reported():
        if setups.has_unfinished():
            _restore(dry_run=dry_run)
        proposal = setups.propose()
        if not dry_run:
            plans.confirm(proposal.changes, yes=yes)
        said = setups.carry_out(proposal) if proposal.changes and not dry_run else []
    if as_json:
        proved = {name: {"leased": each.leased, "mounted": each.mounted} for name, each in sorted(proposal.after.items())}
        described = plans.described(proposal.changes)
        plans.print_json({"changes": described, "proved": proved, "dry_run": dry_run})
        return
    if dry_run:
        plans.show(proposal.changes)
    for name, tried in sorted(proposal.after.items()):
        what = "opens the home" if tried.mounted else "reaches pyhome" if tried.leased else "is as before"
        click.echo(f"proved: {name} lets a right password in, keeps a wrong one out and {what}")
    for line in said:
        click.echo(line)
    done = "nothing was changed" if dry_run else "done"
    click.echo(f"{plans.summary(proposal.changes)}{f': {done}' if proposal.changes else '; this machine is ready'}")
    if proposal.changes and not dry_run:
        click.echo("'pyhome rollback setup' takes it back; 'pyhome doctor' looks at the rest")


def _restore(*, dry_run: bool) -> None:
    if dry_run:
        raise CommandError("an earlier run was interrupted; run 'pyhome setup' or 'pyhome rollback setup', which restore first", 1)
    restored = setups.restore()
    click.echo(f"an earlier run was interrupted; {plans.summary(restored)} was restored", err=True)


@click.command(cls=RootCommand, help="Take back what NAME has changed; without a name, list what can be taken back.")
@click.argument("name", required=False, type=click.Choice(list(_UNDOS)))
@click.option("--dry-run", is_flag=True, help="Show the plan as a diff and change nothing.")
@options.JSON
@options.YES
def rollback(name: str | None, *, dry_run: bool, as_json: bool, yes: bool) -> None:
    """List or undo."""
    with _reported():
        if name is None:
            _list(as_json=as_json)
            return
        if name == "setup" and setups.has_unfinished():
            _restore(dry_run=dry_run)
        undo = _UNDOS[name]
        changes = undo.plan() if undo.when() is not None else []
        if dry_run:
            plans.show(changes)
        else:
            plans.confirm(changes, yes=yes)
        said = undo.carry_out(changes) if undo.when() is not None and not dry_run else []
    if as_json:
        plans.print_json({"name": name, "changes": plans.described(changes), "dry_run": dry_run})
        return
    for line in said:
        click.echo(line)
    click.echo(f"{plans.summary(changes)}{': ' + ('nothing was changed' if dry_run else 'done') if changes else ''}")


def _list(*, as_json: bool) -> None:
    found = {name: (undo, undo.when()) for name, undo in _UNDOS.items()}
    there = {name: (undo, when, undo.plan()) for name, (undo, when) in found.items() if when is not None}
    if as_json:
        listed = [{"name": name, "when": int(when), "changes": plans.described(plan)} for name, (_, when, plan) in there.items()]
        plans.print_json({"rollbacks": listed})
        return
    for name, (undo, when, plan) in there.items():
        click.echo(f"{name:8}{time.strftime('%Y-%m-%d %H:%M', time.localtime(when))}  {undo.what}; {plans.summary(plan)}")
    if not there:
        click.echo("there is nothing to take back")


def _reported() -> AbstractContextManager[None]:
    """Turn what goes wrong into a CommandError."""
    interrupted = "'pyhome rollback setup' restores what was half done"
    return plans.reported("this machine", advice="; 'pyhome doctor' may know more", interrupted=interrupted)
