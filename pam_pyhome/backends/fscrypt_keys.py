"""The kernel's side of an fscrypt home: giving keys to file systems, finding them there, taking them back."""

from __future__ import annotations

import errno
import os

from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.base import unnoted
from pam_pyhome.errors import HomeBusyError, StorageError, UnsafeFileError
from pam_pyhome.formats.facts import LOCKED, OPEN, PARTLY
from pam_pyhome.formats.mountinfo import parse_mountinfo
from pam_pyhome.formats.state import Claim, OpenRecord
from pam_pyhome.kernel import files, fscrypt, mounts, statx
from pam_pyhome.kernel.holders import NOT_FOUND, describe_process, holders_below
from pam_pyhome.kernel.process import rights_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account
    from pam_pyhome.formats.mountinfo import Mount

OTHERS = "another user has a claim on its key, as root has after 'fscrypt unlock' and until 'fscrypt lock'"
_ROOT_GROUP = 0  # no path is walked with a claim's rights: the claim is the user's, and the group makes no difference


def mounted(account: Account, backend: str) -> OpenRecord | None:
    """See `Backend.mounted`. Only the home itself is looked at, whoever opened it."""
    with rights_of(account.uid, account.gid):
        try:
            directory = store.open_home(account)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            policy = fscrypt.policy_of(directory)
            if policy is None or policy.version != 2:
                return None
            present = fscrypt.key_status(directory, policy.identifier).state == fscrypt.PRESENT
            status = os.fstat(directory)
        finally:
            os.close(directory)
    if not present:
        return None
    device, mount = store.device_of(status), os.fsencode(store.main_mount(account.home))
    return _record(account, backend, status, (Claim(account.uid, policy.identifier, mount, device),))


def _record(account: Account, backend: str, home: os.stat_result, claims: tuple[Claim, ...]) -> OpenRecord:
    with rights_of(account.uid, account.gid):
        path = os.fsencode(os.path.realpath(account.home))
    return OpenRecord(account.name, backend, path, claims[0].mountpoint, store.device_of(home), (), claims, inode=home.st_ino)


def attach(
    account: Account, label: str, secret: bytes, backend: str, note: Callable[[OpenRecord], None] = unnoted
) -> OpenRecord:
    """See `Backend.attach`. `label`: identifier and mount point of the home's policy, `secret` its key."""
    identifier, _, mount = label.partition(" ")
    with rights_of(account.uid, account.gid):
        directory = store.open_home(account)
    try:
        home = os.fstat(directory)
        claim = Claim(account.uid, identifier, os.fsencode(mount), store.device_of(home))
        record = _record(account, backend, home, (claim,))
        note(record.but(opening=True))
        try:
            give(directory, claim, account.gid, secret)
        except OSError as error:
            if error.errno != errno.EDQUOT:
                raise
            record = record.but(claims=(claim, with_roots(claim)))
            note(record.but(opening=True))
            give(directory, with_roots(claim), _ROOT_GROUP, secret)
        try:
            _look_inside(directory)
        except OSError:
            for each in record.claims:
                give_up(each)
            raise
    except OSError as error:
        raise StorageError(f"opening {account.home}", fscrypt.reason(error)) from error
    finally:
        os.close(directory)
    return record


def with_roots(claim: Claim) -> Claim:
    """The claim that root makes where the user's quota of keys is used up: root's is another, and hardly ever is."""
    return claim.but(uid=0)


def give(directory: int, claim: Claim, gid: int, secret: bytes) -> None:
    """Give a key to the file system of `directory`, claimed by the user of the claim. OSError, StorageError."""
    with rights_of(claim.uid, gid):
        added = fscrypt.add_key(directory, secret)
    if added != claim.identifier:
        give_up(claim.but(identifier=added))
        raise StorageError(claim.identifier, f"its key is that of {added}")


def _look_inside(directory: int) -> None:
    """Read a name in the home: where a cipher is missing, that is what shows it. OSError.

    Not with the user's rights, under which memory may not be locked, and so not be had; the directory is open already.
    """
    with os.scandir(directory) as entries:
        next(entries, None)


# Locking


def _device_at(mountpoint: bytes) -> str:
    try:
        return statx.look(mountpoint).device
    except OSError:
        return ""


_GONE, _CLAIMED, _IN_USE = range(3)


def detach(record: OpenRecord) -> None:
    """See `Backend.detach`. Gives up the user's claims; what others claim stays open for them."""
    left: dict[tuple[str, str], int] = {}
    unreachable = None
    for claim in (_with_device(each, record) for each in record.claims):
        try:
            # What counts is what is left after the last claim on a key: root may have one beside the user's.
            left[claim.identifier, claim.device] = _take_back(claim)
        except HomeBusyError as error:
            unreachable = error
    path = os.fsdecode(record.mountpoint)
    if _IN_USE in left.values():
        raise HomeBusyError(path, (), partly_locked=True)
    if unreachable is not None:
        raise unreachable
    if _CLAIMED in left.values():
        raise HomeBusyError(path, (OTHERS,))


def is_seen(record: OpenRecord) -> bool:
    """See `Backend.is_seen`."""
    return bool(record.claims) and _state(_with_device(record.claims[0], record)) == OPEN


