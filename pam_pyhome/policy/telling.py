"""Telling: one sentence to the user, the details to the log, and nothing twice."""

from __future__ import annotations

from pam_pyhome import events
from pam_pyhome.backends.base import LEAST_KEY
from pam_pyhome.errors import FormatError, OldPolicyError
from pam_pyhome.policy import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.formats.opened import OpenedHome
    from pam_pyhome.policy.handle import Handle

_TOLD = "told"


def tell(pamh: Handle, sentence: str) -> None:
    """Tell the user, and remember that later phases of this login need not say it again."""
    pamh.tell(sentence)
    pamh.set_data(_TOLD, b"1")


def was_told(pamh: Handle) -> bool:
    """Whether the user knows already that something is wrong with the home."""
    return pamh.get_data(_TOLD) is not None


def note_key(pamh: Handle, opened: OpenedHome, answer: bytes) -> None:
    """Leave a trace if the answer that has opened the home is a recovery key."""
    if len(answer) < LEAST_KEY:
        return
    from pam_pyhome.formats.recovery import typed_key  # noqa: PLC0415 - an ordinary password does not come here

    if opened.by_key or typed_key(answer) is not None:
        pamh.log(events.RECOVERY_KEY_USED)


def report(pamh: Handle, error: Exception) -> None:
    """Details to the log, a sentence to the user unless there was one already."""
    pamh.log(events.UNUSABLE, str(error))
    if not was_told(pamh):
        user = pamh.account.name
        tell(pamh, _sentence(user, error))


def _sentence(user: str, error: Exception) -> str:
    if isinstance(error, OldPolicyError):
        return messages.old_policy(user)
    return messages.damaged(user) if isinstance(error, FormatError) else messages.not_opened(user)
