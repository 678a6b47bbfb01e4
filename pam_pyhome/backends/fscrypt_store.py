"""Where fscrypt keeps its metadata, which of it is believed, and how it is replaced.

Every file system has its own, in `.fscrypt` at its root: `policies/IDENTIFIER` and `protectors/DESCRIPTOR`. Login protectors are
always on `/`. A file is believed if it is a regular one of at most 16 KiB, reached without a link, that belongs, as do the
directories that lead to it, to root or to the user; and it is read with the user's rights unless it is root's alone.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat

from pam_pyhome.errors import StorageError, UnsafeFileError
from pam_pyhome.formats.fscrypt_meta import DESCRIPTOR_DIGITS, IDENTIFIER_DIGITS, MAX_SIZE, is_hex
from pam_pyhome.formats.mountinfo import parse_mountinfo
from pam_pyhome.kernel import files, mounts
from pam_pyhome.kernel.process import rights_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account
    from pam_pyhome.formats.mountinfo import Mount

ROOT = "/"
METADATA = ".fscrypt"
POLICIES, PROTECTORS = "policies", "protectors"
FILE_SYSTEMS = ("ext4", "f2fs", "ubifs", "btrfs", "ceph", "lustre", "xfs")
MOST_POLICIES, MOST_PROTECTORS = 4096, 65536  # entries of a directory that are looked at
BY_UUID = "/dev/disk/by-uuid"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_home(account: Account) -> int:
    """Descriptor of the account's home directory. To be called with the user's rights. OSError."""
    return open_directory(account.home)


def open_directory(path: str) -> int:
    """Descriptor of any directory, with the rights of now. OSError."""
    return os.open(path, _DIRECTORY | os.O_NONBLOCK)


def main_mounts() -> list[Mount]:
    """One mount for each file system that can be encrypted: the first of its root, or of as much of it as there is."""
    best: dict[str, Mount] = {}
    for mount in parse_mountinfo(mounts.read_mountinfo()):
        known = best.get(mount.device)
        if mount.fstype in FILE_SYSTEMS and (known is None or len(mount.root) < len(known.root)):
            best[mount.device] = mount
    return list(best.values())


def main_mount(path: str) -> str:
    """Where the file system of `path` is mounted: of several such places the one that leads to `path`.

    StorageError if that is nowhere to be seen.
    """
    device, real = device_of(os.stat(path)), os.fsencode(os.path.realpath(path))
    found = [mount for mount in parse_mountinfo(mounts.read_mountinfo()) if mount.device == device and mount.fstype in FILE_SYSTEMS]
    if not found:
        raise StorageError(path, "its file system is not one that can be encrypted, or not mounted as a whole")
    whole = min(len(mount.root) for mount in found)
    leading = [mount for mount in found if len(mount.root) == whole]
    return os.fsdecode(max(leading, key=lambda mount: (_is_seen(mount), _leads_to(mount.mountpoint, real))).mountpoint)


def _is_seen(mount: Mount) -> bool:
    """Whether nothing else is mounted over it."""
    try:
        return device_of(os.stat(mount.mountpoint, follow_symlinks=False)) == mount.device
    except OSError:
        return False


def _leads_to(mountpoint: bytes, path: bytes) -> int:
    """How much of `path` is that of a mount point; 0 if that is elsewhere."""
    top = mountpoint.rstrip(b"/") + b"/"
    return len(top) if (path + b"/").startswith(top) else 0


def device_of(status: os.stat_result) -> str:
    """`major:minor` of the file system that a file is on."""
    return f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"


def open_metadata(mount: str, kind: str, owners: tuple[int, ...]) -> int:
    """Descriptor of a directory below `.fscrypt` (of that itself if `kind` is empty). OSError, UnsafeFileError.

    `.fscrypt` may be a link of root's, as where the root of a file system is read-only.
    """
    top = _open_top(mount)
    try:
        return _open_below(top, mount, kind, owners)
    finally:
        os.close(top)


def _open_top(mount: str) -> int:
    """O_PATH descriptor of a mount point. The way is root's, and need not be open to the user; nor need it be listed."""
    return files.open_canonical(os.fsencode(mount))