def state_of(record: OpenRecord) -> tuple[str, tuple[str, ...]]:
    """See `Backend.state_of`."""
    states = [_state(_with_device(claim, record)) for claim in record.claims]
    if OPEN in states:
        return OPEN, ()
    return (PARTLY, users(record)) if PARTLY in states else (LOCKED, ())


def users(record: OpenRecord, *, neighbours: bool = True) -> tuple[str, ...]:
    """See `Backend.users`."""
    path = os.fsdecode(record.mountpoint)
    owner = record.claims[0].uid if record.claims else -1
    major, minor = map(int, record.device.split(":"))
    found = holders_below(major, minor, path, owner=owner, whose=() if neighbours else (0, owner))
    return (*(f"{os.fsdecode(mount.mountpoint)} is mounted in it ({mount.fstype})" for mount in _mounts_inside(record)), *found)


def _mounts_inside(record: OpenRecord) -> list[Mount]:
    """What is mounted in the home, and directories of the home that are mounted elsewhere: their key is in use."""
    found = parse_mountinfo(mounts.read_mountinfo())
    device = {mount.mount_id for mount in found if mount.device == record.device}
    return [
        mount
        for mount in found
        if (mount.mount_id in device and _is_owners(mount.mountpoint, record))
        or (mount.parent_id in device and _is_owners(os.path.dirname(mount.mountpoint), record))
        or (mount.parent_id in device and _is_below(mount.mountpoint, record.mountpoint))
    ]


def _is_owners(path: bytes, record: OpenRecord) -> bool:
    """Whether an encrypted directory of the owner's is there, whatever its path was when the home was opened."""
    try:
        known = statx.look(path)
    except OSError:
        return False
    return known.device == record.device and known.is_encrypted and known.uid in {claim.uid for claim in record.claims} - {0}


def _is_below(path: bytes, top: bytes) -> bool:
    return (path.rstrip(b"/") + b"/").startswith(top.rstrip(b"/") + b"/")


def give_up(claim: Claim) -> bool:
    """Take one key back; False if files that it opened are in use, so that those stay open. UnsafeFileError."""
    return _take_back(claim if claim.device else claim.but(device=_device_at(claim.mountpoint))) != _IN_USE


def _with_device(claim: Claim, record: OpenRecord) -> Claim:
    """A claim of 0.1.0 has only a path; the first is for the file system of the home."""
    if claim.device or claim != record.claims[0]:
        return claim
    return claim.but(device=record.device)


def _take_back(claim: Claim) -> int:
    """Give a claim up, and ask the kernel what is left. UnsafeFileError, HomeBusyError."""
    directory = _open_file_system(claim)
    if directory is None:
        return _GONE
    try:
        with rights_of(claim.uid, _ROOT_GROUP):
            return _give_up(directory, claim.identifier)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP):
            return _GONE  # a file system with the same device number, which cannot encrypt
        raise UnsafeFileError(os.fsdecode(claim.mountpoint), fscrypt.reason(error)) from error
    finally:
        os.close(directory)


def _give_up(directory: int, identifier: str) -> int:
    """See `_take_back`. With the rights of the claim's user."""
    status = fscrypt.key_status(directory, identifier)
    if status.state == fscrypt.INCOMPLETELY_REMOVED or status.own:
        try:
            fscrypt.remove_key(directory, identifier)
        except OSError as error:
            if error.errno != errno.ENOKEY:
                raise
        status = fscrypt.key_status(directory, identifier)
    return {fscrypt.ABSENT: _GONE, fscrypt.INCOMPLETELY_REMOVED: _IN_USE}.get(status.state, _CLAIMED)


def _state(claim: Claim) -> str:
    """How it is with the key of a claim, whoever claims it. What cannot be asked counts as partly locked."""
    try:
        directory = _open_file_system(claim)
    except HomeBusyError:
        return PARTLY
    if directory is None:
        return LOCKED
    try:
        state = fscrypt.key_status(directory, claim.identifier).state
    except OSError:
        return LOCKED  # a file system with the same device number, which cannot encrypt
    finally:
        os.close(directory)
    return {fscrypt.PRESENT: OPEN, fscrypt.INCOMPLETELY_REMOVED: PARTLY}.get(state, LOCKED)


def _open_file_system(claim: Claim) -> int | None:
    """Descriptor of a directory of the claim's file system, wherever that is mounted by now; None if it is not there any more.

    The way is root's: the user need not be able to walk it. HomeBusyError if it is out of reach. If its device is not known, it is
    the one that has the key.
    """
    for mount in parse_mountinfo(mounts.read_mountinfo()):
        if claim.device not in ("", mount.device) or mount.fstype not in store.FILE_SYSTEMS:
            continue
        try:
            directory = files.open_listable(os.fsdecode(mount.mountpoint))
        except OSError:
            continue
        if store.device_of(os.fstat(directory)) == mount.device and (claim.device or _has_key(directory, claim.identifier)):
            return directory
        os.close(directory)
    if not claim.device:
        return None
    shown, there = mounts.elsewhere((f" {claim.device} ".encode("ascii"),), (claim.device,))
    if not shown and not there:
        return None
    who = tuple(f"{describe_process(pid)}: has its file system mounted in another mount name space" for pid, _ in shown)
    raise HomeBusyError(os.fsdecode(claim.mountpoint), who or (NOT_FOUND,))


def _has_key(directory: int, identifier: str) -> bool:
    try:
        return fscrypt.key_status(directory, identifier).state != fscrypt.ABSENT
    except OSError:
        return False
