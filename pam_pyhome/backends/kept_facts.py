"""What opens a home, or the copy of a key file, besides that file and its copy, for people who ask."""

from __future__ import annotations

from pam_pyhome.backends import kept
from pam_pyhome.formats.facts import OLDER, SECOND_PASSWORD, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account

_UNTIL = "is kept only until the present one has opened the home"


def beside(account: Account, prefix: str, present: tuple[bytes, ...], is_good: Callable[[str, bytes], bool]) -> tuple[Slot, ...]:
    """The older key files whose names begin with `prefix`, and those for a second password.

    `present`: the contents of the files and their copies. `is_good`: whether content is a key file of that name.
    """
    slots = []
    for name in kept.names(account):
        base = kept.base_of(name)
        kind, trouble = (SECOND_PASSWORD, "") if name.endswith(kept.SECOND) else (OLDER, _UNTIL)
        if name.startswith(prefix) and name != base and not name.endswith(kept.RETIRED):
            content = kept.read(account, name) or b""
            if content not in present and is_good(base, content):
                slots.append(Slot(f"{kept.place_of(account)}/{name}", kind, trouble))
    return tuple(slots)
