"""``pyhome-sync USER``: carry a user's keys into the layout, from an open home and when it closes; what happens is logged.

``pyhome-sync`` alone does it for everybody, whenever accounts have changed: keys must not outlive the account that they are of.
"""

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
    whose = f"user {sys.argv[1]}" if len(sys.argv) > 1 else "all users"
    try:
        found = manage.sync_if_wanted(sys.argv[1]) if len(sys.argv) > 1 else manage.sync_everybody()
    except (PyhomeError, OSError, subprocess.SubprocessError) as error:
        _log(syslog.LOG_WARNING, f"{whose}: the layout for sshd is as it was: {error}")
        sys.exit(1)
    if found is not None:
        for change in found.changes[:_SHOWN_MAX]:
            _log(syslog.LOG_NOTICE, f"{whose}: {change.path} has the user's own keys as they are now")
        for problem in found.problems[:_SHOWN_MAX]:
            _log(syslog.LOG_NOTICE, f"{whose}: {problem.path}:{problem.line}: {problem.reason}")


def _log(level: int, text: str) -> None:
    """One line, without characters that could forge another."""
    syslog.syslog(level, "".join(letter if letter.isprintable() else "?" for letter in text))
