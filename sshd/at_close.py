"""``pyhome-sync USER``: carry a user's keys into the layout, from an open home and when it closes; what happens is logged.

``pyhome-sync`` alone does it for everybody, whenever accounts have changed: keys must not outlive the account that they are of.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from pam_pyhome import events
from pam_pyhome.errors import PyhomeError
from pam_pyhome.kernel.log import Person, begin, log
from pam_pyhome.sshd import manage, people

if TYPE_CHECKING:
    from pam_pyhome.kernel.log import Whose
    from pam_pyhome.sshd.survey import Survey

_INHERITED_MAX = 65536
_SHOWN_MAX = 5


def main() -> None:
    """Do it; 1 if that fails. Users whose keys do not go into the layout are passed over in silence."""
    os.closerange(3, _INHERITED_MAX)
    begin("pyhome-sync")
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    whose = (people.look_up(name) or Person(name)) if name else None
    try:
        found = manage.sync_if_wanted(name) if name else manage.sync_everybody()
    except (PyhomeError, OSError, subprocess.SubprocessError) as error:
        log(events.KEYS_NOT_CARRIED, str(error), whose)
        sys.exit(1)
    if found is not None:
        note(found, whose)


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
