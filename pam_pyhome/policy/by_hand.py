"""Locking a home because somebody asked for it, whoever's sessions it is open for."""

from __future__ import annotations

import time

from pam_pyhome.errors import HomeBusyError, HomeElsewhereError, HomeInUseError
from pam_pyhome.kernel.process import parent_of, signal_as
from pam_pyhome.policy import own_keys
from pam_pyhome.policy.leases import CONVERSION, GATE_SECONDS, UserState
from pam_pyhome.policy.locking import refuse_users, take_away, what_is_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from pam_pyhome.backends.base import Account, Backend
    from pam_pyhome.formats.facts import Session
    from pam_pyhome.formats.state import OpenRecord
else:
    Protocol = object

SIGTERM, SIGKILL = 15, 9
LOOK_SECONDS = 0.25
END_SECONDS = 5.0


class Waiting(Protocol):
    """Whoever waits for the home to be locked."""

    def say(self, line: str) -> None:
        """Show a line."""

    def pause(self, seconds: float) -> None:
        """Let time pass; PyhomeError if nobody waits any more."""


class Locker:
    """One attempt of the process `caller` to lock a home. Its own session does not keep it, and is never ended."""

    def __init__(self, account: Account, backend: Backend, caller: int, talk: Waiting) -> None:
        """Nothing is done yet. `talk` is told whom it is waited for."""
        self._account = account
        self._backend = backend
        self._family = (caller, *ancestors(caller))
        self._talk = talk
        self._told: tuple[str, ...] = ()

    def lock(self, seconds: float, *, force: bool) -> bool:
        """Lock the home, waiting for sessions and processes for `seconds`, and then with `force` ending processes of the owner.

        False if it was locked already. HomeInUseError, HomeBusyError, HomeElsewhereError.
        """
        own_keys.carry_out(self._account.name)
        try:
            return self._try_for(seconds, over_sessions=False)
        except (HomeBusyError, HomeInUseError):
            if not force:
                raise
        return self._force()

    def _try_for(self, seconds: float, *, over_sessions: bool) -> bool:
        """Try again and again until the time is over."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self._try(over_sessions=over_sessions)
            except (HomeBusyError, HomeInUseError) as error:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise
                self._say_who(error)
                self._talk.pause(min(LOOK_SECONDS, left))

    def _try(self, *, over_sessions: bool) -> bool:
        """Lock it now. What is refused leaves it as it was: who uses it is looked for before anything changes."""
        with UserState(self._account.uid) as state:
            record = self._what_is_open(state, over_sessions=over_sessions)
            if record is not None:
                state.drop_hold()  # if it cannot be locked now, it is as soon as it is free
                refuse_users(state, self._backend, record)
                record = self._what_is_open(state, over_sessions=over_sessions)
            if record is None:
                return False
            take_away(state, self._backend, record)
            return True

    def _what_is_open(self, state: UserState, *, over_sessions: bool) -> OpenRecord | None:
        """What our record says, unless the kernel shows another one, which somebody else opened; behind the gate from then on.

        HomeElsewhereError, HomeInUseError.
        """
        if not state.close_gate(GATE_SECONDS):
            raise HomeElsewhereError(self._account.name)
        record, found = state.read_record(), what_is_open(state, self._backend, self._account)
        if record is not None and record.user != self._account.name:
            record = None
        if record is None and found is None:
            return None
        others = [session for session in state.sessions() if session.pid not in self._family]
        kept = [session for session in others if session.service == CONVERSION or not over_sessions]
        if kept:
            raise HomeInUseError(self._account.name, tuple(map(describe_session, kept)))
        return found if record is None or (found is not None and found.device != record.device and not record.opening) else record

    def _force(self) -> bool:
        """End the owner's processes that keep the home busy, gently first."""
        for number in (SIGTERM, SIGKILL):
            deadline = time.monotonic() + END_SECONDS
            while True:
                try:
                    return self._try(over_sessions=True)
                except HomeBusyError as error:
                    if not self._end(error.holders, number) or time.monotonic() > deadline:
                        break
                self._talk.pause(LOOK_SECONDS)
        return self._try(over_sessions=True)

    def _end(self, holders: tuple[str, ...], number: int) -> bool:
        """Send a signal to those among the holders that are the owner's; whether there are any."""
        pids = [pid for pid in map(pid_in, holders) if pid is not None and pid not in self._family]
        sent = [signal_as(self._account.uid, pid, number) for pid in pids]
        return any(sent)

    def _say_who(self, error: HomeBusyError | HomeInUseError) -> None:
        """Once, and again when others are in the way."""
        lines = error.holders if isinstance(error, HomeBusyError) else error.sessions
        if lines != self._told:
            self._told = lines
            self._talk.say(f"waiting for {'; '.join(lines) or 'the home to be free'}")


def describe_session(session: Session) -> str:
    """One line about a session, in the form of those about processes."""
    where = " from ".join(filter(None, (session.tty, session.rhost)))
    return f"pid {session.pid} ({session.service or 'unknown service'}){': ' if where else ''}{where}"


def pid_in(line: str) -> int | None:
    """The process that a line of `kernel.holders` or `describe_session` begins with."""
    words = line.split(" ", 2)
    return int(words[1]) if len(words) == 3 and words[0] == "pid" and words[1].isdigit() else None


def ancestors(pid: int) -> tuple[int, ...]:
    """The parent of a process, its parent, and so on, without process 1."""
    found: list[int] = []
    try:
        while (pid := parent_of(pid)) > 1 and pid not in found:
            found.append(pid)
    except OSError:
        pass
    return tuple(found)