def _open_below(top: int, mount: str, kind: str, owners: tuple[int, ...]) -> int:
    owner = os.fstat(top).st_uid
    if owner not in owners:
        raise UnsafeFileError(mount, f"is owned by uid {owner}")
    fd = top
    for name in filter(None, (METADATA, kind)):
        try:
            inner = _open_link(fd, name) if name == METADATA else None
            if inner is None:
                inner = files.open_directory(name, within=fd, owners=owners, shared=True)
        finally:
            if fd != top:
                os.close(fd)
        fd = inner
    return fd


def _open_link(within: int, name: str) -> int | None:
    """Descriptor of what root's link `name` leads to, which must be root's as well; None if `name` is no link."""
    status = os.stat(name, dir_fd=within, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        return None
    if status.st_uid != 0:
        raise UnsafeFileError(name, f"is a link of uid {status.st_uid}")
    fd = os.open(name, _DIRECTORY, dir_fd=within)
    owner = os.fstat(fd).st_uid
    if owner != 0:
        os.close(fd)
        raise UnsafeFileError(name, f"leads to a directory of uid {owner}")
    return fd


def read(account: Account, mount: str, kind: str, name: str) -> bytes:
    """A metadata file. FileNotFoundError if there is none, UnsafeFileError if it must not be believed."""
    top = _open_top(mount)
    try:
        with rights_of(account.uid, account.gid):
            try:
                return _read(top, mount, kind, name, (0, account.uid))
            except PermissionError:
                pass
        return _read(top, mount, kind, name, (0,))
    finally:
        os.close(top)


def _read(top: int, mount: str, kind: str, name: str, owners: tuple[int, ...]) -> bytes:
    directory = _open_below(top, mount, kind, (0, *owners))
    try:
        return files.read_file(directory, name, owners=owners, limit=MAX_SIZE)
    finally:
        os.close(directory)


def policies(account: Account, mountpoint: str) -> tuple[list[str], bool]:
    """The policies on a file system that belong to the account or to root, without reading them; whether those are all.

    A neighbour may have made more files there than anybody wants to wait for. OSError, UnsafeFileError.
    """
    return _list(account, mountpoint, POLICIES, IDENTIFIER_DIGITS, MOST_POLICIES)


def protectors(account: Account, mountpoint: str) -> list[str]:
    """The protectors on a file system that belong to the account or to root, without reading them. OSError, UnsafeFileError."""
    names, complete = _list(account, mountpoint, PROTECTORS, DESCRIPTOR_DIGITS, MOST_PROTECTORS)
    if not complete:
        raise UnsafeFileError(f"{mountpoint}/{METADATA}/{PROTECTORS}", f"has more than {MOST_PROTECTORS} files")
    return names


def _list(account: Account, mountpoint: str, kind: str, digits: int, most: int) -> tuple[list[str], bool]:
    """Files with names of so many digits that belong to the account or to root; whether there are no more than `most` entries."""
    directory = _open_list(account, mountpoint, kind)
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in itertools.islice(entries, most)]
            complete = next(entries, None) is None
        names = [name for name in names if is_hex(name, digits)]
        return sorted(name for name in names if _owner(directory, name) in (0, account.uid)), complete
    finally:
        os.close(directory)


def _open_list(account: Account, mountpoint: str, kind: str) -> int:
    """Descriptor of a metadata directory, with the user's rights, or else with root's if it is root's. OSError, UnsafeFileError."""
    top = _open_top(mountpoint)
    try:
        with rights_of(account.uid, account.gid):
            try:
                return _open_below(top, mountpoint, kind, (0, account.uid))
            except PermissionError:
                pass
        return _open_below(top, mountpoint, kind, (0,))
    finally:
        os.close(top)


