"""While a home is open: what its owner does to the SSH keys in it reaches the layout for sshd within seconds.

The files are looked at by name every few seconds. A mark of inotify would tell at once, but it holds the inode of the file, and
while somebody holds an inode of an fscrypt home, its key does not go from the file system.
"""

from __future__ import annotations

import signal
import time

from pam_pyhome.policy import own_keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from pam_pyhome.backends.base import Account

LOOK_SECONDS = 3.0
# Who changes the file all the time has a process of root's at work for so small a part of it.
REST = 10


class KeysCarried:
    """In `with`: an alarm looks at the key files of the account meanwhile. Nothing happens where there is no layout."""

    def __init__(self, account: Account | None) -> None:
        """Not looking yet."""
        self._account = account
        self._paths: tuple[str, ...] = ()
        self._last: tuple[tuple[int, int, int], ...] = ()
        self._rest_until = 0.0
        self._at_work = False

    def __enter__(self) -> None:
        """Look from now on. What there was before, nobody knows, so the first look finds news."""
        self._paths = own_keys.names(self._account) if self._account is not None else ()
        if self._account is not None and self._paths:
            signal.signal(signal.SIGALRM, self._look)
            signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Look no more."""
        if self._paths:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _look(self, _number: int, _frame: FrameType | None) -> None:
        """Have the keys carried to the layout if the files are not what they were."""
        began = time.monotonic()
        if self._account is None or self._at_work or began < self._rest_until:
            return
        self._at_work = True
        now = own_keys.stamps(self._account, self._paths)
        if now != self._last:
            self._last = now
            own_keys.carry_out(self._account.name)
            ended = time.monotonic()
            self._rest_until = ended + REST * (ended - began)
        self._at_work = False
