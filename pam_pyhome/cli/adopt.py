"""``pyhome adopt``: a home is its owner's again, who was renamed, or has another uid, or brought a disk from another machine."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import click

from pam_pyhome.admin import accounts, adoption
from pam_pyhome.admin import adoption_facts as facts
from pam_pyhome.admin.adoption_find import Said
from pam_pyhome.admin.adoption_record import find
from pam_pyhome.admin.conversion_facts import DECRYPT, ENCRYPT
from pam_pyhome.backends.ecryptfs_store import LOWER
from pam_pyhome.cli import homes_text, options, plans
from pam_pyhome.cli.create import end_properly
from pam_pyhome.cli.failure import INTERRUPTED, CommandError, insist_on_root
from pam_pyhome.cli.usage import RootCommand
from pam_pyhome.errors import (
    AdoptError,
    HomeBusyError,
    NoHomeError,
    NoUserError,
    PyhomeError,
    SharedUidError,
    StorageError,
)
from pam_pyhome.formats.words import one_line, quoted
from pam_pyhome.policy.failures import failure_of
from pam_pyhome.sshd import adopted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.admin.adoption import Outlook

_ADVICE = {
    facts.SYSTEM_USER: "name another user",
    facts.BAD_PLACE: "correct the path with 'usermod --home', or who may write there",
    facts.NOT_THERE: "mount its disk, or correct the path with 'usermod --home'",
    facts.OPEN: "'pyhome lock {user}' locks it",
    facts.MOUNTED: "unmount it",
    facts.SEVERAL_NAMES: "say which with '--from NAME'",
    facts.SEVERAL_UIDS: "see with 'ls -ln' whose files they are; 'chown' those that are only out of place",
    facts.OTHERS_UID: "if that number was {user}'s where the home is from, give '--from-uid' with it",
    facts.OTHERS_THINGS: "nothing of theirs is given away; 'usermod --uid' gives one of the two another uid",
    facts.TAKEN: "see whose that is, and move it out of the way",
    facts.NO_KEYS: "'pyhome recovery backups {user}' and 'pyhome recover' may know of others",
}


@click.command(cls=RootCommand, help="Make the home of USER theirs again, after another name, another uid, or on another machine.")
@options.USER
@click.option("--from", "old_name", metavar="NAME", help="The user's name from before.")
@click.option("--from-uid", "old_uid", metavar="UID", type=click.IntRange(0, 2**32 - 2), help="The uid from before.")
@click.option("--dry-run", is_flag=True, help="Show the plan as a diff and change nothing.")
@options.YES
@options.JSON
def adopt(user: str, *, old_name: str | None, old_uid: int | None, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Plan, confirm, carry out."""
    insist_on_root("reads and writes files of root")
    if old_name is not None and ("/" in old_name or old_name in ("", ".", "..")):
        raise click.UsageError(f"'{one_line(old_name)}' cannot be a user's name")
    os.chdir("/")  # this process is not what keeps the home busy
    said = Said(old_name, old_uid)
    with _reported(user):
        outlook = adoption.look(user, said, adopted.changes)
        if not dry_run and not outlook.is_empty:
            options.confirm(f"{_summary(outlook)}. Go on?", yes=yes, show=lambda: _show(outlook))
            end_properly()
            outlook = adoption.adopt(user, said, adopted.changes)
    if as_json:
        plans.print_json(_described(outlook, dry_run=dry_run))
        return
    if dry_run:
        _show(outlook)
    click.echo(_done(outlook, dry_run=dry_run))
    for line in _notes(outlook):
        click.echo(line)


def _show(outlook: Outlook) -> None:
    """The plan: what gets another name, who gets what, and the small files as a diff."""
    record = outlook.record
    for move in record.moves:
        click.echo(one_line(f"{move.source} -> {move.target}"))
    if record.uid != record.account.uid:
        for tree, count in zip(record.trees, outlook.counts, strict=True):
            click.echo(one_line(f"{tree}: {_files(count.theirs)} of uid {record.uid} -> uid {record.account.uid}"))
    plans.show(outlook.changes)


def _files(number: int) -> str:
    return f"{number} {'file' if number == 1 else 'files'}"


def _summary(outlook: Outlook) -> str:
    record = outlook.record
    was = [one_line(record.name)] if record.name != record.account.name else []
    was += [f"uid {record.uid}"] if record.uid != record.account.uid else []
    whose = f"{one_line(record.account.home)}, which was of {' with '.join(was)}," if was else one_line(record.account.home)
    begun = "An earlier run has begun it. " if outlook.goes_on else ""
    return f"{begun}{whose} is to be {one_line(record.account.name)}'s (uid {record.account.uid}): {_amount(outlook)}"


def _amount(outlook: Outlook) -> str:
    record = outlook.record
    given = sum(each.theirs for each in outlook.counts) if record.uid != record.account.uid else 0
    renamed = len(record.moves)
    parts = [f"{renamed} {'directory' if renamed == 1 else 'directories'} to rename"] if renamed else []
    parts += [f"{_files(given)} to give"] if given else []
    return ", ".join([*parts, plans.summary(outlook.changes)] if outlook.changes or not parts else parts)


