"""A place for sshd's agent socket in a locked home: OpenSSH from 10.1 on makes it in ``~/.ssh/agent``, before the home is open.

Everything is done with the user's rights, in the user's own directory below the mount.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from pam_pyhome.kernel.process import rights_of
from pam_pyhome.kernel.trees import open_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.backends.base import Account

_PLACES = (".ssh", ".ssh/agent")
_WRITABLE = 0o700


def prepare(account: Account) -> bool:
    """Make the directories that are missing, mode 0700; whether any was. OSError if that cannot be done."""
    made = False
    with _locked_home(account) as home:
        for place in _PLACES:
            with contextlib.suppress(FileExistsError):
                os.mkdir(place, 0o700, dir_fd=home)
                made = True
    return made


def remove(account: Account) -> None:
    """Remove the directories again, where nothing else is in them; whatever prevents that is no failure."""
    with contextlib.suppress(OSError), _locked_home(account) as home:
        for place in reversed(_PLACES):
            with contextlib.suppress(OSError):
                os.rmdir(place, dir_fd=home)


@contextlib.contextmanager
def _locked_home(account: Account) -> Iterator[int]:
    """The directory that the home is mounted on, with the user's rights and, for a moment, with the right to write."""
    parent, name = os.path.split(os.path.realpath(account.home))
    below = open_below(parent)
    try:
        with rights_of(account.uid, account.gid):
            home = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=below)
            try:
                mode = stat.S_IMODE(os.fstat(home).st_mode)
                os.fchmod(home, mode | _WRITABLE)
                yield home
            finally:
                os.fchmod(home, mode)
                os.close(home)
    finally:
        os.close(below)
