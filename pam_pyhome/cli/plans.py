"""Plans on the terminal: shown, summed up, confirmed, described as JSON."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

import click

from pam_pyhome.admin import plan as plans
from pam_pyhome.cli import json_text, options
from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.failure import INTERRUPTED, CommandError, insist_on_root
from pam_pyhome.errors import PyhomeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pam_pyhome.admin.plan import Change


@contextlib.contextmanager
def reported(thing: str, *, advice: str, interrupted: str) -> Iterator[None]:
    """Turn what goes wrong with a plan into a CommandError. Everything in plans is root's.

    `thing` is what an error without a path happened to; `advice` follows what pyhome itself says.
    """
    insist_on_root("reads and writes files of root")
    try:
        yield
    except PyhomeError as error:
        raise CommandError(f"{error}{advice}", error.exit_code) from error
    except OSError as error:
        raise CommandError(f"{error.filename or thing}: {error.strerror or error}", 1) from error
    except subprocess.SubprocessError as error:
        raise CommandError(str(error), 1) from error
    except KeyboardInterrupt as error:
        raise CommandError(f"interrupted; {interrupted}", INTERRUPTED) from error


def show(changes: Iterable[Change]) -> None:
    """Print a diff; on a terminal, nothing in it can be mistaken for a command to the terminal."""
    harmless = one_line if sys.stdout.isatty() else str
    out = sys.stdout.buffer
    for line in plans.diff(changes):
        out.write(harmless(line).encode("utf-8", "surrogateescape") + b"\n")
    out.flush()


def confirm(changes: Sequence[Change], *, yes: bool) -> None:
    """Ask before anything is changed; on a terminal only. Without one, `--yes` has to be given."""
    if changes:
        options.confirm(f"{summary(changes)}. Go on?", yes=yes, show=lambda: show(changes))


def summary(changes: Sequence[Change]) -> str:
    """What a plan amounts to."""
    removed = sum(change.after is None for change in changes)
    parts = [_counted(len(changes) - removed, "write"), _counted(removed, "remove")]
    return ", ".join(filter(None, parts)) or "nothing to change"


def _counted(count: int, verb: str) -> str:
    return f"{count} {'path' if count == 1 else 'paths'} to {verb}" if count else ""


def described(changes: Iterable[Change]) -> list[dict[str, object]]:
    """A plan as JSON has it: what each path is and will be, without its content."""
    return [{"path": change.path, "before": _node(change.before), "after": _node(change.after)} for change in changes]


def _node(node: plans.Node | None) -> dict[str, object] | None:
    if node is None:
        return None
    size = None if node.content is None else len(node.content)
    return {"uid": node.uid, "gid": node.gid, "mode": f"{node.mode:04o}", "size": size}


def print_json(value: dict[str, object]) -> None:
    """Print one object, with the version of its description."""
    click.echo(json_text.whole(value))
