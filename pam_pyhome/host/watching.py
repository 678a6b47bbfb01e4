"""Watching an open home: lock it when its last lease is gone, and say who keeps it busy until then."""

from __future__ import annotations

import time

from pam_pyhome import events
from pam_pyhome.errors import HomeBusyError, UnsafeFileError
from pam_pyhome.host.ssh_keys import KeysCarried
from pam_pyhome.kernel.log import Person, log
from pam_pyhome.policy import locking
from pam_pyhome.policy.leases import GATE_SECONDS, UserState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.events import Event
    from pam_pyhome.kernel.log import Whose

FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 15.0
REPEAT_LOG_SECONDS = 600.0
LONG_SILENCE_SECONDS = 3600.0
MOST_HOLDERS = 20


def watch(uid: int) -> None:
    """Wait for the last lease to go, lock the home, and return when it is locked or is to stay open.

    What is unsure counts as open, and is tried again.
    """
    busy = BusyLog()
    # Once for each end of sessions, not for each try.
    carry_keys = True
    while True:
        with UserState(uid) as state:
            record = state.read_record()
            account = locking.find_account(record.user) if record is not None else None
            whose = account or Person(record.user if record is not None else "", uid)
            with KeysCarried(account):
                carry_keys |= state.wait_until_free()
        try:
            outcome = locking.lock_if_unused(uid, locking.find_account, seconds=GATE_SECONDS, carry_keys=carry_keys)
        except HomeBusyError as error:
            busy.report(locking.busy_event(error), error.holders, whose)
        except (UnsafeFileError, OSError) as error:
            busy.report(events.LOCK_UNCERTAIN, (str(error),), whose)
        else:
            if outcome == locking.LOCKED:
                log(events.LOCKED, "the last session has ended", whose)
            if outcome not in (locking.IN_USE, locking.ELSEWHERE):
                return
            continue
        carry_keys = False
        time.sleep(busy.next_delay())


class BusyLog:
    """Says who keeps a home busy: each program once, after ten minutes again, then hourly; and how long to wait for them."""

    def __init__(self) -> None:
        """Nothing said yet."""
        self._said: set[str] = set()
        self._say_again_at = 0.0
        self._silence = REPEAT_LOG_SECONDS
        self._delay = FIRST_RETRY_SECONDS

    def report(self, event: Event, holders: tuple[str, ...], whose: Whose) -> None:
        """Log the holders that were not logged lately. A loop that starts the same program again and again is one of them."""
        now = time.monotonic()
        if self._said and now >= self._say_again_at:
            self._said.clear()
            self._silence = LONG_SILENCE_SECONDS
        fresh = []
        for holder in holders:
            words = f"{event.name} {_program(holder)}"
            if words not in self._said and len(self._said) < MOST_HOLDERS:
                self._said.add(words)
                fresh.append(holder)
        if fresh:
            self._say_again_at = now + self._silence
            log(event, "; ".join(fresh), whose)

    def next_delay(self) -> float:
        """Seconds until the next try: short at first, because most holders are about to end."""
        delay = self._delay
        self._delay = min(2 * delay, LONGEST_RETRY_SECONDS)
        return delay


def _program(holder: str) -> str:
    """What of a line stays the same from one process of a program to the next: its name and user."""
    pid, _, rest = holder.partition(" (")
    return rest.partition("): ")[0] if pid.startswith("pid ") else holder
