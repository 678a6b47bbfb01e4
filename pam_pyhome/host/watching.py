"""Watching an open home: lock it when its last lease is gone, and say who keeps it busy until then."""

from __future__ import annotations

import syslog
import time

from pam_pyhome.errors import HomeBusyError, UnsafeFileError
from pam_pyhome.host.ssh_keys import KeysCarried
from pam_pyhome.policy import locking
from pam_pyhome.policy.leases import GATE_SECONDS, UserState

FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 15.0
REPEAT_LOG_SECONDS = 600.0
LONG_SILENCE_SECONDS = 3600.0
MOST_LINES = 20


def watch(uid: int) -> None:
    """Wait for the last lease to go, lock the home, and return when it is locked or is to stay open.

    What is unsure counts as open, and is tried again.
    """
    busy = BusyLog(uid)
    # Once for each end of sessions, not for each try.
    carry_keys = True
    while True:
        with UserState(uid) as state:
            record = state.read_record()
            with KeysCarried(locking.find_account(record.user) if record is not None else None):
                carry_keys |= state.wait_until_free()
        try:
            outcome = locking.lock_if_unused(uid, locking.find_account, seconds=GATE_SECONDS, carry_keys=carry_keys)
        except (HomeBusyError, UnsafeFileError, OSError) as error:
            carry_keys = False
            busy.report(error if isinstance(error, HomeBusyError) else HomeBusyError("the home", (str(error),)))
            time.sleep(busy.next_delay())
            continue
        if outcome == locking.LOCKED:
            syslog.syslog(syslog.LOG_NOTICE, f"uid {uid}: the last session has ended, locked the home")
        if outcome not in (locking.IN_USE, locking.ELSEWHERE):
            return


class BusyLog:
    """Says who keeps a home busy: each program once, after ten minutes again, then hourly; and how long to wait for them."""

    def __init__(self, uid: int) -> None:
        """Nothing said yet."""
        self._uid = uid
        self._said: set[str] = set()
        self._say_again_at = 0.0
        self._silence = REPEAT_LOG_SECONDS
        self._delay = FIRST_RETRY_SECONDS

    def report(self, error: HomeBusyError) -> None:
        """Log the holders that were not logged lately. A loop that starts the same program again and again is one of them."""
        now = time.monotonic()
        if self._said and now >= self._say_again_at:
            self._said.clear()
            self._silence = LONG_SILENCE_SECONDS
        for holder in error.holders:
            words = f"{error.state} {_program(holder)}"
            if words not in self._said and len(self._said) < MOST_LINES:
                self._say_again_at = now + self._silence
                self._said.add(words)
                text = f"uid {self._uid}: {error.mountpoint} {error.state} while it is busy: {holder}"
                syslog.syslog(syslog.LOG_NOTICE, text)

    def next_delay(self) -> float:
        """Seconds until the next try: short at first, because most holders are about to end."""
        delay = self._delay
        self._delay = min(2 * delay, LONGEST_RETRY_SECONDS)
        return delay


def _program(holder: str) -> str:
    """What of a line stays the same from one process of a program to the next: its name and user."""
    pid, _, rest = holder.partition(" (")
    return rest.partition("): ")[0] if pid.startswith("pid ") else holder
