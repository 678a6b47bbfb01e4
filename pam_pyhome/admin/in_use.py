"""Who and what keeps a home from being moved, copied or removed: processes, open files, mounts.

To look for them keeps people from losing work, and is no barrier: who hides is not seen, see `kernel.holders`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pam_pyhome.admin.creation_choice import ECRYPTFS
from pam_pyhome.errors import HomeBusyError
from pam_pyhome.formats.mountinfo import parse_mountinfo
from pam_pyhome.kernel import holders, mounts

if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account


def check(account: Account, *places: str) -> None:
    """HomeBusyError while the user has processes, or anybody has files open in these places, which have to be there. OSError."""
    found = {line.split(" (")[0]: line for line in holders.processes_of(account.uid)}
    for place in map(os.path.realpath, places):
        device = os.stat(place).st_dev
        found.update((line.split(" (")[0], line) for line in holders.holders_below(os.major(device), os.minor(device), place))
    if found:
        raise HomeBusyError(account.home, tuple(found.values()))


def mounted(home: str, *places: str, opens: bool = True) -> list[str]:
    """What is mounted on or below a home or other places; with `opens` not the home itself as eCryptfs opens it."""
    tops = [os.fsencode(os.path.realpath(place)) + b"/" for place in (home, *places)]
    return [
        os.fsdecode(mount.mountpoint)
        for mount in parse_mountinfo(mounts.read_mountinfo())
        if any((mount.mountpoint + b"/").startswith(top) for top in tops)
        and not (opens and mount.mountpoint + b"/" == tops[0] and mount.fstype == ECRYPTFS)
    ]
