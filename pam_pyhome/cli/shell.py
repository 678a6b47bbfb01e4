"""``pyhome shell``: who has pyhome-shell as the login shell."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from pam_pyhome.admin import login_shell
from pam_pyhome.cli import homes_text, options, plans
from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.failure import CommandError, insist_on_root, reported
from pam_pyhome.cli.usage import RootCommand, RootGroup
from pam_pyhome.errors import LoginShellError, NoUserError
from pam_pyhome.formats.shells import PATH
from pam_pyhome.formats.words import quoted
from pam_pyhome.policy.failures import failure_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_ADVICE = {
    login_shell.SYSTEM_USER: "leave its shell as it is",
    login_shell.NOT_ENCRYPTED: "there is nothing that a login shell could unlock",
    login_shell.NO_LOGIN: "give the user another one with 'chsh' first",
    login_shell.NOT_RUNNABLE: "install it, or give the user another one with 'chsh'",
    login_shell.NOT_LISTED: f"run 'add-shell {login_shell.STUB}', or add that line",
    login_shell.BROKEN: "reinstall pyhome",
    login_shell.NOT_RECORDED: "give the user a shell with 'chsh'",
    login_shell.NOT_CHANGED: "change it where this user is kept",
}


@click.group(cls=RootGroup, invoke_without_command=True)
@click.pass_context
def shell(context: click.Context) -> None:
    """Unlock homes at the login shell, for logins by key."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@shell.command(cls=RootCommand, help="Make pyhome-shell the login shell of USER.")
@options.USER
@options.YES
@options.JSON
def enable(user: str, *, yes: bool, as_json: bool) -> None:
    """Enable for one user."""
    with _reported(user):
        found = login_shell.show(user)
        if not found.enabled:
            options.confirm(f"Make {login_shell.STUB} the login shell of {one_line(user)}?", yes=yes)
        changed = login_shell.enable(user)
        found = login_shell.show(user)
    _print(found, changed=changed, as_json=as_json)
    if changed and not as_json:
        click.echo(f"'pyhome shell disable {quoted(user)}' takes it back")


@shell.command(cls=RootCommand, help="Give USER the real shell back.")
@options.USER
@options.YES
@options.JSON
def disable(user: str, *, yes: bool, as_json: bool) -> None:
    """Disable for one user."""
    with _reported(user):
        found = login_shell.show(user)
        if found.enabled:
            options.confirm(f"Make {found.real_shell} the login shell of {one_line(user)} again?", yes=yes)
        changed = login_shell.disable(user)
        found = login_shell.show(user)
    _print(found, changed=changed, as_json=as_json)


@shell.command(cls=RootCommand, help="Say which login shell and which real shell USER has.")
@options.USER
@options.JSON
@click.pass_context
def show(context: click.Context, user: str, *, as_json: bool) -> None:
    """Show one user; 1 if pyhome-shell is not the login shell."""
    with _reported(user):
        found = login_shell.show(user)
    _print(found, changed=None, as_json=as_json)
    context.exit(0 if found.enabled else 1)


def _print(found: login_shell.Found, *, changed: bool | None, as_json: bool) -> None:
    if as_json:
        plans.print_json(found._asdict() | ({} if changed is None else {"changed": changed}))
        return
    line = f"{one_line(found.user)}: the login shell is {one_line(found.login_shell or '/bin/sh')}"
    if found.enabled:
        line += f", the real shell {one_line(found.real_shell or 'is not recorded')}"
    click.echo(f"{line}; nothing was changed" if changed is False else line)


@contextlib.contextmanager
def _reported(user: str) -> Iterator[None]:
    """Turn what goes wrong into a CommandError. Everything here is root's."""
    insist_on_root("changes files of root")
    try:
        with reported(PATH):
            yield
    except CommandError as failure:
        cause = failure.__cause__
        if isinstance(cause, NoUserError):
            raise CommandError(homes_text.failed(failure_of(cause), user), cause.exit_code) from cause
        if not isinstance(cause, LoginShellError):
            raise
        detail = f" ({cause.detail})" if cause.detail else ""
        advice = _ADVICE[cause.reason]
        raise CommandError(f"{user}: {cause.reason}{detail}; {advice}", cause.exit_code) from cause
