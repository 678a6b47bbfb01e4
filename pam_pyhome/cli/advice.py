"""The words for whoever typed a command: what happened, to which thing, and one way forward, in one line."""

from __future__ import annotations

import errno
import os

from pam_pyhome.errors import (
    FormatError,
    PassphraseLengthError,
    PyhomeError,
    StorageError,
    UnknownVersionError,
    UnsafeFileError,
    WrongPassphraseError,
)
from pam_pyhome.formats.ecryptfs_layout import RC
from pam_pyhome.formats.words import one_line as one_line  # noqa: PLC0414 - where the other verbs look for it

_OS_ADVICE = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file in it",
    errno.EACCES: "run this as the owner of the file and its directory, or as root",
    errno.EPERM: "run this as the owner of the file and its directory, or as root",
    errno.EROFS: "mount the file system for writing",
    errno.ENOSPC: "free some space and try again",
    errno.EDQUOT: "free some space and try again, for keys by removing some that 'keyctl show @u' lists",
}


def sentence(error: PyhomeError | OSError, thing: str) -> str:
    """One line about `error`, which happened to `thing` (a path, or the name of a keyring)."""
    if isinstance(error, OSError):
        advice = _OS_ADVICE.get(error.errno or 0, "try again when that is repaired")
        return f"{thing}: {os.strerror(error.errno) if error.errno else error}; {advice}"
    if _is_about_rc(error):
        return f"~/{RC}: {getattr(error, 'reason', error)}; correct the file or remove it"
    return f"{thing}: {_defect(error)}"


def _is_about_rc(error: PyhomeError) -> bool:
    return RC in {getattr(error, "what", ""), getattr(error, "path", "")}


def _defect(error: PyhomeError) -> str:
    match error:
        case WrongPassphraseError():
            return "this passphrase does not open it; try the one from before its last change"
        case PassphraseLengthError():
            return f"the {error.role} has {error.length} bytes; give one of 1 to 64 bytes without NUL"
        case UnknownVersionError():
            return (
                f"is of version {error.version}, which is not known; use the program that wrote it, or a newer pyhome"
            )
        case FormatError():
            return f"is damaged ({error.reason}); restore it from a backup, or make it anew with 'pyhome ecryptfs wrap'"
        case UnsafeFileError():
            return f"{error.reason}; name a wrapped-passphrase file of your own"
        case StorageError():
            return f"{error.reason}; try again"
    return f"{error}; try again"
