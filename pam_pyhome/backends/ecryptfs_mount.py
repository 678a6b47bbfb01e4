"""The kernel's side of an eCryptfs home: mounting, finding it mounted, unmounting."""

from __future__ import annotations

import errno
import os

from pam_pyhome.backends import ecryptfs_store as store
from pam_pyhome.errors import FormatError, HomeBusyError, StorageError, UnsafeFileError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats.facts import LOCKED, OPEN, PARTLY
from pam_pyhome.formats.mountinfo import parse_mountinfo
from pam_pyhome.formats.state import NO_DEVICE, OpenRecord
from pam_pyhome.kernel import files, keyring, mounts, statx
from pam_pyhome.kernel.holders import describe_process, holders
from pam_pyhome.kernel.process import real_user, rights_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pam_pyhome.backends.base import Account
    from pam_pyhome.formats.ecryptfs_layout import Signatures
    from pam_pyhome.formats.mountinfo import Mount
    from pam_pyhome.formats.opened import OpenedHome

FSTYPE = "ecryptfs"

# What a mount's key allows: all to who possesses it, as the kernel's default; and root may revoke it.
_MOUNT_KEY = keyring.KEY_POS_ALL | keyring.KEY_USR_VIEW | keyring.KEY_USR_SETATTR


def mountpoint(account: Account) -> bytes:
    """Where the home is to be mounted: `Private.mnt`, or its good copy, or `~/Private`. Links in the path are resolved."""
    return os.fsencode(_resolve(account, _configured_mountpoint(account)))


def _configured_mountpoint(account: Account) -> bytes:
    """The path as it is written down."""
    try:
        return layout.parse_mountpoint(store.read(account, layout.MOUNTPOINT))
    except (OSError, UnsafeFileError, FormatError):
        kept = store.read_kept(account, layout.MOUNTPOINT)
        return layout.parse_mountpoint(kept) if kept is not None else os.fsencode(f"{account.home}/Private")


def _resolve(account: Account, path: bytes) -> str:
    """The path without links, walked with the user's rights."""
    with rights_of(account.uid, account.gid):
        return os.path.realpath(os.fsdecode(path))


def mounted(account: Account, backend: str) -> OpenRecord | None:
    """See `Backend.mounted`."""
    return next((_record(account, backend, mount) for mount in _of_account(account)), None)


def _record(account: Account, backend: str, mount: Mount) -> OpenRecord:
    return OpenRecord(
        account.name, backend, mount.mountpoint, mount.source, mount.device, (), signature=layout.signature_of(mount.super_options)
    )


def _of_account(account: Account) -> Iterator[Mount]:
    """The account's own among what is mounted.

    A mount on the path that is written down counts if its root is the account's, because its owner can write any path there; one of
    the account's ciphertext counts wherever it is by now, and whatever may cover it.
    """
    path, lower = mountpoint(account), _lower(account)
    for mount in _all_mounts():
        if mount.source in lower or (mount.mountpoint == path and _is_of(account, mount)):
            yield mount


def _all_mounts() -> list[Mount]:
    """All eCryptfs mounts that this process sees, the latest first."""
    return [mount for mount in reversed(parse_mountinfo(mounts.read_mountinfo())) if mount.fstype == FSTYPE]


def _lower(account: Account) -> tuple[bytes, ...]:
    """Where the account's ciphertext may be: those of the places that are the account's."""
    found = []
    with rights_of(account.uid, account.gid):
        for find in (store.locate, store.shared_path):
            try:
                path = find(account, store.LOWER)
                if path is not None and os.stat(path).st_uid == account.uid:
                    # pam_ecryptfs mounts it by its name without links.
                    found += [os.fsencode(path), os.fsencode(os.path.realpath(path))]
            except (OSError, UnsafeFileError):
                continue
    return tuple(found)


def _is_of(account: Account, found: Mount) -> bool:
    """Whether the root of what is mounted there belongs to the account."""
    with rights_of(account.uid, account.gid):
        try:
            known = statx.look(found.mountpoint)
        except OSError:
            return False
    return known.uid == account.uid and known.device == found.device


def attach(account: Account, opened: OpenedHome, note: Callable[[OpenRecord], None]) -> OpenRecord:
    """See `Backend.attach`. The keys go into this process's own keyring, which ends with it; the mount keeps them.

    Root, whose keys they are, can revoke them: a copy of the mount that is beyond reach in another mount name space then opens
    nothing any more.
    """
    with rights_of(account.uid, account.gid):
        lower = store.locate(account, store.LOWER)
    if lower is None:
        raise StorageError(f"{account.home}/{store.LOWER}", "there is no such directory")
    signatures = signatures_of(opened)
    target = _open_target(account)
    try:
        serials = [keyring.add_key("user", *key, keyring.KEY_SPEC_PROCESS_KEYRING) for key in opened.keys]
        for serial in serials:
            keyring.set_permissions(serial, _MOUNT_KEY)
        record = OpenRecord(
            account.name, opened.backend, mountpoint(account), os.fsencode(lower), NO_DEVICE, (),
            opening=True, signature=signatures.fekek, mount_keys=tuple(serials),
        )  # fmt: skip
        note(record)
        before = {mount.mount_id for mount in _all_mounts()}
        with real_user(account.uid):
            mounts.mount(lower, target, FSTYPE, mounts.MS_NOSUID | mounts.MS_NODEV, layout.mount_options(signatures))
    except OSError as error:
        raise StorageError(f"mounting {lower}", mounts.reason(error)) from error
    finally:
        os.close(target)
    return _settle(account, record, before)


