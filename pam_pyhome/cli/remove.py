"""``pyhome remove``: a home and its account go, for good."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, assert_never

import click

from pam_pyhome.admin import removal
from pam_pyhome.admin import removal_facts as facts
from pam_pyhome.admin.accounts import look_up
from pam_pyhome.cli import homes_text, options, plans
from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.create import end_properly
from pam_pyhome.cli.failure import INTERRUPTED, CommandError, insist_on_root
from pam_pyhome.cli.usage import RootCommand
from pam_pyhome.errors import (
    HomeBusyError,
    HomeElsewhereError,
    HomeInUseError,
    NoHomeError,
    NoUserError,
    PyhomeError,
    RemoveError,
    StorageError,
)
from pam_pyhome.formats.words import quoted
from pam_pyhome.policy.failures import failure_of
from pam_pyhome.sshd import layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.admin.removal import Outlook
    from pam_pyhome.admin.removal_record import Record

_ADVICE = {
    facts.SYSTEM_USER: "name another user",
    facts.BAD_PLACE: "correct the path with 'usermod --home', or who may write there",
    facts.NOT_THERE: "mount its disk as it was, then give this again",
    facts.NOT_SEEN: "mount its disk; if that is gone for good, remove the account with 'userdel', and give this again for the rest",
    facts.NOT_OWN: "see whose it is before anything else",
    facts.SHARED: "give each of them a home and a uid of their own first",
    facts.MOUNTED: "unmount it",
    facts.FROZEN: "take that from it with 'chattr -R -i -a' while the home is open",
    facts.CONVERTED: "'pyhome status' tells what to do with it",
    facts.BEING_MADE: "give that verb again first, which finishes it or takes it back",
    facts.WHOSE: "look at them with 'ls -ln', and remove by hand what is nobody's",
    facts.RETURNED: "move that out of the way, then give this again",
    facts.TOOL_FAILED: "give this again when that is repaired",
    facts.STUCK: "see 'lsattr' and 'findmnt', then give this again",
}


@click.command(cls=RootCommand, help="Remove the encrypted home of USER, and the account.")
@options.USER
@click.option("--keep-account", is_flag=True, help="Remove the home alone.")
@options.YES
@options.JSON
def remove(user: str, *, keep_account: bool, yes: bool, as_json: bool) -> None:
    """Remove a home."""
    insist_on_root("removes homes of others")
    os.chdir("/")  # this process is not what keeps the home busy
    with _reported(user):
        removal.drop_unbegun(user)
        _confirm(removal.look(user, keep_account=keep_account), yes=yes)
        end_properly()
        record = removal.remove(user, keep_account=keep_account)
    _warn_of_keys(record)
    if as_json:
        plans.print_json(_described(record))
        return
    click.echo(one_line(_done(record)))
    for name in record.stayed:
        click.echo(one_line(f"the protector {name} stays: it opens another directory as well; 'fscrypt status' shows which"))


def _confirm(outlook: Outlook, *, yes: bool) -> None:
    """Have the name typed, on a terminal; elsewhere --yes has to be given."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("there is no terminal to ask on; --yes goes on without")
    record = outlook.record
    user = one_line(record.account.name)
    what = f"{one_line(record.account.home)}, encrypted with {record.backend}"
    account = "" if record.keep_account or look_up(record.account.name) is None else f" and the account {user}"
    begun = "An earlier run has begun it. " if outlook.goes_on else ""
    click.echo(f"{begun}This removes {what},{account} for good: nothing brings it back.")
    if click.prompt(f"To go on, type the name of the user ({user})", default="", show_default=False) != record.account.name:
        raise CommandError("nothing was changed", options.DECLINED)


def _warn_of_keys(record: Record) -> None:
    """Keys outside of the home would let their owners in to the next account of this name."""
    user = record.account.name
    for template in (layout.IN_DIRECTORY, layout.WITH_SUFFIX):
        path = template.replace("%u", user)
        if os.path.lexists(path) and look_up(user) is None:
            line = f"note: {path} is still there, for whoever gets this name next; 'pyhome sshd apply --prune' removes it"
            click.echo(one_line(line), err=True)


def _done(record: Record) -> str:
    account = record.account
    gone = look_up(account.name) is None
    rest = "; the account is gone" if gone else f"; the account has no home now, 'pyhome create {quoted(account.name)}' makes one"
    return f"{account.name}: {account.home} and all that opened it are removed{rest}"


def _described(record: Record) -> dict[str, object]:
    account = record.account
    return {
        "user": account.name,
        "uid": account.uid,
        "home": account.home,
        "backend": record.backend,
        "account_removed": look_up(account.name) is None,
        "protectors_kept": list(record.stayed),
    }


@contextlib.contextmanager
def _reported(user: str) -> Iterator[None]:
    """Turn what goes wrong into a CommandError."""
    try:
        yield
    except (PyhomeError, OSError) as error:
        raise CommandError(_failed(error, user), getattr(error, "exit_code", 1)) from error
    except KeyboardInterrupt as error:
        line = f"{user}: interrupted; 'pyhome remove' given again goes on if it had begun"
        raise CommandError(line, INTERRUPTED) from error


def _failed(error: PyhomeError | OSError, user: str) -> str:
    """What happened, to which thing, and one way forward."""
    match error:
        case RemoveError():
            detail = f" ({error.detail})" if error.detail else ""
            return f"{user}: {error.reason}{detail}; {_ADVICE[error.reason]}"
        case HomeBusyError():
            return f"{user}: {error.mountpoint} is in use by {'; '.join(error.holders)}; log out there, or end what uses it"
        case HomeInUseError():
            return f"{user}: the home is in use by {'; '.join(error.sessions)}; log out there"
        case NoHomeError():
            return f"{user} has no encrypted home; 'userdel --remove' is for others"
        case NoUserError() | HomeElsewhereError():
            return homes_text.failed(failure_of(error), user)
        case StorageError():
            return f"{user}: {error.what}: {error.reason}; give this again when that is repaired"
        case OSError():
            return f"{os.fsdecode(error.filename or user)}: {error.strerror or error}; give this again when that is repaired"
        case PyhomeError():
            return f"{user}: {error}; give this again when that is repaired"
    assert_never(error)
