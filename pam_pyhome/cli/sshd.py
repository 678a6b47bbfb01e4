"""``pyhome sshd``: keys where sshd finds them while homes are locked."""

from __future__ import annotations

import contextlib
import gc
import os
from typing import TYPE_CHECKING, Any

import click

from pam_pyhome.admin import homes
from pam_pyhome.admin.plan import Change
from pam_pyhome.cli import options, plans
from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.answers import AtTerminal
from pam_pyhome.cli.homes import answering
from pam_pyhome.cli.usage import Group, RootCommand
from pam_pyhome.kernel.process import unprotect_memory
from pam_pyhome.sshd import at_close, inspection, layout, manage, people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from pam_pyhome.sshd.layout import Problem

_LAYOUTS = {"directory": layout.IN_DIRECTORY, "suffix": layout.WITH_SUFFIX}
_UNMET = 1


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def sshd(context: click.Context) -> None:
    """Keep authorized keys where sshd can read them while homes are locked."""
    with contextlib.suppress(OSError):
        unprotect_memory()
    gc.disable()
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _planning(command: Callable[..., None]) -> Callable[..., None]:
    """The options of `plan` and `apply`."""
    for option in (
        options.JSON,
        click.option("--prune", is_flag=True, help="Also remove the key files of users who do not exist."),
        click.option(
            "--unlock-at-login/--no-unlock-at-login",
            default=None,
            help="Have sshd ask for the home's password after the public key, for scp, sftp and editors.",
        ),
        click.option("--layout", type=click.Choice(list(_LAYOUTS)), help="authorized_keys.d/USER, or authorized_keys.USER."),
    ):
        command = option(command)
    return command


@sshd.command(cls=RootCommand, help="Show what 'apply' would change, as a unified diff.")
@_planning
def plan(**given: Any) -> None:  # noqa: ANN401 - click hands over what _planning declares
    """Show the plan."""
    with _reported():
        proposal = manage.propose(_options(given))
    if given["as_json"]:
        plans.print_json(_described(proposal.changes, proposal.found.problems))
        return
    plans.show(proposal.changes)
    _complain(proposal)
    click.echo(f"{plans.summary(proposal.changes)}; nothing was changed", err=True)


@sshd.command("apply", cls=RootCommand, help="Lay out all users' keys and have sshd read them.")
@_planning
@options.YES
def apply_(*, yes: bool, **given: Any) -> None:  # noqa: ANN401 - click hands over what _planning declares
    """Carry out the plan."""
    with _reported():
        proposal = manage.propose(_options(given))
        _complain(proposal)
        plans.confirm(proposal.changes, yes=yes)
        reloaded = manage.carry_out(proposal)
        findings = inspection.about_users(proposal) if proposal.changes else []
    if given["as_json"]:
        users = [finding._asdict() for finding in findings]
        plans.print_json(_described(proposal.changes, proposal.found.problems) | {"reload": reloaded, "users": users})
        return
    click.echo(f"{plans.summary(proposal.changes)}: done; {reloaded}")
    for finding in findings:
        _print_finding(finding)
    if proposal.changes:
        click.echo("'pyhome sshd revert' takes it back")


@sshd.command(cls=RootCommand, help="Compare the layout with what it should be, and ask sshd which file answers for USERS.")
@options.USERS
@options.JSON
@click.pass_context
def check(context: click.Context, users: tuple[str, ...], *, as_json: bool) -> None:
    """Check everything; 1 if something is not as it should be."""
    with _reported():
        findings = list(inspection.inspect(users))
    good = not any(finding.level == inspection.FAIL for finding in findings)
    if as_json:
        plans.print_json({"ok": good, "findings": [finding._asdict() for finding in findings]})
    else:
        for finding in findings:
            _print_finding(finding)
    context.exit(0 if good else _UNMET)


@sshd.command(help="Carry the keys of USER into the layout now; without root, your own.")
@options.ANY_USER
@options.JSON
@options.YES
def sync(user: str | None, *, as_json: bool, yes: bool) -> None:
    """Refresh one user."""
    if os.geteuid() != 0:
        _sync_own(user, as_json=as_json)
        return
    if user is None:
        raise click.UsageError("name the user; 'pyhome sshd apply' is for everybody")
    with _reported():
        if not yes:
            plans.confirm(manage.plan_sync(user).changes, yes=False)
        found = manage.sync(user)
        site = manage.applied_site()
        at_close.note(found, people.look_up(user))
        _print_problems(found.problems)
        for text in inspection.unread(site, found) if site is not None else ():
            click.echo(one_line(text), err=True)
    if as_json:
        plans.print_json(_described(found.changes, found.problems))
    else:
        click.echo(f"{one_line(user)}: {plans.summary(found.changes)}")


def _sync_own(user: str | None, *, as_json: bool) -> None:
    """Pyhomed does it, as root. What the file in the layout was and is, everybody can see."""
    with answering():
        name = homes.whose(user)
        before = manage.laid_out(name)
        changed = homes.sync_own_keys(name, AtTerminal())
        after = manage.laid_out(name)
    if as_json:
        path, node = after or ("", None)
        plans.print_json(_described([Change(path, before and before[1], node)] if changed else (), ()))
    else:
        click.echo(f"{one_line(name)}: {'sshd has your keys as they are now' if changed else 'nothing to change'}")


@sshd.command(cls=RootCommand, help="Take back everything that 'apply' and 'sync' have changed.")
@options.JSON
@options.YES
def revert(*, as_json: bool, yes: bool) -> None:
    """Restore what was there before."""
    with _reported():
        changes = manage.undo_plan()
        plans.confirm(changes, yes=yes)
        reloaded = manage.revert(changes)
    if as_json:
        plans.print_json(_described(changes, ()) | {"reload": reloaded})
    else:
        click.echo(f"{plans.summary(changes)}: done; {reloaded}")


def _options(given: dict[str, Any]) -> manage.Options:
    name = given["layout"]
    return manage.Options(_LAYOUTS[name] if name else None, given["unlock_at_login"], given["prune"])


def _reported() -> AbstractContextManager[None]:
    """Turn what goes wrong into a CommandError."""
    return plans.reported("sshd", advice="", interrupted="nothing was left half done")


def _complain(proposal: manage.Proposal) -> None:
    """Bad lines, files left alone, and what the choice of --unlock-at-login means."""
    _print_problems(proposal.found.problems)
    for text in inspection.unread(proposal.site, proposal.found):
        click.echo(one_line(f"note: {text}"), err=True)
    for finding in inspection.about_principals(proposal.directives):
        click.echo(one_line(f"note: {finding.subject}: {finding.text}"), err=True)
    if proposal.unlock_at_login:
        click.echo(f"note: {manage.UNLOCK_LIMIT}", err=True)


def _print_problems(problems: Iterable[Problem]) -> None:
    for problem in problems:
        place = f"{problem.path}:{problem.line}" if problem.line else problem.path
        click.echo(one_line(f"{place}: {problem.reason}"), err=True)


def _print_finding(finding: inspection.Finding) -> None:
    click.echo(one_line(f"{finding.level:4} {finding.subject}: {finding.text}"))


def _described(changes: Iterable[Change], problems: Iterable[Problem]) -> dict[str, object]:
    return {"changes": plans.described(changes), "problems": [problem._asdict() for problem in problems]}
