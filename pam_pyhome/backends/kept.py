"""Copies of key files: `/var/lib/pyhome/UID.USER`, where only root can damage them, and what else is known of key files there.

A copy is what its file was when it last opened the home, or what pyhome last made of it: `replace` changes both in one act. It
counts only where the file itself is damaged or missing. Beside the copy of NAME there may be:

====================  ================================================================================================
``NAME.previous``     what was replaced, until its successor has opened the home; then ``.previous.2`` and so on
``NAME.repaired``     empty: the one before was replaced for a password that has not opened the home yet, so it still counts
``NAME.second``       the same key for another password of the user's, where two are valid
``NAME.typed``        not a key: something worthless, wrapped with a password that was typed once, to know it again
``NAME.retired``      a protector that is out of the policy; what else it opens may be on a disk that is not here
``NAME.next``         what is just being made of the file
``fscrypt-others``    not a key: the names of policies besides the home's that were opened
``reset``             empty: root has set another login password, which the home does not open with yet
``file-system``       not a key: the UUID of the file system on which the home was when it was opened last
``digests``           the key files that were proved by somebody besides whoever typed a password: `approved.py`
====================  ================================================================================================
"""

from __future__ import annotations

import os

from pam_pyhome import events
from pam_pyhome.errors import UnsafeFileError
from pam_pyhome.kernel import files
from pam_pyhome.kernel.log import log
from pam_pyhome.kernel.process import rights_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account

STATE = "/var/lib/pyhome"
CONVERTING = f"{STATE}/converting"  # records of the homes of which there is another copy, by the name of the user
PREVIOUS, REPAIRED, SECOND, TYPED, NEXT, RETIRED = ".previous", ".repaired", ".second", ".typed", ".next", ".retired"
DIGESTS, OTHERS, RESET, FILE_SYSTEM = "digests", "fscrypt-others", "reset", "file-system"
_NO_FILES = (DIGESTS, OTHERS, RESET, FILE_SYSTEM)
_INTERNAL = (REPAIRED, TYPED, NEXT, files.STAGED_SUFFIX)
_UNTOLD = (*_INTERNAL, SECOND)  # the log says when they count
_LIMIT = 65536
_MOST_PREVIOUS = 9


def place_of(account: Account) -> str:
    """The directory with an account's copies."""
    return f"{STATE}/{account.uid}.{account.name}"


def _open(account: Account, *, create: bool) -> int:
    """Descriptor of the root-owned directory with this account's copies."""
    path = place_of(account)
    if create:
        for level in (STATE, path):
            try:
                os.mkdir(level, 0o700)
            except FileExistsError:
                continue
    return files.open_directory(path, owners=(0,))


def read(account: Account, name: str, limit: int = _LIMIT) -> bytes | None:
    """The copy `name`, or None."""
    try:
        directory = _open(account, create=False)
    except FileNotFoundError:
        return None
    try:
        return files.read_file(directory, name, owners=(0,), limit=limit)
    except FileNotFoundError:
        return None
    finally:
        os.close(directory)


def was_reset(account: Account) -> bool:
    """Whether root has set another login password, which the home does not open with yet."""
    try:
        return read(account, RESET) is not None
    except (OSError, UnsafeFileError):
        return False


def keep(account: Account, name: str, content: bytes) -> None:
    """Keep `content` as `name`; nothing is written if it is there already. OSError."""
    directory = _open(account, create=True)
    try:
        if not files.exists(directory, name) or _read(directory, name) != content:
            _write(directory, name, content)
            if not name.endswith(_UNTOLD) and name not in (DIGESTS, OTHERS):
                log(events.COPY_KEPT, name, account)
    finally:
        os.close(directory)


def _read(directory: int, name: str) -> bytes | None:
    """What a file there says, or None for one that must not be believed."""
    try:
        return files.read_file(directory, name, owners=(0,), limit=_LIMIT)
    except UnsafeFileError:
        return None


def _write(directory: int, name: str, content: bytes) -> None:
    """Into the room that `reserve` made, if it did."""
    try:
        files.commit(directory, name, content)
    except (OSError, UnsafeFileError):
        files.replace_file(directory, name, content)


def reserve(account: Account, name: str, size: int) -> None:
    """Put room on disk for what `begin` writes. OSError if there is none."""
    directory = _open(account, create=True)
    try:
        files.stage(directory, name + NEXT, size)
    finally:
        os.close(directory)


