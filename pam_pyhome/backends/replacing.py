"""Replacing a key file together with its copies, in an order in which being killed leaves the old or the new one in force."""

from __future__ import annotations

from pam_pyhome.backends import approved, kept
from pam_pyhome.errors import UnsafeFileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account


def reserve(account: Account, name: str, aside: tuple[bytes, ...], size: int, stage: Callable[[], None]) -> None:
    """Do all of `replace` that takes room: a new file of at most `size` bytes fails for want of it now, or not at all.

    `stage` makes the room for the file itself. OSError.
    """
    approved.begin(account)
    _set_aside(account, name, aside)
    kept.reserve(account, name, size)
    try:
        stage()
    except (OSError, UnsafeFileError):
        kept.give_up(account, name)
        raise


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
    _set_aside(account, name, aside, whole=repair or whole)
    if repair:
        kept.keep(account, name + kept.REPAIRED, b"")
    else:
        kept.remove(account, *(name + suffix for suffix in (kept.REPAIRED, kept.SECOND, kept.TYPED)))
    if is_approved:
        _approve(account, name, *aside, content)
    try:
        put()
    except (OSError, UnsafeFileError):
        kept.remove(account, name + kept.NEXT)
        raise
    try:
        kept.finish(account, name)
    except OSError:
        kept.remove(account, name)  # rather none than one that opens with what has just been replaced
    _approve(account, name, *([content] if is_approved else []))
    kept.remove(account, kept.RESET)


def _set_aside(account: Account, name: str, aside: tuple[bytes, ...], *, whole: bool = False) -> None:
    """Keep what is to be replaced, but not what pyhome only made of one that was proved and is kept already, unless `whole`."""
    for each in dict.fromkeys(aside):
        if whole or each != kept.read(account, name) or not kept.older(account, name):
            kept.set_aside(account, name, each)


def _approve(account: Account, name: str, *contents: bytes) -> None:
    """Approve these and no others. Without room for that, the copies count in place of the file that says so."""
    try:
        approved.approve(account, name, *contents)
    except OSError:
        kept.remove(account, kept.DIGESTS)
