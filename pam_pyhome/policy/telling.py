"""Telling: one sentence to the user, the details to the log, and nothing twice."""

from __future__ import annotations

from pam_pyhome import events
from pam_pyhome.backends.base import LEAST_KEY
from pam_pyhome.errors import FormatError, OldPolicyError
from pam_pyhome.policy import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.formats.opened import OpenedHome
    from pam_pyhome.policy.absent import Absence
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
    pamh.log(events.UNUSABLE, why(pamh, error))
    if not was_told(pamh):
        tell(pamh, sentence(pamh, error))


def why(pamh: Handle, error: Exception) -> str:
    """What the log says of a home that was not opened: the error, and what else is known of the home."""
    found = _absence(pamh)
    return f"{error}; it {found.reason(pamh.account)}" if found is not None else str(error)


def sentence(pamh: Handle, error: Exception) -> str:
    """What to tell whoever logs in about a home that was not opened."""
    if isinstance(error, OldPolicyError):
        return messages.old_policy(pamh.account.name)
    if isinstance(error, FormatError):
        return messages.damaged(pamh.account.name)
    found = _absence(pamh)
    return messages.not_opened(pamh.account.name) if found is None else found.sentence(pamh.account)


def report_absence(pamh: Handle) -> bool:
    """Tell what is known of a home that no backend finds, unless the user knows already; whether there is anything."""
    found = _absence(pamh)
    if found is None:
        return False
    pamh.log(events.ABSENT, found.reason(pamh.account))
    if not was_told(pamh):
        tell(pamh, found.sentence(pamh.account))
    return True


def _absence(pamh: Handle) -> Absence | None:
    """What is known of a home that is not there, or is another's."""
    from pam_pyhome.policy import absent  # noqa: PLC0415 - homes that open do not need it

    return absent.explain(pamh.account)
