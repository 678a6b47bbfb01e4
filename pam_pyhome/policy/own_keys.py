"""What the owner did to ~/.ssh/authorized_keys while the home was open reaches the layout for sshd before the home is locked.

By a program of its own: reading what the owner wrote is not for the process that is about to take the home away, and what it does
wrong, or how long it takes, must not keep the home open.
"""

from __future__ import annotations

import os

from pam_pyhome.kernel.log import WARNING, log

DROP_IN = "/etc/ssh/sshd_config.d/0-pyhome.conf"
PROGRAM = "/usr/lib/pyhome/pyhome-sync"
# The gate is held meanwhile, and whoever logs in waits for it no longer than GATE_SECONDS.
SECONDS = 5.0


def carry_out(name: str) -> None:
    """Have the keys of user `name` carried out of the open home. Nothing where there is no layout; no error is raised."""
    if not os.path.lexists(DROP_IN):
        return
    from pam_pyhome.kernel import child  # noqa: PLC0415 - most machines have no layout

    try:
        status = child.run(PROGRAM, name, seconds=SECONDS)
    except OSError as error:
        log(WARNING, f"{PROGRAM}: {error.strerror}")
        return
    if status is None:
        log(WARNING, f"{PROGRAM} was ended after {SECONDS:.0f} seconds; the home is locked without it")
