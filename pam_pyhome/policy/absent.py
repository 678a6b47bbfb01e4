"""Encrypted homes that ought to be there and are not, or are another user's: what is seen of them, for one sentence.

Only for accounts whose home no backend finds, or cannot open. Looked at as root where the account
is not let in.
"""

from __future__ import annotations

import os
import pwd
import stat

from pam_pyhome.backends import ecryptfs_store, fscrypt_find, fscrypt_store, kept
from pam_pyhome.errors import PyhomeError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats import fstab
from pam_pyhome.formats.mountinfo import parse_mountinfo
from pam_pyhome.kernel import files, mounts
from pam_pyhome.kernel.process import rights_of
from pam_pyhome.policy import messages
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.backends.base import Account

NOT_THERE, OTHERS = "not there", "another's"
_ROOT = 0
_LOCAL = ("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "ubifs", "xfs")  # no server that may never answer


class Absence(Record):
    """Why a home is not the account's to open: it is NOT_THERE, or `path` is, or says it is, that of `uid`."""

    why: str
    path: str
    uid: int = -1

    def reason(self, account: Account) -> str:
        """For people who ask."""
        if self.why == NOT_THERE:
            place = kept.place_of(account)
            return f"is not at {self.path}, as if its disk was not mounted; that it is encrypted is known from {place}"
        return f"is not {account.name}'s: {self.path} is that of {_named(self.uid)}, and {account.name} has uid {account.uid}"

    def sentence(self, account: Account) -> str:
        """For whoever logs in."""
        if self.why == NOT_THERE:
            return messages.not_there(account.name)
        return messages.of_another(account.name, account.uid, _named(self.uid))


def _named(uid: int) -> str:
    return "root" if uid == _ROOT else f"uid {uid}"


def explain(account: Account) -> Absence | None:
    """What keeps the account's home away; None if nothing is known of an encrypted one, or it is another defect."""
    try:
        return _of_another(account) or _not_there(account)
    except (OSError, PyhomeError):
        return None


# Another owner


def _of_another(account: Account) -> Absence | None:
    for path, allowed in _owned(account):
        owner = _owner(account, path)
        if owner is not None and owner not in allowed and not _is_home_of(owner, account):
            return Absence(OTHERS, path, owner)
    found = fscrypt_find.foreign_protector(account)
    return None if found is None else Absence(OTHERS, *found)


def _owned(account: Account) -> Iterator[tuple[str, tuple[int, ...]]]:
    """What there is of an encrypted home, and whose each part may be."""
    own, readable = (account.uid,), (account.uid, _ROOT)
    with rights_of(account.uid, account.gid):
        home, shared = os.path.realpath(account.home), os.path.realpath(ecryptfs_store.SHARED)
    names = (ecryptfs_store.CONFIG, ecryptfs_store.LOWER)
    stored = [f"{place}/{name}" for place in (home, f"{shared}/{account.name}") for name in names]
    stored = [path for path in stored if _owner(account, path) is not None]
    policy = _policy_of(account)
    if stored or policy:
        yield home, own
    for path in stored:
        yield path, own
        yield f"{path}/{layout.WRAPPED}", readable
    if policy:
        yield f"{fscrypt_store.main_mount(home)}/{fscrypt_store.METADATA}/{fscrypt_store.POLICIES}/{policy}", readable


def _policy_of(account: Account) -> str:
    """What the home directory is encrypted with, whoever may look at it; empty if with nothing."""
    try:
        found = fscrypt_find.kernel_policy(account)
    except PermissionError:
        found = fscrypt_find.policy_at(account.home)
    return "" if found is None else found.identifier


def _owner(account: Account, path: str) -> int | None:
    """Whose a file is that is there and no link. As root only where the account may not look."""
    try:
        with rights_of(account.uid, account.gid):
            return _owner_at(path)
    except PermissionError:
        return _owner_at(path)


def _owner_at(path: str) -> int | None:
    """The same with the rights of now. Along a path without links: the account may have put some there that lead anywhere."""
    parent, _, name = path.rpartition("/")
    directory = -1
    try:
        directory = files.open_canonical(os.fsencode(parent))
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except PermissionError:
        raise
    except OSError:
        return None
    finally:
        if directory >= 0:
            os.close(directory)
    return None if stat.S_ISLNK(status.st_mode) else status.st_uid


def _is_home_of(uid: int, account: Account) -> bool:
    """Whether the account only shares the home of another user, who opens it."""
    try:
        return uid not in (_ROOT, account.uid) and pwd.getpwuid(uid).pw_dir.rstrip("/") == account.home.rstrip("/")
    except KeyError:
        return False


# Not there


def _not_there(account: Account) -> Absence | None:
    """A home whose key files opened it once, and whose file system is not to be seen now."""
    if not any(name == layout.WRAPPED or name.startswith(fscrypt_find.policy_copy("")) for name in kept.names(account)):
        return None
    known = kept.read(account, kept.FILE_SYSTEM)
    away = _is_unmounted(account.home) if known is None else known.decode("ascii", "replace") not in _mounted_uuids()
    return Absence(NOT_THERE, account.home) if away else None


def _mounted_uuids() -> Iterator[str]:
    for mount in parse_mountinfo(mounts.read_mountinfo()):
        if mount.fstype not in _LOCAL:
            continue
        try:
            yield kept.file_system(os.fsdecode(mount.mountpoint))
        except OSError:
            continue


def _is_unmounted(home: str) -> bool:
    """Where nothing is noted, as by 0.1.0: there is no such directory, or fstab has a file system for it that is not mounted."""
    return not os.path.lexists(home) or bool(unmounted_above(home))


def unmounted_above(home: str) -> str:
    """A mount point on the way to a home that /etc/fstab names, and where nothing is mounted; empty if there is none. OSError."""
    mounted = {mount.mountpoint for mount in parse_mountinfo(mounts.read_mountinfo())}
    path = os.fsencode(os.path.realpath(home)) + b"/"
    with open(fstab.FSTAB, "rb") as file:
        wanted = {entry.where for entry in fstab.parse_fstab(file.read())}
    found = [where for where in wanted - mounted if path.startswith(where.rstrip(b"/") + b"/")]
    return os.fsdecode(min(found, default=b""))
