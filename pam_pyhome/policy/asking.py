"""Answers of people, and what a wrong one costs them."""

from __future__ import annotations

from pam_pyhome.errors import NoAnswerError, WrongPassphraseError
from pam_pyhome.formats import broker
from pam_pyhome.policy import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Backend
    from pam_pyhome.policy.handle import Handle
    from pam_pyhome.policy.verbs import Talk

WRONG_SECONDS = 2.0


def checked(answer: bytes | None) -> bytes | None:
    """The same limit for root as for those whose answer travels in a packet. NoAnswerError."""
    if answer is not None and len(answer) > broker.MAX_SECRET:
        raise NoAnswerError(f"the password has more than {broker.MAX_SECRET} bytes")
    return answer


def given(answer: bytes | None, otherwise: str = "no password was given") -> bytes:
    """The answer, if there is one, within that limit. NoAnswerError that says `otherwise`."""
    if not checked(answer):
        raise NoAnswerError(otherwise)
    return answer or b""


def slow_down(pamh: Handle, talk: Talk) -> None:
    """Make guessing slow, and leave a trace of it."""
    pamh.log_notice("a wrong password was given for the home")
    talk.pause(WRONG_SECONDS)
    talk.say(messages.wrong_answer(pamh.account.name))


def verified(pamh: Handle, backend: Backend, talk: Talk, answer: bytes) -> bytes:
    """The answer, if it opens the home by its current key file. WrongPassphraseError, after a while."""
    try:
        backend.unlock(pamh.account, answer, exact=True)
    except WrongPassphraseError:
        slow_down(pamh, talk)
        raise
    return answer
