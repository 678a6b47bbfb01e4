"""``pyhome-sync USER``: carry a user's keys into the layout at the end of the last session; what there is to say is logged."""

from __future__ import annotations

import os
import subprocess
import sys
import syslog

from pam_pyhome.errors import PyhomeError
from pam_pyhome.sshd import manage

_INHERITED_MAX = 65536
_SHOWN_MAX = 5


def main() -> None:
    """Do it; 1 if that fails. Users whose keys do not go into the layout are passed over in silence."""
    os.closerange(3, _INHERITED_MAX)
    syslog.openlog("pyhome-sync", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    name = sys.argv[1]
    try:
        _carry_out(name)
    except (PyhomeError, OSError, subprocess.SubprocessError) as error:
        _log(syslog.LOG_WARNING, f"user {name}: the layout for sshd is as it was: {error}")
        sys.exit(1)


def _carry_out(name: str) -> None:
    found = manage.sync_if_wanted(name)
    if found is None:
        return
    for change in found.changes:
        _log(syslog.LOG_NOTICE, f"user {name}: {change.path} has the user's own keys as they are now")
    for problem in found.problems[:_SHOWN_MAX]:
        _log(syslog.LOG_NOTICE, f"user {name}: {problem.path}:{problem.line}: {problem.reason}")


def _log(level: int, text: str) -> None:
    """One line, without characters that could forge another."""
    syslog.syslog(level, "".join(letter if letter.isprintable() else "?" for letter in text))
