"""Changing how a home is: when it opens and is locked, whether it follows the login password, what that costs.

Whatever asks for a password comes first, so that a wrong one leaves everything as it was.
"""

from __future__ import annotations

from pam_pyhome.backends import update_facts
from pam_pyhome.errors import UpdateError
from pam_pyhome.formats import broker
from pam_pyhome.kernel import chkpwd
from pam_pyhome.policy import messages
from pam_pyhome.policy.asking import given

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account, Backend

    Ask = Callable[..., bytes | None]
    Verify = Callable[[bytes], bytes]


def update(account: Account, backend: Backend, changes: int, ask: Ask, verify: Verify) -> bool:
    """Make the changes, the flags of `formats.broker`; whether any had to be made.

    `ask` gives an answer to a prompt, as `Talk.ask`; `verify` gives an answer back, or raises WrongPassphraseError if it
    does not open the home. UpdateError for what this home cannot have, NoAnswerError, OSError.
    """
    changed = False
    if changes & (broker.FOLLOW_LOGIN | broker.OWN_PASSPHRASE):
        changed |= _set_passphrase(account, backend, ask, verify, own=bool(changes & broker.OWN_PASSPHRASE))
    if changes & broker.RENEW_COSTS:
        changed |= backend.renew_costs(account, lambda: verify(given(ask(messages.PRESENT_PROMPT))))
    return _set_wishes(account, backend, changes) or changed


def _set_wishes(account: Account, backend: Backend, changes: int) -> bool:
    now = backend.wishes(account)
    opens = _chosen(changes, broker.OPEN_AT_LOGIN, broker.NO_OPEN_AT_LOGIN, present=now.open_at_login)
    locks = _chosen(changes, broker.LOCK_AT_LOGOUT, broker.NO_LOCK_AT_LOGOUT, present=now.lock_at_logout)
    if (opens, locks) == (now.open_at_login, now.lock_at_logout):
        return False
    backend.set_wishes(account, open_at_login=opens, lock_at_logout=locks)
    return True


def _chosen(changes: int, yes: int, no: int, *, present: bool) -> bool:
    return bool(changes & yes) if changes & (yes | no) else present


def _set_passphrase(account: Account, backend: Backend, ask: Ask, verify: Verify, *, own: bool) -> bool:
    """Give the home a passphrase of its own, or have it follow the login password."""
    if backend.wishes(account).own_passphrase == own:
        return False

    def secrets() -> tuple[bytes, bytes]:
        old = verify(given(ask(messages.PRESENT_PROMPT)))
        if own:
            return old, given(ask(messages.OWN_NEW_PROMPT, new=True))
        login = given(ask(messages.LOGIN_PROMPT))
        if chkpwd.is_wrong(account.name, login):
            raise UpdateError(account.name, update_facts.WRONG_LOGIN)
        return old, login

    backend.set_own_passphrase(account, own=own, secrets=secrets)
    return True
