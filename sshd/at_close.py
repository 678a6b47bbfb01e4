"""``pyhome-sync USER``: carry a user's keys into the layout, from an open home and when it closes; what happens is logged.

``pyhome-sync`` alone does it for everybody, whenever accounts have changed: keys must not outlive the account that they are of.
``pyhome-sync --tell USER`` does it because the user asks, and says on the standard output what is wrong. In each case, users whose
login shell was pyhome-shell keep that when they have chosen another one.
"""

from __future__ import annotations

import os
import subprocess
import sys

from pam_pyhome.admin import login_shell
from pam_pyhome.errors import PyhomeError
from pam_pyhome.formats.words import one_line
from pam_pyhome.kernel.log import NOTICE, WARNING, begin, log
from pam_pyhome.policy import own_keys
from pam_pyhome.sshd import inspection, manage

_INHERITED_MAX = 65536
_SHOWN_MAX = 5


def main() -> None:
    """Do it; 1 if that fails. Users whose keys do not go into the layout are passed over in silence."""
    os.closerange(3, _INHERITED_MAX)
    begin("pyhome-sync")
    if own_keys.TELL in sys.argv[1:2]:
        sys.exit(_tell(sys.argv[2]))
    name = sys.argv[1] if len(sys.argv) > 1 else None
    _keep_stubs(name)
    whose = f"user {name}" if name is not None else "all users"
    try:
        found = manage.sync_if_wanted(name) if name is not None else manage.sync_everybody()
    except (PyhomeError, OSError, subprocess.SubprocessError) as error:
        log(WARNING, f"{whose}: the layout for sshd is as it was: {error}")
        sys.exit(1)
    if found is not None:
        for change in found.changes[:_SHOWN_MAX]:
            log(NOTICE, f"{whose}: {change.path} has the user's own keys as they are now")
        for problem in found.problems[:_SHOWN_MAX]:
            log(NOTICE, f"{whose}: {problem.path}:{problem.line}: {problem.reason}")


def _tell(name: str) -> int:
    """Carry the keys of one user and print what is to be said about them, or at last why it was not done; the exit status."""
    try:
        found = manage.sync(name)
        site = manage.applied_site()
    except (PyhomeError, OSError, subprocess.SubprocessError) as error:
        sys.stdout.write(f"{one_line(str(error))}\n")
        return 1
    lines = [f"{problem.path}:{problem.line}: {problem.reason}" for problem in found.problems]
    lines += inspection.unread(site, found) if site is not None else ()
    sys.stdout.writelines(f"{one_line(line)}\n" for line in lines)
    return own_keys.CHANGED if found.changes else own_keys.UNCHANGED


def _keep_stubs(name: str | None) -> None:
    """Whoever has pyhome-shell and chooses another shell gets that behind it."""
    try:
        for user, shell in login_shell.keep(name):
            log(NOTICE, f"user {user}: the real shell is {shell} now, behind pyhome-shell; 'pyhome shell disable' gives that up")
    except (PyhomeError, OSError, subprocess.SubprocessError) as error:
        log(WARNING, f"login shells are as they were: {error}")