def _owner(directory: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid
    except OSError:
        return None


# Writing. As root, into directories of root's only: `.fscrypt` is nobody else's, so a successor can be prepared there, where no
# tool takes it for a protector, and moved from there into `protectors`, which may be everybody's.


def staged_name(kind: str, name: str) -> str:
    """What the successor of a metadata file is called in `.fscrypt`, without `files.STAGED_SUFFIX`."""
    return f"{kind}.{name}"


def stage(mount: str, kind: str, name: str, size: int, owner: tuple[int, int, int]) -> None:
    """Put room for `size` bytes on disk for a successor of a metadata file, with `owner` as its uid, gid and mode. OSError."""
    directory = open_metadata(mount, "", (0,))
    try:
        staged = staged_name(kind, name)
        files.stage(directory, staged, size)
        uid, gid, mode = owner
        # The mode first: pyhomed has not the capability to change that of others' files.
        os.chmod(staged + files.STAGED_SUFFIX, mode, dir_fd=directory)
        # In the user's name from now on, so that a quota is met here and not later.
        os.chown(staged + files.STAGED_SUFFIX, uid, gid, dir_fd=directory, follow_symlinks=False)
    finally:
        os.close(directory)


def discard(mount: str, kind: str, name: str) -> None:
    """Give up the room that `stage` made. OSError."""
    directory = open_metadata(mount, "", (0,))
    try:
        files.discard_staged(directory, staged_name(kind, name))
    finally:
        os.close(directory)


def discard_all(account: Account, mount: str) -> None:
    """Give up what somebody who was killed has prepared of the account's protectors. OSError, UnsafeFileError."""
    directory = open_metadata(mount, "", (0,))
    try:
        for name in os.listdir(directory):
            is_staged = name.startswith(staged_name(PROTECTORS, "")) and name.endswith(files.STAGED_SUFFIX)
            if is_staged and _owner(directory, name) == account.uid:
                os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)


def unlink(mount: str, kind: str, name: str) -> None:
    """Remove a metadata file, if there is one. OSError, UnsafeFileError."""
    try:
        directory = open_metadata(mount, kind, (0,))
    except FileNotFoundError:
        return
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    finally:
        os.close(directory)


def uuid_of(mount: str | int) -> str | None:
    """The UUID of the file system that a path or a descriptor is on, if udev has made a link for it."""
    device = os.stat(mount).st_dev
    try:
        for name in os.listdir(BY_UUID):
            if os.stat(f"{BY_UUID}/{name}").st_rdev == device:
                return name
    except OSError:
        pass
    return None


def replace(mount: str, kind: str, name: str, content: bytes, owner: tuple[int, int, int]) -> None:
    """Put `content` in the place of a metadata file, atomically and durably, in the room that `stage` made, if it did. OSError."""
    directory = open_metadata(mount, "", (0,))
    try:
        target = open_metadata(mount, kind, (0,))
    except (OSError, UnsafeFileError):
        os.close(directory)
        raise
    staged = staged_name(kind, name)
    try:
        files.commit(directory, staged, content, place=(target, name))
    except (OSError, UnsafeFileError):
        # No room was made, or its owner has tampered with it.
        try:
            stage(mount, kind, name, len(content), owner)
            files.commit(directory, staged, content, place=(target, name))
        except (OSError, UnsafeFileError):
            files.discard_staged(directory, staged)
            raise
    finally:
        os.close(target)
        os.close(directory)


def owner_of(mount: str, kind: str, name: str, account: Account) -> tuple[int, int, int]:
    """Uid, gid and mode of a metadata file; of a new one of the account's if there is none that may be believed."""
    directory = open_metadata(mount, kind, (0, account.uid))
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return account.uid, account.gid, 0o600
    finally:
        os.close(directory)
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, account.uid):
        return account.uid, account.gid, 0o600
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode) & 0o666


def explain(error: OSError) -> StorageError:
    """An OSError on metadata as a StorageError that names the file."""
    if error.errno == errno.ENOENT:
        return StorageError(str(error.filename or METADATA), "there is no such metadata file")
    return StorageError(str(error.filename or METADATA), error.strerror or str(error))
