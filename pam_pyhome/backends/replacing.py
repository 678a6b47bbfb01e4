"""Replacing a key file together with its copies, in an order in which being killed leaves the old or the new one in force."""

from __future__ import annotations

from pam_pyhome.backends import approved, kept
from pam_pyhome.errors import UnsafeFileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account


def replace(
    account: Account,
    name: str,
    aside: tuple[bytes, ...],
    content: bytes,
    put: Callable[[], None],
    *,
    is_approved: bool,
    repair: bool = False,
    whole: bool = False,
) -> None:
    """Have `put` put `content` in the place of the key file `name`, and have its copies follow. OSError, UnsafeFileError.

    `aside`: what was there, and what else is to be kept until the new one has opened the home, the most useful last. After a
    `repair`, that still counts at logins; after any other change nothing from before does. `is_approved`: the new file is as
    good as an approved one. What pyhome has only made of a file that is kept already is not kept as well, unless `whole`.
    """
    approved.begin(account)
    kept.begin(account, name, content)
    for each in dict.fromkeys(aside):
        if repair or whole or not _is_unproved(account, name, each):
            kept.set_aside(account, name, each)
    if repair:
        kept.keep(account, name + kept.REPAIRED, b"")
    else:
        kept.remove(account, *(name + suffix for suffix in (kept.REPAIRED, kept.SECOND, kept.TYPED)))
    if is_approved:
        approved.approve(account, name, *aside, content)
    try:
        put()
    except (OSError, UnsafeFileError):
        kept.remove(account, name + kept.NEXT)
        raise
    try:
        kept.finish(account, name)
    except OSError:
        kept.remove(account, name)  # rather none than one that opens with what has just been replaced
    if is_approved:
        approved.approve(account, name, content)


def _is_unproved(account: Account, name: str, content: bytes) -> bool:
    """Whether a file is only what pyhome made of one that was proved, which is kept already."""
    return content == kept.read(account, name) and bool(kept.older(account, name))
