"""Watching an open home: lock it when its last lease is gone, and say who keeps it busy until then."""

from __future__ import annotations

import pwd
import syslog
import time

from pam_pyhome.backends.base import Account
from pam_pyhome.errors import HomeBusyError
from pam_pyhome.host.ssh_keys import KeysCarried
from pam_pyhome.policy import locking
from pam_pyhome.policy.leases import GATE_SECONDS, UserState

FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 15.0
REPEAT_LOG_SECONDS = 600.0


def watch(uid: int) -> None:
    """Wait for the last lease to go, lock the home, and return when it is locked or is to stay open."""
    busy = BusyLog(uid)
    # Once for each end of sessions, not for each try.
    carry_keys = True
    while True:
        with UserState(uid) as state:
            record = state.read_record()
            with KeysCarried(find_account(record.user) if record is not None else None):
                carry_keys |= state.wait_until_free()
        try:
            outcome = locking.lock_if_unused(uid, find_account, seconds=GATE_SECONDS, carry_keys=carry_keys)
        except HomeBusyError as error:
            carry_keys = False
            busy.report(error)
            time.sleep(busy.next_delay())
            continue
        if outcome == locking.LOCKED:
            syslog.syslog(syslog.LOG_NOTICE, f"uid {uid}: the last session has ended, locked the home")
        if outcome not in (locking.IN_USE, locking.ELSEWHERE):
            return


def find_account(name: str) -> Account | None:
    """The account called `name`, or None if it is gone."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


class BusyLog:
    """Says who keeps a home busy: at once, when that changes, and every ten minutes; and how long to wait for them."""

    def __init__(self, uid: int) -> None:
        """Nothing said yet."""
        self._uid = uid
        self._said: tuple[str, ...] | None = None
        self._said_at = 0.0
        self._delay = FIRST_RETRY_SECONDS

    def report(self, error: HomeBusyError) -> None:
        """Log the holders, unless they were logged lately."""
        now = time.monotonic()
        if error.holders == self._said and now - self._said_at < REPEAT_LOG_SECONDS:
            return
        self._said, self._said_at = error.holders, now
        for holder in error.holders or ("no holder found",):
            syslog.syslog(
                syslog.LOG_NOTICE, f"uid {self._uid}: {error.mountpoint} {error.state} while it is busy: {holder}"
            )

    def next_delay(self) -> float:
        """Seconds until the next try: short at first, because most holders are about to end."""
        delay = self._delay
        self._delay = min(2 * delay, LONGEST_RETRY_SECONDS)
        return delay
