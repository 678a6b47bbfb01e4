"""Where an eCryptfs home keeps its key files, and the reading and writing of them with the user's rights.

The live files are in `~/.ecryptfs`, which is either a directory or a link: to `/home/.ecryptfs/USER/.ecryptfs`, or to another
directory that belongs to the user, as after a rename or on another disk. It is followed with no more than the user's rights. Copies
that were good at the last login are in `/var/lib/pyhome/UID.USER`, where only root can damage them; with both in it, because the
number of a user who has left may go to somebody else.
"""

from __future__ import annotations

import errno
import os
import stat

from pam_pyhome.backends import kept
from pam_pyhome.errors import StorageError, UnsafeFileError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.kernel import files
from pam_pyhome.kernel.process import rights_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account

SHARED = "/home/.ecryptfs"
CONFIG = ".ecryptfs"
LOWER = ".Private"
LIMITS = {
    layout.WRAPPED: 4096,
    layout.RECOVERY: 4096,
    layout.SIGNATURES: 4096,
    layout.MOUNTPOINT: 4096 + 1,
    layout.RC: 65536,
}
KEPT = (layout.WRAPPED, layout.RECOVERY, layout.SIGNATURES, layout.MOUNTPOINT)
PREVIOUS = layout.WRAPPED + kept.PREVIOUS
MISSING = b""  # what a file that is not there, or cannot be read, counts as


def storage_of(account: Account) -> str:
    """The directory in which `ecryptfs-setup-private -b` keeps the account's key files and ciphertext."""
    return f"{SHARED}/{account.name}"


def shared_path(account: Account, name: str) -> str:
    """Where it keeps `name` of this account."""
    return f"{storage_of(account)}/{name}"


def locate(account: Account, name: str) -> str | None:
    """The canonical path of `.ecryptfs` or `.Private` of the account, or None if there is none.

    To be called with the user's rights. A link in the home counts if it leads to a directory of the account's: an encrypted home
    that is open shows its own links, which may be those of the user whose home it was before. UnsafeFileError if there is only
    somebody else's.
    """
    in_home = f"{account.home}/{name}"
    shared = shared_path(account, name)
    try:
        status = os.lstat(in_home)
    except (FileNotFoundError, PermissionError):
        return shared if _owner(shared) is not None else None
    if stat.S_ISDIR(status.st_mode):
        return in_home
    real = os.path.realpath(in_home)
    if _owner(real) == account.uid and os.readlink(in_home) != shared and (name != CONFIG or _is_config(real, shared)):
        return real
    if _owner(shared) is not None:
        return shared
    if stat.S_ISLNK(status.st_mode) and not os.path.lexists(real):
        return None
    raise UnsafeFileError(in_home, "is neither a directory of the user's nor a link to one")


def _is_config(path: str, shared: str) -> bool:
    """Whether the configuration is there, rather than in the shared place."""
    return os.path.lexists(f"{path}/{layout.WRAPPED}") or _owner(shared) is None


def _owner(path: str) -> int | None:
    """Whose directory `path` is; None if it is not one, or not within reach."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_uid if stat.S_ISDIR(status.st_mode) else None


def _open_config(account: Account) -> int:
    """Descriptor of the configuration directory, with the user's rights already taken. FileNotFoundError if there is none."""
    path = locate(account, CONFIG)
    if path is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{account.home}/{CONFIG}")
    return files.open_directory(path, owners=(account.uid,))


def has_lower(account: Account) -> bool:
    """Whether the ciphertext of the home is where eCryptfs keeps it."""
    with rights_of(account.uid, account.gid):
        return locate(account, LOWER) is not None


def read(account: Account, name: str) -> bytes:
    """The live file `name`. FileNotFoundError if there is none, UnsafeFileError if it must not be believed."""
    with rights_of(account.uid, account.gid):
        directory = _open_config(account)
        try:
            return files.read_file(directory, name, owners=(account.uid, 0), limit=LIMITS[name])
        finally:
            os.close(directory)


def has(account: Account, name: str) -> bool:
    """Whether the configuration directory has an entry `name`."""
    with rights_of(account.uid, account.gid):
        try:
            directory = _open_config(account)
        except FileNotFoundError:
            return False
        try:
            return files.exists(directory, name)
        finally:
            os.close(directory)


def set_flag(account: Account, name: str, *, there: bool) -> None:
    """Make the flag file `name`, or remove it, whatever it is; nothing if it is so already. OSError."""
    with rights_of(account.uid, account.gid):
        directory = _open_config(account)
        try:
            if files.exists(directory, name) == there:
                return
            if there:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(name, flags, 0o600, dir_fd=directory))
            else:
                os.unlink(name, dir_fd=directory)
            os.fsync(directory)
        finally:
            os.close(directory)


def read_rc(account: Account) -> bytes | None:
    """`~/.ecryptfsrc`, or None if there is none that can be believed."""
    with rights_of(account.uid, account.gid):
        try:
            home = os.open(account.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return files.read_file(home, layout.RC, owners=(account.uid,), limit=LIMITS[layout.RC])
        except (OSError, UnsafeFileError):
            return None
        finally:
            os.close(home)


def reserve(account: Account, size: int) -> None:
    """Put room for a wrapped passphrase of `size` bytes on disk. OSError if there is none."""
    with rights_of(account.uid, account.gid):
        directory = _open_config(account)
        try:
            files.stage(directory, layout.WRAPPED, size)
        finally:
            os.close(directory)


def replace(account: Account, name: str, content: bytes) -> None:
    """Replace the live file `name`, atomically and durably; room that `reserve` made for it is used, if it is still there."""
    with rights_of(account.uid, account.gid):
        directory = _open_config(account)
        try:
            files.commit(directory, name, content)
        except (OSError, UnsafeFileError):
            files.replace_file(directory, name, content)
        finally:
            os.close(directory)


def recreate_config(account: Account) -> None:
    """Make the configuration directory again where it has been deleted, if its parent is the user's."""
    with rights_of(account.uid, account.gid):
        if locate(account, CONFIG) is None:
            parent = storage_of(account)
            os.mkdir(f"{parent if _owner(parent) is not None else account.home}/{CONFIG}", 0o700)


def read_kept(account: Account, name: str) -> bytes | None:
    """The copy of `name` that was good at the last login, or None."""
    return kept.read(account, name, LIMITS[name])


def is_kept(account: Account) -> bool:
    """Whether there is a copy to fall back on."""
    return read_kept(account, layout.WRAPPED) is not None


def explain(error: OSError) -> StorageError:
    """An OSError on a key file as a StorageError that names the file."""
    return StorageError(str(error.filename or "the key files"), error.strerror or str(error))
