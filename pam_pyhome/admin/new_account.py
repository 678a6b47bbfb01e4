"""What a new account is to be like besides its home, as useradd(8) has it."""

from __future__ import annotations

import grp
import os
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin import creation_facts as facts
from pam_pyhome.errors import CreateError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Wishes(NamedTuple):
    """What somebody has asked for; None is what useradd's defaults say."""

    uid: int | None = None
    shell: str | None = None
    comment: str | None = None
    groups: tuple[str, ...] = ()

    def options(self) -> Iterator[str]:
        """The same for useradd."""
        if self.shell is not None:
            yield from ("--shell", self.shell)
        if self.comment is not None:
            yield from ("--comment", self.comment)
        if self.groups:
            yield from ("--groups", ",".join(self.groups))


def check(user: str, wishes: Wishes, *, new: bool) -> None:
    """CreateError if useradd would not do it, or if there is an account already."""
    if not new and wishes != Wishes():
        raise CreateError(user, facts.HAS_ACCOUNT)
    for group in wishes.groups:
        try:
            grp.getgrnam(group)
        except KeyError:
            raise CreateError(user, facts.NO_GROUP, group) from None
    shell, comment = wishes.shell, wishes.comment
    if shell is not None and not (shell.startswith("/") and os.path.isfile(shell) and os.access(shell, os.X_OK)):
        raise CreateError(user, facts.BAD_SHELL, shell)
    if comment is not None and (":" in comment or not comment.isprintable()):
        raise CreateError(user, facts.BAD_COMMENT)
