"""Recovery keys, as people ask for them: whether the one on paper opens the home, and a new one."""

from __future__ import annotations

import os

from pam_pyhome import events
from pam_pyhome.errors import FormatError, OtherKeyError, RecoveryKeyError, WrongPassphraseError
from pam_pyhome.formats.recovery import SIZE, emit_recovery, parse_recovery, typed_fscrypt, typed_passphrase
from pam_pyhome.policy import messages
from pam_pyhome.policy.asking import given, slow_down, verified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Backend
    from pam_pyhome.policy.handle import Handle
    from pam_pyhome.policy.verbs import Talk


def try_key(pamh: Handle, backend: Backend, talk: Talk) -> bool:
    """Whether a recovery key opens the home; changes nothing, so never True. RecoveryKeyError, OtherKeyError."""
    user = pamh.account.name
    answer = given(talk.ask(messages.KEY_PROMPT), "no recovery key was given")
    if typed_passphrase(answer) is None and typed_fscrypt(answer) is None:
        raise RecoveryKeyError(user, _defect(answer))
    try:
        backend.try_recovery(pamh.account, answer)
    except WrongPassphraseError:
        slow_down(pamh, talk)
        raise OtherKeyError(user) from None
    return False


def _defect(answer: bytes) -> str:
    try:
        parse_recovery(answer.decode("ascii", "replace"))
    except FormatError as error:
        return error.reason
    return "not in letters and digits"


def replace_key(pamh: Handle, backend: Backend, talk: Talk, *, vouched: bool) -> bool:
    """Make a new recovery key for whoever can open the home; it is shown before the old one ends. `vouched` as of `perform`."""
    account = pamh.account
    answer = verified(pamh, backend, talk, given(talk.ask(messages.PASSWORD_OR_KEY_PROMPT)))
    key = emit_recovery(os.urandom(SIZE))
    talk.show_key(key)
    if vouched:
        backend.approve(account, answer)
    backend.new_recovery(account, answer, key)
    pamh.log(events.RECOVERY_KEY_MADE)
    return True
