"""``pyhome doctor``: what stands between users and their open homes, in the order of a login."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from pam_pyhome.admin.accounts import look_up
from pam_pyhome.admin.doctor import (
    account,
    finding,
    install,
    kernel,
    memory,
    pam,
    people,
    second_factor,
    sessions,
    shell,
)
from pam_pyhome.admin.doctor.answers import Person
from pam_pyhome.admin.doctor.finding import Finding
from pam_pyhome.cli import options, plans
from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.failure import insist_on_root, reported
from pam_pyhome.cli.usage import RootCommand
from pam_pyhome.formats.words import quoted
from pam_pyhome.sshd import doctor as ssh

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pam_pyhome.backends.base import Account

_STATUS = {finding.OK: 0, finding.WARN: 1, finding.FAIL: 2}
_COLOURS = {finding.OK: "green", finding.WARN: "yellow", finding.FAIL: "red", finding.SKIP: "bright_black"}
_BAD = (finding.FAIL, finding.WARN)


@click.command(
    cls=RootCommand, help="Say what stands between users, or USER, and their open homes, and what mends it. Changes nothing."
)
@options.ANY_USER
@click.option("--quiet", is_flag=True, help="Print only what is not well.")
@click.option("--verbose", is_flag=True, help="Print also what is well, and what is not about this machine.")
@options.JSON
@click.pass_context
def doctor(context: click.Context, user: str | None, *, quiet: bool, verbose: bool, as_json: bool) -> None:
    """Check everything; 0 if all is well, 1 if something could be better, 2 if something does not work."""
    insist_on_root("reads files of root")
    with reported("this machine"):
        findings = finding.merged(examine(user))
    worst = finding.verdict(findings)
    if as_json:
        plans.print_json({"verdict": worst, "user": user, "findings": [each._asdict() for each in findings]})
    else:
        _print([each for each in findings if verbose or each.level in _BAD])
        if not quiet:
            click.echo(_summary(findings))
    context.exit(_STATUS[worst])


def examine(user: str | None) -> Iterator[Finding]:
    """All checks, in the order of a login. Nothing is changed."""
    chosen = look_up(user) if user is not None else None
    if user is not None and chosen is None:
        yield Finding(finding.FAIL, "keys.user", user, "is no user of this machine", f"getent passwd {quoted(user)}")
    yield from kernel.check(people.kinds(chosen))
    yield from install.check()
    yield from _about_pam(chosen)
    if user is None or chosen is not None:
        yield from account.check_everybody()
        yield from people.check(chosen)
    yield from ssh.check(chosen.name if chosen is not None else None)
    if user is None or chosen is not None:
        yield from shell.check_shell(user)
        yield from sessions.check_leases(chosen)
        yield from sessions.check_lingering(chosen)
    yield from memory.check()


def _about_pam(chosen: Account | None) -> Iterator[Finding]:
    person = None if chosen is None else Person("", name=chosen.name, uid=chosen.uid, local=_is_local(chosen.name))
    skipped = install.settings().skip_services
    yield from pam.check(skipped, person)
    yield from second_factor.check(skipped, chosen)


def _is_local(name: str) -> bool:
    return any(line.startswith(f"{name}:") for line in kernel.read_lines("/etc/passwd"))


def _print(findings: Sequence[Finding]) -> None:
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    for each in findings:
        level = click.style(f"{each.level:4}", fg=_COLOURS[each.level] if colours else None, reset=colours)
        click.echo(f"{level}  {one_line(f'{each.subject}: {each.text}')}")
        if each.mend:
            click.echo(one_line(f"      mend: {each.mend}"))


def _summary(findings: Sequence[Finding]) -> str:
    """All in a line."""
    counts = [(level, sum(each.level == level for each in findings)) for level in _BAD]
    names = {finding.FAIL: "failure", finding.WARN: "warning"}
    parts = [f"{count} {names[level]}{'s' if count > 1 else ''}" for level, count in counts if count]
    well = sum(each.level == finding.OK for each in findings)
    return ", ".join(parts) or f"all is well: {well} things are as they should be ('--verbose' lists them)"