def give_up(account: Account, name: str) -> None:
    """Give up that room. OSError."""
    remove(account, name + NEXT + files.STAGED_SUFFIX)


def begin(account: Account, name: str, content: bytes) -> None:
    """Have `content` ready on disk as the copy that `finish` makes of it, which takes no room and hardly fails. OSError."""
    keep(account, name + NEXT, content)


def finish(account: Account, name: str) -> None:
    """Let what `begin` wrote be the copy of `name` from now on. OSError."""
    directory = _open(account, create=False)
    try:
        os.rename(name + NEXT, name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    finally:
        os.close(directory)


def set_aside(account: Account, name: str, content: bytes) -> None:
    """Keep what is to be replaced as the previous one; what was that before stays under a number. OSError."""
    earlier = read(account, name + PREVIOUS)
    if earlier not in (None, content):
        keep(account, _free_name(account, name, earlier or b""), earlier or b"")
    keep(account, name + PREVIOUS, content)


def _free_name(account: Account, name: str, content: bytes) -> str:
    """Under which number a file is kept: that of none, or of one that reads the same; at last that of the newest."""
    numbers = (f"{name}{PREVIOUS}.{number}" for number in range(2, _MOST_PREVIOUS + 1))
    free = (each for each in numbers if read(account, each) in (None, content))
    return next(free, f"{name}{PREVIOUS}.{_MOST_PREVIOUS}")


def names(account: Account) -> list[str]:
    """What there is a copy of, or an older one."""
    return [name for name in _all(account) if name not in _NO_FILES and not name.endswith(_INTERNAL)]


def base_of(name: str) -> str:
    """What an older copy, or one for another password, is of."""
    for suffix in (PREVIOUS, RETIRED, SECOND):
        name = name.partition(suffix)[0]
    return name


def older(account: Account, name: str) -> list[str]:
    """The names of what has been replaced."""
    return [each for each in _all(account) if each.startswith(name + PREVIOUS) and not each.endswith(_INTERNAL)]


def _all(account: Account) -> list[str]:
    try:
        directory = _open(account, create=False)
    except FileNotFoundError:
        return []
    try:
        return sorted(os.listdir(directory))
    finally:
        os.close(directory)


def age(account: Account, name: str) -> float:
    """When the copy `name` was written, in seconds of the epoch. OSError if there is none."""
    directory = _open(account, create=False)
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime
    finally:
        os.close(directory)


def remove(account: Account, *names: str) -> None:
    """Forget these, as far as they are there. OSError."""
    try:
        directory = _open(account, create=False)
    except FileNotFoundError:
        return
    try:
        gone = [name for name in names if _unlink(directory, name)]
        if gone:
            os.fsync(directory)
    finally:
        os.close(directory)


def _unlink(directory: int, name: str) -> bool:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


def drop_previous(account: Account, name: str) -> None:
    """Forget what was replaced: its successor has opened the home. OSError."""
    remove(account, *older(account, name), name + REPAIRED, name + NEXT, name + NEXT + files.STAGED_SUFFIX)


def retire(account: Account, name: str) -> None:
    """Keep what was replaced where it opens nothing here any more, though it may open something elsewhere. OSError."""
    for each in older(account, name):
        content = read(account, each)
        if each == name + PREVIOUS and content is not None:
            keep(account, name + RETIRED, content)
    drop_previous(account, name)


def forget(account: Account, name: str) -> None:
    """Forget the copy of `name` and all that is kept beside it. OSError."""
    remove(account, *(each for each in _all(account) if each == name or each.startswith(name + ".")))


def note_place(account: Account, storage: bytes) -> None:
    """Note on which file system the home is that has just been opened. OSError."""
    path = os.fsdecode(storage)
    try:
        with rights_of(account.uid, account.gid):
            found = file_system(path)
    except PermissionError:
        found = file_system(path)  # a mount point that only root reaches
    if found:
        keep(account, FILE_SYSTEM, found.encode("ascii"))


def file_system(path: str) -> str:
    """The UUID of the file system of a directory at a path without links; empty if the kernel does not tell. OSError."""
    from pam_pyhome.kernel.filesystems import uuid_of  # noqa: PLC0415 - only behind a home that is open, or about one that is away

    directory = files.open_listable(path)
    try:
        return uuid_of(directory) or ""
    finally:
        os.close(directory)