def _done(outlook: Outlook, *, dry_run: bool) -> str:
    name, home = one_line(outlook.record.account.name), one_line(outlook.record.account.home)
    if outlook.is_empty:
        return f"{name}: {home} and what belongs to it are theirs already"
    if dry_run:
        return f"{_summary(outlook)}: nothing was changed"
    return f"{name}: {home} and what belongs to it are theirs now; 'pyhome inspect {quoted(name)}' shows what opens it"


def _notes(outlook: Outlook) -> Iterator[str]:
    """What stays as it is, and that somebody may have expected otherwise."""
    others = sum(each.others for each in outlook.counts)
    record = outlook.record
    lower = os.path.realpath(f"{record.trees[0]}/{LOWER}")
    if record.uid != record.account.uid and not any(f"{lower}/".startswith(f"{tree}/") for tree in record.trees):
        given = f"'chown -RhP --from={quoted(str(record.uid))} {quoted(str(record.account.uid))} {quoted(lower)}'"
        yield one_line(f"note: the ciphertext in {lower} is outside of the home and not changed; {given} gives it away")
    if others:
        line = f"note: {_files(others)} there are of other users, and stay so; if they are of a backup that root has restored"
        yield f"{line}, '--from-uid 0' gives root's to {one_line(outlook.record.account.name)}"


def _described(outlook: Outlook, *, dry_run: bool) -> dict[str, object]:
    record = outlook.record
    return {
        "user": record.account.name,
        "uid": record.account.uid,
        "home": record.account.home,
        "backend": record.backend,
        "from": {"name": record.name, "uid": record.uid, "gid": record.gid},
        "renames": [{"before": move.source, "after": move.target} for move in record.moves],
        "owners": [
            {"path": tree, "files": count.theirs if record.uid != record.account.uid else 0, "of_others": count.others}
            for tree, count in zip(record.trees, outlook.counts, strict=True)
        ],
        "changes": plans.described(outlook.changes),
        "changed": not (dry_run or outlook.is_empty),
        "dry_run": dry_run,
    }


@contextlib.contextmanager
def _reported(user: str) -> Iterator[None]:
    """Turn what goes wrong into a CommandError."""
    try:
        yield
    except facts.UnfinishedError as error:
        said = f"{user}: {error.reason} ({error.detail}); {_to_finish(error, user)}"
        raise CommandError(said, error.exit_code) from AdoptError(user, error.reason, error.detail)
    except (PyhomeError, OSError) as error:
        raise CommandError(_failed(error, user), getattr(error, "exit_code", 1)) from error
    except KeyboardInterrupt as error:
        raise CommandError(f"{user}: interrupted; 'pyhome adopt' given again goes on if it had begun", INTERRUPTED) from error


def _failed(error: PyhomeError | OSError, user: str) -> str:
    """What happened, to which thing, and one way forward."""
    match error:
        case AdoptError():
            detail = f" ({error.detail})" if error.detail else ""
            said = f"{user}: {error.reason}{detail}; {_ADVICE[error.reason].format(user=quoted(user))}"
        case HomeBusyError():
            said = f"{user}: {error.mountpoint} is in use by {'; '.join(error.holders)}; log out there, or end what uses it"
        case NoHomeError() | NoUserError() | SharedUidError():
            said = homes_text.failed(failure_of(error), user)
        case StorageError() | PyhomeError():
            said = f"{user}: {error}; give this again when that is mended"
        case _:
            name = error.filename
            thing = os.fsdecode(name) if isinstance(name, str | bytes) else user
            said = f"{thing}: {error.strerror or error}; give this again when that is mended"
    return said + _half(user)


def _to_finish(error: facts.UnfinishedError, user: str) -> str:
    """What finishes that: under the name and in the place where it was begun."""
    finishing = f"'pyhome {error.verb} {quoted(error.name)}' finishes that"
    if error.verb in (ENCRYPT, DECRYPT):
        finishing = f"'pyhome status {quoted(error.name)}' says how to finish that"
    now = accounts.look_up(user)
    if now is None or (error.name != user and accounts.look_up(error.name) is not None):
        return finishing
    changes = [f"--login {quoted(error.name)}"] if error.name != user else []
    changes += [f"--uid {error.uid}"] if error.uid != now.uid else []
    if error.home != now.home:
        changes += [f"--home {quoted(error.home)}"]
        changes += ["--move-home"] if os.path.isdir(now.home) and not os.path.lexists(error.home) else []
    if not changes:
        return finishing
    return f"'usermod {' '.join(changes)} {quoted(user)}' makes the account what it was, then {finishing}; rename again after that"


def _half(user: str) -> str:
    """Whether something is left half done."""
    with contextlib.suppress(PyhomeError, OSError):
        return "; it has begun, and given again it goes on" if find(user) is not None else ""
    return ""
