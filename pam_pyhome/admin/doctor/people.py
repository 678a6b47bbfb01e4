"""Every encrypted home of the machine, each in so much time and no more: one that hangs keeps no other from being looked at."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from pam_pyhome.admin import accounts
from pam_pyhome.admin.doctor import account, home, leftovers
from pam_pyhome.admin.doctor.finding import FAIL, SKIP, Finding
from pam_pyhome.errors import PyhomeError
from pam_pyhome.formats.words import quoted
from pam_pyhome.kernel import forked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.backends.base import Account

_SECONDS = 5.0  # for one home
_MOST_HANGING = 3


def check(chosen: Account | None) -> list[Finding]:
    """The homes of all ordinary users, or that of one; of those who have none nothing is said unless they were asked about."""
    if chosen is not None:
        return _of(chosen)
    found: list[Finding] = []
    hanging = 0
    for each in accounts.people():
        if hanging >= _MOST_HANGING:
            text = "several homes do not answer, so the others were not looked at"
            return [*found, Finding(FAIL, "keys.slow", "homes", text, "df -h  # shows which file system hangs")]
        said = _of(each)
        hanging += any(finding.check == "keys.slow" for finding in said)
        if not all(finding.level == SKIP for finding in said):
            found += said
    return home.merge_recovery(found)


def _of(user: Account) -> list[Finding]:
    """What there is to say about one user."""
    began = time.monotonic()
    lines, whole = forked.lines_of(lambda: (json.dumps(each).encode() for each in _look(user)), seconds=_SECONDS)
    found = [Finding(*json.loads(line)) for line in lines]
    if not whole and time.monotonic() - began < _SECONDS:
        found.append(Finding(FAIL, "keys.home", user.name, "cannot be looked at to the end", f"pyhome inspect {quoted(user.name)}"))
    elif not whole:
        text = f"did not answer within {_SECONDS:.0f} seconds: the disk or server that the home is on may be gone"
        found.append(Finding(FAIL, "keys.slow", user.name, text, f"findmnt --target {quoted(os.path.dirname(user.home))}"))
    return found


def _look(user: Account) -> Iterator[Finding]:
    """In a process of its own. Whatever a home does to it is said of that home."""
    try:
        found = list(home.check(user))
    except (OSError, PyhomeError) as error:
        found = [Finding(FAIL, "keys.home", user.name, str(error), f"pyhome inspect {quoted(user.name)}")]
    yield from found
    if any(each.level != SKIP for each in found):
        yield from account.check(user)
    yield from leftovers.check(user)


def kinds(chosen: Account | None) -> set[str]:
    """Which kinds of home there are."""
    people = accounts.people() if chosen is None else [chosen]
    lines, _ = forked.lines_of(lambda: (home.kind(each).encode() for each in people), seconds=_SECONDS)
    return {line.decode() for line in lines} - {""}
