"""The encrypted homes below a directory, as on a disk taken out of another machine.

The search goes down by descriptors and follows no link, so it never leaves the directory; and it is bounded, because the disk's
owner may have made it so that it has no end. Of other file systems that are mounted below, only those on disks are entered.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.backends import ecryptfs_salvage, ecryptfs_store, fscrypt_salvage, fscrypt_store
from pam_pyhome.errors import NothingFoundError
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.formats.mountinfo import parse_mountinfo
from pam_pyhome.kernel import files, mounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.backends.ecryptfs_salvage import KeyFiles
    from pam_pyhome.backends.fscrypt_salvage import Way

ECRYPTFS, FSCRYPT = "ecryptfs", "fscrypt"
DEPTH = 4
MOST_DIRECTORIES = 20_000
MOST_ENTRIES = 20_000
MOST_HOMES = 1000
KEPT = "var/lib/pyhome"
_ON_DISKS = {*fscrypt_store.FILE_SYSTEMS, "bcachefs", "ext2", "ext3", "jfs", "nilfs2", "reiserfs", "zfs"}
NO_FILE, NO_DIRECTORY, IS_DEVICE = "there is no such directory", "is not a directory", "is a device"


class Home(NamedTuple):
    """An encrypted home: whose by its name and by its number, where, what opens it, and what keeps it from being opened."""

    user: str
    backend: str
    path: str
    uid: int
    opens: tuple[str, ...]
    trouble: str


class Search(NamedTuple):
    """What was found below `path`; not `complete` if the search was given up."""

    path: str
    homes: tuple[Home, ...]
    complete: bool


class Places:
    """Where key files and metadata of homes may be, besides in the homes: on the disk itself, and on all that are mounted.

    `metadata`: one more place that the administrator has named.
    """

    def __init__(self, metadata: str | None = None) -> None:
        """Nothing is looked at yet."""
        self._named = (os.path.realpath(metadata),) if metadata is not None else ()
        self._copies: dict[str, tuple[str, ...]] = {}

    def key_files(self, path: str, uid: int) -> KeyFiles:
        """Those of an eCryptfs home; good copies only from the same disk or the place that was named."""
        name = os.path.basename(path)
        roots = (*self._named, *_above(path))
        copies = tuple(f"{root}/{KEPT}/{uid}.{name}" for root in roots)
        beside = f"{os.path.dirname(os.path.dirname(path))}/{name}"
        return ecryptfs_salvage.read_key_files(path, copies, (beside,))

    def ways(self, path: str, identifier: str) -> tuple[tuple[Way, ...], str]:
        """The protectors that open an fscrypt home, those of logins first, and what is missing, in words."""
        mounted = tuple(os.fsdecode(mount.mountpoint) for mount in fscrypt_store.main_mounts())
        roots = tuple(dict.fromkeys((*self._named, *_above(path), *mounted)))
        copies = tuple(copy for root in roots for copy in self._copies_at(root))
        policies = fscrypt_salvage.policies(identifier, roots, copies)
        if not policies:
            return (), f"the metadata of its policy {identifier} is not found"
        both = [fscrypt_salvage.ways(policy, roots, copies) for policy in policies]
        missing = ", ".join(dict.fromkeys(name for _, names in both for name in names))
        found = sorted((way for some, _ in both for way in some), key=lambda way: way.protector.source != meta.LOGIN)
        return tuple(found), f"its protector {missing} is not found" if missing else ""

    def _copies_at(self, root: str) -> tuple[str, ...]:
        """The directories with good copies on what may be the root file system of an installation."""
        if root not in self._copies:
            kept = f"{root.rstrip('/')}/{KEPT}"
            self._copies[root] = tuple(f"{kept}/{name}" for name in subdirectories(kept))
        return self._copies[root]


def _above(path: str) -> Iterator[str]:
    """The directories that a path is in, nearest first, without the root of this machine."""
    while len(path) > 1:
        path = os.path.dirname(path)
        if path != "/":
            yield path


def subdirectories(path: str) -> list[str]:
    """The names of the directories in one, sorted; of a directory that is too full, some; none if it cannot be read."""
    try:
        directory = files.open_listable(path)
    except OSError:
        return []
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry, _ in zip(entries, range(MOST_ENTRIES)) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
    finally:
        os.close(directory)


def search(path: str, places: Places) -> Search:
    """The homes below `path`, or the home that it is. NothingFoundError if it is not a directory, or there is none in it."""
    top = os.path.realpath(path)
    _check(path, top)
    found: list[Home] = []
    complete = True
    closed = _other_file_systems()
    waiting = deque([(top, 0)])
    seen = 0
    while waiting:
        here, depth = waiting.popleft()
        seen += 1
        if seen > MOST_DIRECTORIES or len(found) == MOST_HOMES:
            complete = False
            break
        home = look(here, places)
        if home is not None:
            found.append(home)
        if depth < DEPTH and (home is None or home.backend != FSCRYPT):
            inner = [f"{here.rstrip('/')}/{name}" for name in subdirectories(here) if name != ecryptfs_store.LOWER]
            waiting.extend((each, depth + 1) for each in inner if each not in closed)
    found = found or _beside(top, places)
    if not found:
        reason = "there is no encrypted home in it" if complete else "no encrypted home was found before the search was given up"
        raise NothingFoundError(path, reason)
    return Search(path, tuple(found), complete)


def _check(path: str, top: str) -> None:
    try:
        mode = os.stat(top).st_mode
    except OSError:
        raise NothingFoundError(path, NO_FILE) from None
    if not stat.S_ISDIR(mode):
        raise NothingFoundError(path, IS_DEVICE if stat.S_ISBLK(mode) else NO_DIRECTORY)


def _other_file_systems() -> set[str]:
    """Where something is mounted that is not on a disk: looking into it might never end."""
    found = parse_mountinfo(mounts.read_mountinfo())
    return {os.fsdecode(mount.mountpoint) for mount in found if mount.fstype not in _ON_DISKS}


def _beside(path: str, places: Places) -> list[Home]:
    """The eCryptfs home whose mount point is at `path`: its ciphertext is in `.ecryptfs` beside it."""
    home = look(f"{os.path.dirname(path)}/{ecryptfs_store.CONFIG}/{os.path.basename(path)}", places)
    return [home] if home is not None else []


def look(path: str, places: Places) -> Home | None:
    """The home that the directory at `path` is, or None."""
    try:
        directory = files.open_listable(path)
    except OSError:
        return None
    try:
        uid = os.fstat(directory).st_uid
    finally:
        os.close(directory)
    return _ecryptfs(path, uid, places) if ecryptfs_salvage.is_home(path) else _fscrypt(path, uid, places)


def _ecryptfs(path: str, uid: int, places: Places) -> Home:
    found = places.key_files(path, uid)
    trouble = "" if found.signatures else "; ".join((f"{ecryptfs_store.CONFIG}/Private.sig is lost", *found.trouble))
    opens = ("mount passphrase or recovery key", *(("password",) if found.wraps else ()))
    return Home(os.path.basename(path), ECRYPTFS, path, uid, () if trouble else opens, trouble)


def _fscrypt(path: str, uid: int, places: Places) -> Home | None:
    try:
        policy = fscrypt_salvage.policy_of(path)
    except OSError:
        return None
    if policy is None:
        return None
    trouble = ""
    opens: tuple[str, ...] = ()
    if policy.version != fscrypt_salvage.VERSION:
        trouble = "its policy is of version 1, which is not supported"
    else:
        ways, trouble = places.ways(path, policy.identifier)
        opens = tuple(dict.fromkeys(_name(way) for way in ways))
    return Home(os.path.basename(path), FSCRYPT, path, uid, opens, trouble)


def _name(way: Way) -> str:
    """A protector in words; its name is anything that somebody has written there."""
    if way.protector.source == meta.LOGIN:
        return f"login password of uid {way.protector.uid}"
    return way.protector.name or "passphrase"
