"""Which file systems the keys of users go to, and root's word on that: see `backends.trust`."""

from __future__ import annotations

import os
from typing import NamedTuple

from pam_pyhome import events
from pam_pyhome.backends import fscrypt_store, trust
from pam_pyhome.errors import TrustError
from pam_pyhome.formats.mountinfo import parse_mountinfo
from pam_pyhome.formats.trusted import Approval
from pam_pyhome.kernel import filesystems, mounts
from pam_pyhome.kernel.log import Person, log

NO_FILE_SYSTEM = "is not where a file system that can be encrypted is mounted"
NO_NAME = "its UUID or the disk that it is on cannot be seen, by which it would be known again"
TWIN = "another one that is mounted has the same UUID, as a disk and its copy have"
CHANGEABLE = trust.CHANGEABLE
NOT_OURS = "it is / or mounted by /etc/fstab or a unit, not approved by a record"
NO_RECORD = "it has not been approved"


class FileSystem(NamedTuple):
    """A file system that can be encrypted. `rank` and `why` as of `trust.Book.judge`, for keys of everybody.

    `approved`: the users for whose keys it is on record, of which "" is everybody. One that is on record and not mounted now has no
    source, and the rank of one that is not known.
    """

    mountpoint: str
    source: str
    uuid: str | None
    disk: str
    rank: int
    why: str
    approved: tuple[str, ...]


def all_known() -> list[FileSystem]:
    """Those that are mounted, then those that are on record and are not."""
    found = _mounted()
    missing = {each.uuid: each for each in trust.approvals() if each.uuid not in {one.uuid for one in found}}
    return found + [
        FileSystem(each.mountpoint, "", uuid, each.disk, trust.UNKNOWN, "", _approved(each.uuid, each.disk))
        for uuid, each in missing.items()
    ]


def _mounted() -> list[FileSystem]:
    every, book, found = parse_mountinfo(mounts.read_mountinfo()), trust.Book(), []
    for mount in fscrypt_store.main_mounts():
        try:
            seen = trust.look_at(mount, every)
        except OSError:
            continue
        rank, why = book.judge(seen, "")
        disk = filesystems.disk_of(mount.device)
        where, source = os.fsdecode(mount.mountpoint), os.fsdecode(mount.source)
        found.append(FileSystem(where, source, seen.uuid, disk, rank, why, _approved(seen.uuid, disk)))
    return found


def _approved(uuid: str | None, disk: str) -> tuple[str, ...]:
    return tuple(each.user for each in trust.approvals() if (each.uuid, each.disk) == (uuid, disk))


def at(mountpoint: str) -> FileSystem:
    """The file system that is mounted there. TrustError if there is none that can be encrypted."""
    place = os.path.realpath(mountpoint)
    device = fscrypt_store.device_of(os.stat(place))
    known = {mount.device: os.fsdecode(mount.mountpoint) for mount in fscrypt_store.main_mounts()}
    for each in _mounted():
        if each.mountpoint == known.get(device) and os.path.ismount(place):
            return each
    raise TrustError(mountpoint, NO_FILE_SYSTEM)


def is_given_keys_of(found: FileSystem, user: str) -> bool:
    """Whether the keys of a user, or of everybody if that is empty, go there as it is."""
    return found.rank != trust.UNKNOWN or (user in found.approved and found.why != trust.CHANGEABLE)


def check(found: FileSystem) -> None:
    """TrustError unless root's word can be taken for this one."""
    if found.why == trust.CHANGEABLE:
        raise TrustError(found.mountpoint, CHANGEABLE)
    if found.uuid is None or not found.disk:
        raise TrustError(found.mountpoint, NO_NAME)
    if sum(each.uuid == found.uuid for each in _mounted()) > 1:
        raise TrustError(found.mountpoint, TWIN)


def approve(found: FileSystem, user: str) -> bool:
    """Let keys of `user`, or of everybody if that is empty, go to a file system; False if they do. TrustError, OSError."""
    if is_given_keys_of(found, user):
        return False
    check(found)
    trust.approve(Approval(found.uuid or "", found.disk, found.mountpoint, user))
    log(events.TRUST_CHANGED, f"{found.uuid} at {found.mountpoint} is given keys of {user or 'everybody'}", Person(user))
    return True


def take_back(name: str, user: str | None) -> list[Approval]:
    """Forget what is on record of a mount point or UUID, for one user or for all; what that was. TrustError if there is nothing."""
    uuid = name if any(each.uuid == name for each in trust.approvals()) else _uuid_at(name)
    gone = [each for each in trust.approvals() if each.uuid == uuid and user in (None, each.user)]
    if not gone:
        known = [each for each in _mounted() if each.uuid == uuid and each.rank < trust.APPROVED]
        raise TrustError(name, NOT_OURS if known else NO_RECORD)
    for each in gone:
        trust.forget(each)
        log(events.TRUST_CHANGED, f"{uuid} is not given keys of {each.user or 'everybody'} any more", Person(each.user))
    return gone


def _uuid_at(name: str) -> str | None:
    """The UUID of what is mounted at `name`, or was when it was approved."""
    try:
        return at(name).uuid
    except (OSError, TrustError):
        places = {each.mountpoint: each.uuid for each in trust.approvals()}
        if name not in places:
            raise
        return places[name]
