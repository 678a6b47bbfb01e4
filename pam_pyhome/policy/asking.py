"""Answers of people, and what a wrong one costs them."""

from __future__ import annotations

from pam_pyhome import events
from pam_pyhome.errors import NoAnswerError, WrongPassphraseError
from pam_pyhome.formats import broker
from pam_pyhome.kernel.turns import keep_turn
from pam_pyhome.policy import messages
from pam_pyhome.policy.telling import note_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Backend
    from pam_pyhome.policy.handle import Handle
    from pam_pyhome.policy.verbs import Talk

WRONG_SECONDS = 2.0
TURNS = "/run/pyhome/derive"
TURN_SECONDS = 0.5
MOST_TURNS_SECONDS = 15.0


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


def note_wrong(pamh: Handle) -> None:
    """Leave a trace of a wrong answer, and make guessing slow, over however many connections: one by one, with a pause.

    Right answers do not wait for that.
    """
    pamh.log(events.WRONG_PASSWORD)
    keep_turn(TURNS, f"wrong.{pamh.account.uid}", wait=MOST_TURNS_SECONDS, keep=TURN_SECONDS)


def slow_down(pamh: Handle, talk: Talk) -> None:
    """Say that an answer was wrong, when guessing has become slow enough."""
    note_wrong(pamh)
    talk.pause(WRONG_SECONDS)
    talk.say(messages.wrong_answer(pamh.account.name))


def verified(pamh: Handle, backend: Backend, talk: Talk, answer: bytes) -> bytes:
    """The answer, if it opens the home by its current key file. WrongPassphraseError, after a while."""
    try:
        opened = backend.unlock(pamh.account, answer, exact=True)
    except WrongPassphraseError:
        slow_down(pamh, talk)
        raise
    note_key(pamh, opened, answer)
    return answer