def _settle(account: Account, record: OpenRecord, before: set[int]) -> OpenRecord:
    """The record of what has just been mounted; what is not the account's own home then is unmounted again. StorageError."""
    for mount in _all_mounts():
        if mount.mount_id not in before and _is_recorded(mount, record):
            if _is_of(account, mount):
                return record.but(mountpoint=mount.mountpoint, device=mount.device, opening=False)
            _unmount(mount)
    raise StorageError(f"mounting {os.fsdecode(record.source)}", "the kernel took it, but does not show it as the user's")


def signatures_of(opened: OpenedHome) -> Signatures:
    """The signatures that `Private.sig` of an opened home has."""
    names = [signature for signature, _ in opened.keys]
    return layout.Signatures(names[-1], names[0] if len(names) > 1 else None)


def _open_target(account: Account) -> int:
    """Descriptor of the directory to mount on: the user's own, reached with the user's rights, on a real file system."""
    path = mountpoint(account)
    with rights_of(account.uid, account.gid):
        target = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    owner = os.fstat(target).st_uid
    magic = mounts.filesystem_magic(target)
    if owner == account.uid and magic in mounts.MOUNTABLE_OVER:
        return target
    os.close(target)
    defect = f"is owned by uid {owner}" if owner != account.uid else f"is on a file system of type 0x{magic:x}"
    raise UnsafeFileError(os.fsdecode(path), defect)


def detach(record: OpenRecord) -> None:
    """See `Backend.detach`."""
    was_here = False
    while here := _recorded_here(record):
        record = record.but(signature=layout.signature_of(here[0].super_options))
        # Where it was opened comes last, so that it stays open there if it is in use anywhere.
        _unmount(min(here, key=lambda mount: mount.mountpoint == record.mountpoint))
        was_here = True
    for serial in record.mount_keys:
        _revoke(serial)
    copies, there = _remains(record)
    if (copies or there) and was_here:
        mounts.forget_unused()
    if copies or there:
        raise HomeBusyError(os.fsdecode(record.mountpoint), copies, partly_locked=True)


def is_seen(record: OpenRecord) -> bool:
    """See `Backend.is_seen`."""
    return bool(_recorded_here(record))


def state_of(record: OpenRecord) -> tuple[str, tuple[str, ...]]:
    """See `Backend.state_of`."""
    if is_seen(record):
        return OPEN, ()
    copies, there = _remains(record)
    return (PARTLY, (*copies, *_holders(there))) if copies or there else (LOCKED, ())


def users(record: OpenRecord, *, neighbours: bool) -> tuple[str, ...]:
    """See `Backend.users`."""
    here = _recorded_here(record)
    if not here:
        copies, there = _remains(record)
        return (*copies, *_holders(there))
    inside = [f"{os.fsdecode(other.mountpoint)} is mounted in it ({other.fstype})" for mount in here for other in _inside(mount)]
    return (*dict.fromkeys(inside), *_holders({mount.device for mount in here}))


def _holders(devices: set[str]) -> tuple[str, ...]:
    return tuple(line for device in sorted(devices) for line in holders(*map(int, device.split(":"))))


def _inside(mount: Mount) -> list[Mount]:
    """What is mounted in the home or over it: the home can go only after that."""
    return [other for other in parse_mountinfo(mounts.read_mountinfo()) if other.parent_id == mount.mount_id]


def _recorded_here(record: OpenRecord) -> list[Mount]:
    """The mounts of the recorded home that this process sees, the latest first."""
    return [mount for mount in _all_mounts() if _is_recorded(mount, record)]


def _is_recorded(mount: Mount, record: OpenRecord) -> bool:
    """Whether a mount is the recorded one, or a copy of it.

    One that was being opened has no device yet, but the key tells it. Records of 0.1.0 have no key; they have the device.
    """
    if record.signature not in ("", layout.signature_of(mount.super_options)) or mount.source != record.source:
        return False
    return mount.device in (record.device, *record.left) or (record.opening or mount.mountpoint == record.mountpoint)


def _remains(record: OpenRecord) -> tuple[tuple[str, ...], set[str]]:
    """Who has a copy of a home that is not mounted here any more, and the devices of it that somebody keeps without a mount."""
    devices = tuple(device for device in (record.device, *record.left) if device != NO_DEVICE)
    words = [f"ecryptfs_sig={record.signature}".encode("ascii")] if record.signature else []
    shown, there = mounts.elsewhere((*words, *(f" {device} ".encode("ascii") for device in devices)), devices)
    found = [(pid, mount) for pid, line in shown for mount in parse_mountinfo(line)]
    copies = tuple(
        f"{describe_process(pid)}: has it mounted on {os.fsdecode(mount.mountpoint)} in another mount name space"
        for pid, mount in found
        if mount.fstype == FSTYPE and record.signature in ("", layout.signature_of(mount.super_options))
    )
    # The device number of a mount that is gone may be another one's by now.
    taken = {mount.device for mount in (*parse_mountinfo(mounts.read_mountinfo()), *(mount for _, mount in found))}
    return copies, set(there) - taken


def _revoke(serial: int) -> None:
    """Make a key of the mount unusable; nothing if it went with the mount."""
    try:
        keyring.revoke(serial)
    except OSError:
        return


def _unmount(mount: Mount) -> None:
    """Unmount it wherever it is by now. HomeBusyError while it is in use; UnsafeFileError if the path leads elsewhere."""
    if _inside(mount):
        raise HomeBusyError(os.fsdecode(mount.mountpoint), ())
    parent_path, _, name = mount.mountpoint.rpartition(b"/")
    parent = files.open_canonical(parent_path)
    try:
        if statx.look(name, within=parent, follow=False).device != mount.device:
            raise UnsafeFileError(os.fsdecode(mount.mountpoint), "is not where the home is mounted")
        mounts.umount(parent, name)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise HomeBusyError(os.fsdecode(mount.mountpoint), ()) from None
    finally:
        os.close(parent)
