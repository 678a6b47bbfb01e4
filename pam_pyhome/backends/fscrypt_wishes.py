"""What the owner of an fscrypt home wishes: a file beside the good copies of its metadata, where only root can write."""

from __future__ import annotations

from pam_pyhome.backends import kept
from pam_pyhome.errors import FormatError, UnsafeFileError
from pam_pyhome.formats.wishes import MAX_SIZE, NAME, emit_wishes, parse_wishes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account


def read(account: Account) -> tuple[bool, bool]:
    """Whether the home is opened at login, and locked at logout: both unless something else was asked for."""
    try:
        content = kept.read(account, NAME, MAX_SIZE)
        return (True, True) if content is None else parse_wishes(content)
    except (FormatError, UnsafeFileError, OSError):
        return True, True


def keep(account: Account, *, open_at_login: bool, lock_at_logout: bool) -> None:
    """Put them on disk. OSError."""
    kept.keep(account, NAME, emit_wishes(open_at_login=open_at_login, lock_at_logout=lock_at_logout))
