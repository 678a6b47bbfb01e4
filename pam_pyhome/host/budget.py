"""What each user may cost everybody else: processes that talk to them, forks, and lines in the log.

Whoever asks too often is hung up on. Uids that nobody on this machine is known to have, such as those that a user may take in a
name space of their own, share what one user may cost.
"""

from __future__ import annotations

from pam_pyhome.policy.leases import has_state
from pam_pyhome.policy.users import LocalNames

BURST = 50
EACH_SECOND = 5
SAY_SECONDS = 60.0
STRANGERS = -1


class Budgets:
    """The budgets of all users, made when they are first asked for and forgotten when they are full again."""

    def __init__(self) -> None:
        """Nobody has asked for anything yet."""
        self._local = LocalNames()
        self._purses: dict[int, _Purse] = {}

    def whose(self, uid: int) -> int:
        """Whose budget pays for `uid`: its own, or that of all strangers."""
        return uid if self._local.of(uid) or has_state(uid) else STRANGERS

    def spend(self, payer: int, now: float) -> bool:
        """Take what one conversation costs; whether there was enough."""
        if payer not in self._purses:
            self._purses = {each: purse for each, purse in self._purses.items() if not purse.is_full(now)}
            self._purses[payer] = _Purse(now)
        return self._purses[payer].spend(now)

    def to_say(self, payer: int, what: str, now: float) -> int:
        """Count that `what` has happened; how many times are to be spoken of now: 0 if some were, lately."""
        return self._purses.setdefault(payer, _Purse(now)).to_say(what, now)


class _Purse:
    """One budget: so many at once, and so many each second."""

    def __init__(self, now: float) -> None:
        self._tokens = float(BURST)
        self._at = now
        self._said: dict[str, tuple[float, int]] = {}

    def _refill(self, now: float) -> None:
        self._tokens = min(float(BURST), self._tokens + (now - self._at) * EACH_SECOND)
        self._at = now

    def spend(self, now: float) -> bool:
        self._refill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def to_say(self, what: str, now: float) -> int:
        said_at, unsaid = self._said.get(what, (now - SAY_SECONDS, 0))
        is_time = now - said_at >= SAY_SECONDS
        self._said[what] = (now, 0) if is_time else (said_at, unsaid + 1)
        return unsaid + 1 if is_time else 0

    def is_full(self, now: float) -> bool:
        """Whether it may be forgotten."""
        self._refill(now)
        return self._tokens >= BURST and all(now - said_at >= SAY_SECONDS for said_at, _ in self._said.values())
