"""``pyhome-sync USER``: carry a user's keys into the layout, from an open home and when it closes; what happens is logged.

``pyhome-sync`` alone does it for everybody, whenever accounts have changed: keys must not outlive the account that they are of.
``pyhome-sync --tell USER`` does it because the user asks, and says on the standard output what is wrong. In each case, users whose
login shell was pyhome-shell keep that when they have chosen another one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from pam_pyhome import events
from pam_pyhome.admin import login_shell
from pam_pyhome.errors import PyhomeError
from pam_pyhome.formats.words import one_line, quoted
from pam_pyhome.kernel.log import Person, begin, log
from pam_pyhome.policy import own_keys
from pam_pyhome.sshd import inspection, manage, people

if TYPE_CHECKING:
    from pam_pyhome.kernel.log import Whose
    from pam_pyhome.sshd.survey import Survey

_INHERITED_MAX = 65536
_SHOWN_MAX = 5
_TURNS_MAX = 10


def main() -> None:
    """Do it; 1 if that fails. Users whose keys do not go into the layout are passed over in silence."""
    os.closerange(3, _INHERITED_MAX)
    begin("pyhome-sync")
    if own_keys.TELL in sys.argv[1:2]:
        sys.exit(_tell(sys.argv[2]))
    if len(sys.argv) > 1:
        sys.exit(_carry(sys.argv[1]))
    # systemd does not tell of what changes while this is at work.
    for _ in range(_TURNS_MAX):
        before = _accounts()
        status = _carry("")
        if _accounts() == before:
            break
    sys.exit(status)


def _accounts() -> tuple[int, int]:
    """What changes with /etc/passwd."""
    status = os.stat("/etc/passwd")
    return status.st_ino, status.st_mtime_ns


def _carry(name: str) -> int:
    """Do it for one user, or for everybody; the exit status."""
    _keep_stubs(name)
    whose = (people.look_up(name) or Person(name)) if name else None
    try:
        found = manage.sync_if_wanted(name) if name else manage.sync_everybody()
    except (PyhomeError, OSError, subprocess.SubprocessError) as error:
        log(events.KEYS_NOT_CARRIED, str(error), whose)
        return 1
    if found is not None:
        note(found, whose)
    return 0


def _tell(name: str) -> int:
    """Carry the keys of one user and print what is to be said about them, or at last why it was not done; the exit status."""
    try:
        found = manage.sync(name)
        site = manage.applied_site()
    except (PyhomeError, OSError, subprocess.SubprocessError) as error:
        sys.stdout.write(f"{one_line(str(error))}\n")
        return 1
    note(found, people.look_up(name))
    lines = [f"{problem.path}:{problem.line}: {problem.reason}" for problem in found.problems]
    lines += inspection.unread(site, found) if site is not None else ()
    sys.stdout.writelines(f"{one_line(line)}\n" for line in lines)
    return own_keys.CHANGED if found.changes else own_keys.UNCHANGED


def _keep_stubs(name: str) -> None:
    """Whoever has pyhome-shell and chooses another shell gets that behind it."""
    try:
        for user, shell in login_shell.keep(name or None):
            advice = f"'pyhome shell disable {quoted(user)}' gives that up"
            log(events.SHELL_CHANGED, f"the real shell is {shell} now, behind pyhome-shell; {advice}", people.look_up(user))
    except (PyhomeError, OSError, subprocess.SubprocessError) as error:
        log(events.SHELL_NOT_KEPT, str(error), Person(name) if name else None)


def note(found: Survey, whose: Whose | None) -> None:
    """What was carried, and what could not be."""
    if found.changes:
        log(events.KEYS_CARRIED, _listed([change.path for change in found.changes]), whose)
    if found.problems:
        lines = [f"{problem.path}:{problem.line}: {problem.reason}" for problem in found.problems]
        log(events.KEYS_NOT_CARRIED, _listed(lines), whose)


def _listed(what: list[str]) -> str:
    """The first ones."""
    return "; ".join(what[:_SHOWN_MAX]) + (f"; and {len(what) - _SHOWN_MAX} more" if len(what) > _SHOWN_MAX else "")
