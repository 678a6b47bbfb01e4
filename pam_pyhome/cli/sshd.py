"""``pyhome sshd``: keys where sshd finds them while homes are locked."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click

from pam_pyhome.admin import plan as plans
from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.failure import INTERRUPTED, CommandError
from pam_pyhome.errors import PyhomeError
from pam_pyhome.kernel.process import unprotect_memory
from pam_pyhome.sshd import inspection, layout, manage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pam_pyhome.admin.plan import Change
    from pam_pyhome.sshd.layout import Problem

_LAYOUTS = {"directory": layout.IN_DIRECTORY, "suffix": layout.WITH_SUFFIX}
_DECLINED = 1
_UNMET = 1


@click.group(invoke_without_command=True)
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
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
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


_YES = click.option("--yes", is_flag=True, help="Do not ask.")


@sshd.command(help="Show what 'apply' would change, as a unified diff.")
@_planning
def plan(**options: Any) -> None:  # noqa: ANN401 - click hands over what _planning declares
    """Show the plan."""
    with _reported():
        proposal = manage.propose(_options(options))
    if options["as_json"]:
        _print_json(_described(proposal.changes, proposal.found.problems))
        return
    _show(proposal.changes)
    _complain(proposal)
    click.echo(f"{_summary(proposal.changes)}; nothing was changed", err=True)


@sshd.command("apply", help="Lay out all users' keys and have sshd read them.")
@_planning
@_YES
def apply_(*, yes: bool, **options: Any) -> None:  # noqa: ANN401 - click hands over what _planning declares
    """Carry out the plan."""
    with _reported():
        proposal = manage.propose(_options(options))
        _complain(proposal)
        _confirm(proposal.changes, yes=yes)
        reloaded = manage.carry_out(proposal)
        findings = inspection.about_users(proposal) if proposal.changes else []
    if options["as_json"]:
        users = [finding._asdict() for finding in findings]
        _print_json(_described(proposal.changes, proposal.found.problems) | {"reload": reloaded, "users": users})
        return
    click.echo(f"{_summary(proposal.changes)}: done; {reloaded}")
    for finding in findings:
        _print_finding(finding)
    if proposal.changes:
        click.echo("'pyhome sshd revert' takes it back")


@sshd.command(help="Compare the layout with what it should be, and ask sshd which file answers for USERS.")
@click.argument("users", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def check(context: click.Context, users: tuple[str, ...], *, as_json: bool) -> None:
    """Check everything; 1 if something is not as it should be."""
    with _reported():
        findings = list(inspection.inspect(users))
    good = not any(finding.level == inspection.FAIL for finding in findings)
    if as_json:
        _print_json({"ok": good, "findings": [finding._asdict() for finding in findings]})
    else:
        for finding in findings:
            _print_finding(finding)
    context.exit(0 if good else _UNMET)


@sshd.command(help="Carry the keys of USER into the layout now.")
@click.argument("user")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_YES
def sync(user: str, *, as_json: bool, yes: bool) -> None:
    """Refresh one user."""
    with _reported():
        if not yes:
            _confirm(manage.plan_sync(user).changes, yes=False)
        found = manage.sync(user)
        _print_problems(found.problems)
    if as_json:
        _print_json(_described(found.changes, found.problems))
    else:
        click.echo(f"{one_line(user)}: {_summary(found.changes)}")


@sshd.command(help="Take back everything that 'apply' and 'sync' have changed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_YES
def revert(*, as_json: bool, yes: bool) -> None:
    """Restore what was there before."""
    with _reported():
        changes = manage.undo_plan()
        _confirm(changes, yes=yes)
        reloaded = manage.revert(changes)
    if as_json:
        _print_json(_described(changes, ()) | {"reload": reloaded})
    else:
        click.echo(f"{_summary(changes)}: done; {reloaded}")


def _options(given: dict[str, Any]) -> manage.Options:
    name = given["layout"]
    return manage.Options(_LAYOUTS[name] if name else None, given["unlock_at_login"], given["prune"])


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Turn what goes wrong into a CommandError. Everything here is root's."""
    if os.geteuid() != 0:
        raise CommandError("reads and writes files of root; run it as root", 1)
    try:
        yield
    except PyhomeError as error:
        raise CommandError(str(error), error.exit_code) from error
    except OSError as error:
        raise CommandError(f"{error.filename or 'sshd'}: {error.strerror or error}", 1) from error
    except subprocess.SubprocessError as error:
        raise CommandError(str(error), 1) from error
    except KeyboardInterrupt as error:
        raise CommandError("interrupted; nothing was left half done", INTERRUPTED) from error


def _confirm(changes: Sequence[Change], *, yes: bool) -> None:
    """Ask before anything is changed; on a terminal only."""
    if yes or not changes:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("there is no terminal to ask on; --yes goes on without")
    _show(changes)
    if not click.confirm(f"{_summary(changes)}. Go on?", default=False):
        raise CommandError("nothing was changed", _DECLINED)


def _show(changes: Iterable[Change]) -> None:
    """Print a diff; on a terminal, nothing in it can be mistaken for a command to the terminal."""
    harmless = one_line if sys.stdout.isatty() else str
    out = sys.stdout.buffer
    for line in plans.diff(changes):
        out.write(harmless(line).encode("utf-8", "surrogateescape") + b"\n")
    out.flush()


def _summary(changes: Sequence[Change]) -> str:
    """What a plan amounts to."""
    removed = sum(change.after is None for change in changes)
    parts = [_counted(len(changes) - removed, "write"), _counted(removed, "remove")]
    return ", ".join(filter(None, parts)) or "nothing to change"


def _counted(count: int, verb: str) -> str:
    return f"{count} {'path' if count == 1 else 'paths'} to {verb}" if count else ""


def _complain(proposal: manage.Proposal) -> None:
    """Bad lines, files left alone, and what the choice of --unlock-at-login means."""
    _print_problems(proposal.found.problems)
    if proposal.unlock_at_login:
        click.echo(f"note: {manage.UNLOCK_LIMIT}", err=True)


def _print_problems(problems: Iterable[Problem]) -> None:
    for problem in problems:
        place = f"{problem.path}:{problem.line}" if problem.line else problem.path
        click.echo(one_line(f"{place}: {problem.reason}"), err=True)


def _print_finding(finding: inspection.Finding) -> None:
    click.echo(one_line(f"{finding.level:4} {finding.subject}: {finding.text}"))


def _described(changes: Iterable[Change], problems: Iterable[Problem]) -> dict[str, object]:
    described = [{"path": change.path, "before": _node(change.before), "after": _node(change.after)} for change in changes]
    return {"changes": described, "problems": [problem._asdict() for problem in problems]}


def _node(node: plans.Node | None) -> dict[str, object] | None:
    if node is None:
        return None
    size = None if node.content is None else len(node.content)
    return {"uid": node.uid, "gid": node.gid, "mode": f"{node.mode:04o}", "size": size}


def _print_json(value: dict[str, object]) -> None:
    click.echo(json.dumps(value, indent=2))
