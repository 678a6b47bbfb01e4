"""The kernel's side of an eCryptfs home: mounting, finding it mounted, unmounting."""

from __future__ import annotations

import errno
import os

from pam_pyhome.backends import ecryptfs_store as store
from pam_pyhome.errors import FormatError, HomeBusyError, StorageError, UnsafeFileError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats.mountinfo import parse_mountinfo
from pam_pyhome.formats.state import OpenRecord
from pam_pyhome.kernel import files, keyring, mounts
from pam_pyhome.kernel.holders import holders
from pam_pyhome.kernel.process import real_user, rights_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account
    from pam_pyhome.formats.ecryptfs_layout import Signatures
    from pam_pyhome.formats.mountinfo import Mount
    from pam_pyhome.formats.opened import OpenedHome

FSTYPE = "ecryptfs"


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
    found = _find(mountpoint(account))
    if found is None or not _is_of(account, found):
        return None
    return OpenRecord(account.name, backend, found.mountpoint, found.source, found.device, ())


def _is_of(account: Account, found: Mount) -> bool:
    """Whether what is mounted there is the account's own: the path is written down in a file that its owner can change."""
    with rights_of(account.uid, account.gid):
        try:
            status = os.stat(found.mountpoint)
        except OSError:
            return False
    return status.st_uid == account.uid and f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}" == found.device


def _find(path: bytes) -> Mount | None:
    """The eCryptfs file system on top of `path`, or None."""
    here = [mount for mount in parse_mountinfo(mounts.read_mountinfo()) if mount.mountpoint == path]
    return here[-1] if here and here[-1].fstype == FSTYPE else None


def attach(account: Account, opened: OpenedHome) -> OpenRecord:
    """See `Backend.attach`. The keys go into this process's own keyring, which ends with it; the mount keeps them."""
    with rights_of(account.uid, account.gid):
        lower = store.locate(account, store.LOWER)
    if lower is None:
        raise StorageError(f"{account.home}/{store.LOWER}", "there is no such directory")
    options = layout.mount_options(signatures_of(opened))
    target = _open_target(account)
    try:
        for signature, payload in opened.keys:
            keyring.add_key("user", signature, payload, keyring.KEY_SPEC_PROCESS_KEYRING)
        with real_user(account.uid):
            mounts.mount(lower, target, FSTYPE, mounts.MS_NOSUID | mounts.MS_NODEV, options)
    except OSError as error:
        raise StorageError(f"mounting {lower}", mounts.reason(error)) from error
    finally:
        os.close(target)
    record = mounted(account, opened.backend)
    if record is None:
        raise StorageError(f"mounting {lower}", "the kernel took it, but does not show it")
    return record


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
    found = _find(record.mountpoint)
    if found is None or found.device != record.device:
        return
    parent_path, _, name = record.mountpoint.rpartition(b"/")
    parent = files.open_canonical(parent_path)
    try:
        major, minor = (int(part) for part in found.device.split(":"))
        if os.stat(name, dir_fd=parent, follow_symlinks=False).st_dev != os.makedev(major, minor):
            raise UnsafeFileError(os.fsdecode(record.mountpoint), "is not where the home is mounted")
        mounts.umount(parent, name)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise HomeBusyError(os.fsdecode(record.mountpoint), holders(major, minor)) from None
    finally:
        os.close(parent)
