"""``pyhome doctor``: what stands between a user and an open home, in the order of a login."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pam_pyhome.admin.accounts import look_up
from pam_pyhome.admin.doctor import finding, home, install, kernel, memory, pam, second_factor
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

_STATUS = {finding.OK: 0, finding.WARN: 1, finding.FAIL: 2}


@click.command(cls=RootCommand, help="Say what stands between USER, or anybody, and an open home. Changes nothing.")
@options.ANY_USER
@options.JSON
@click.pass_context
def doctor(context: click.Context, user: str | None, *, as_json: bool) -> None:
    """Check everything; 0 if all is well, 1 if something could be better, 2 if something does not work."""
    insist_on_root("reads files of root")
    with reported("this machine"):
        findings = list(examine(user))
    worst = finding.verdict(findings)
    if as_json:
        plans.print_json({"verdict": worst, "user": user, "findings": [each._asdict() for each in findings]})
    else:
        _print(findings)
    context.exit(_STATUS[worst])


def examine(user: str | None) -> Iterator[Finding]:
    """All checks, in the order of a login. Nothing is changed."""
    account = look_up(user) if user is not None else None
    if user is not None and account is None:
        yield Finding(finding.FAIL, "keys.user", user, "is no user of this machine", f"getent passwd {quoted(user)}")
    yield from kernel.check("" if account is None else home.kind(account))
    yield from install.check()
    person = None if account is None else Person("", name=account.name, uid=account.uid, local=_is_local(account.name))
    skipped = install.settings().skip_services
    yield from pam.check(skipped, person)
    yield from second_factor.check(skipped, account)
    if account is not None:
        yield from home.check_keys(account)
    yield from ssh.check(account.name if account is not None else None)
    if user is None or account is not None:
        yield from home.check_shell(user)
        yield from home.check_leases(account)
        yield from home.check_lingering(account)
    yield from memory.check()


def _is_local(name: str) -> bool:
    return any(line.startswith(f"{name}:") for line in kernel.read_lines("/etc/passwd"))


def _print(findings: Sequence[Finding]) -> None:
    for each in findings:
        click.echo(one_line(f"{each.level:4}  {each.subject}: {each.text}"))
        if each.mend:
            click.echo(one_line(f"      mend: {each.mend}"))
    counts = [(level, sum(each.level == level for each in findings)) for level in (finding.FAIL, finding.WARN)]
    names = {finding.FAIL: "failure", finding.WARN: "warning"}
    parts = [f"{count} {names[level]}{'s' if count > 1 else ''}" for level, count in counts if count]
    click.echo(", ".join(parts) or "all is well")
