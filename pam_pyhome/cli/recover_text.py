"""The words about homes of other installations."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pam_pyhome.admin import salvage_facts, salvage_find
from pam_pyhome.admin.salvage_record import BASE
from pam_pyhome.cli import homes_text
from pam_pyhome.errors import (
    FormatError,
    HomeBusyError,
    KeyFilesLostError,
    NothingFoundError,
    OldPolicyError,
    PlaceError,
    StorageError,
    UnsafeFileError,
    WrongPassphraseError,
)
from pam_pyhome.formats.words import quoted
from pam_pyhome.policy.failures import failure_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pam_pyhome.admin.salvage_find import Home, Search
    from pam_pyhome.errors import PyhomeError
    from pam_pyhome.formats.state import OpenRecord

_HARMLESS = "ro,nosuid,nodev,noexec"
_DISK = "/root/disk"
_MAKE = f"install -d -m 700 {_DISK}"  # what a key opens on the disk, it opens for whoever gets there
_ADVICE = {
    salvage_facts.NOT_EMPTY: "name an empty directory with --at",
    salvage_facts.NOT_ROOTS: "name one with --at that belongs to root and that nobody else can write",
    salvage_facts.IN_USE: "close it with 'pyhome recover --close', or name another directory with --at",
    salvage_facts.OPEN_ELSEWHERE: "look there, or close it there first",
    salvage_facts.NOT_OPEN: "'pyhome recover' alone shows what is open, and where",
    salvage_facts.SEVERAL: "'pyhome recover' alone shows where; name one of those",
    salvage_facts.NOT_ALONE: "unmount it and mount it below a directory that only root may enter, made with "
    f"'{_MAKE}', by 'mount -o {_HARMLESS} DEVICE {_DISK}'",
    salvage_facts.OTHERS_INSIDE: "end that first",
    salvage_facts.COVERED: "unmount that and close the home again",
}
_OTHER_DISKS = "mount the other disks of that machine as well, or name a backup of its key files with --metadata"


def rows(homes: Sequence[Home]) -> list[list[str]]:
    """The table of homes that were found."""
    head = ["USER", "UID", "BACKEND", "PATH", "OPENS WITH"]
    return [head, *([home.user, str(home.uid), home.backend, home.path, _opens(home)] for home in homes)]


def _opens(home: Home) -> str:
    return " or ".join(home.opens) if home.opens else f"nothing: {home.trouble}"


def notes(found: Search) -> list[str]:
    """What to do next."""
    home = next((home for home in found.homes if home.opens), found.homes[0])
    lines = [] if found.complete else ["The search was given up, there may be more: name a directory nearer to the homes."]
    return [*lines, f"'pyhome recover {quoted(home.path)}' opens the one of {home.user}."]


def opened(home: Home, place: str, *, writable: bool) -> list[str]:
    """Where the files are, and how that ends."""
    way = "to be read and changed" if writable else "read-only"
    return [f"The home of {home.user} is open at {place}, {way}. 'pyhome recover --close {quoted(place)}' closes it."]


def open_rows(records: Sequence[OpenRecord]) -> list[list[str]]:
    """The table of what is open."""
    lines = [[each.user, each.backend, os.fsdecode(each.mountpoint), os.fsdecode(each.source)] for each in records]
    return [["USER", "BACKEND", "OPEN AT", "PATH"], *lines]


def failed(error: PyhomeError | OSError, path: str, home: Home | None) -> str:
    """What happened, to which thing, and one way forward. `home`: the one that was to be opened, if it was found."""
    match error:
        case NothingFoundError(reason=salvage_find.IS_DEVICE):
            return f"{error}; mount it with '{_MAKE} && mount -o {_HARMLESS} {quoted(path)} {_DISK}' and name {_DISK}"
        case NothingFoundError(reason=salvage_find.NO_DIRECTORY):
            mount = f"{_MAKE} && mount -o loop,{_HARMLESS} {quoted(path)} {_DISK}"
            return f"{error}; if it is an image of a disk, '{mount}' and name {_DISK}"
        case NothingFoundError():
            return f"{error}; mount the disk that the homes are on, and name where it is mounted, or a home"
        case PlaceError():
            return f"{error}; {_ADVICE[error.reason]}"
        case KeyFilesLostError():
            return f"{error}; {_OTHER_DISKS}"
        case WrongPassphraseError():
            return _wrong(str(error), path, home)
        case HomeBusyError():
            who = "; ".join(error.holders) or "a process that was not found"
            return f"{error.mountpoint} {error.state} while it is used by {who}; end that, or 'cd /' there, and close it again"
    return _about_files(error, path)


def _wrong(mistyped: str, path: str, home: Home | None) -> str:
    if mistyped:
        return f"{path}: this recovery key is {mistyped}; compare it with the paper"
    if home is not None and home.trouble:
        return f"{path}: this opens nothing there, but {home.trouble}; {_OTHER_DISKS}"
    return f"{path}: this opens nothing there; give the recovery key, the mount passphrase, or the password of that time"


def _about_files(error: PyhomeError | OSError, path: str) -> str:
    match error:
        case OldPolicyError():
            return f"{error}; 'fscrypt unlock' opens it"
        case UnsafeFileError(path=place) if place.startswith(BASE):
            return f"{error}; remove it, only root has anything to do there"
        case FormatError() | UnsafeFileError():
            return f"{path}: {error}; try again with a backup of the key files, and name it with --metadata"
        case StorageError():
            return f"{error}; nothing is open, try again when that is repaired"
    return homes_text.failed(failure_of(error), "")
