"""Files: opened without following links, believed only after a look at them, replaced atomically and durably, locked."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from pam_pyhome.errors import UnsafeFileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STAGED_SUFFIX = ".pyhome-new"
_POLL_SECONDS = 0.02


def open_directory(name: str, *, within: int | None = None, owners: tuple[int, ...], shared: bool = False) -> int:
    """Descriptor of directory `name`, which must not be a link, and must belong to one of `owners` and not be world-writable.

    `shared`: it may be world-writable, because what is in it is looked at by itself. OSError if it cannot be opened,
    UnsafeFileError if it must not be believed.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=within)
    status = os.fstat(fd)
    if status.st_uid not in owners or (status.st_mode & stat.S_IWOTH and not shared):
        os.close(fd)
        raise UnsafeFileError(name, f"is owned by uid {status.st_uid} with mode {stat.S_IMODE(status.st_mode):o}")
    return fd


def read_file(
    directory: int,
    name: str,
    *,
    owners: tuple[int, ...] | None,
    limit: int,
    believe: Callable[[os.stat_result], None] | None = None,
) -> bytes:
    """The content of a regular file of at most `limit` bytes that belongs to one of `owners`, and that `believe` does not refuse.

    Without `owners` it may be anybody's, as on a disk from another machine.

    FileNotFoundError if there is none; UnsafeFileError for a link, a FIFO, a device, another owner or a larger file.
    """
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise UnsafeFileError(name, "is a link or no regular file") from None
        raise
    try:
        status = os.fstat(fd)
        _believe(status, name, owners, limit)
        if believe is not None:
            believe(status)
        return _read_all(fd, name, status.st_size, limit)
    finally:
        os.close(fd)


def _believe(status: os.stat_result, name: str, owners: tuple[int, ...] | None, limit: int) -> None:
    """UnsafeFileError unless `status` is that of a file worth reading."""
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFileError(name, "is no regular file")
    if owners is not None and status.st_uid not in owners:
        raise UnsafeFileError(name, f"is owned by uid {status.st_uid}")
    if status.st_size > limit:
        raise UnsafeFileError(name, f"has {status.st_size} bytes, more than {limit}")


def _read_all(fd: int, name: str, size: int, limit: int) -> bytes:
    """Everything up to `limit` bytes, `size` as it seems; UnsafeFileError if the file grew beyond the limit meanwhile."""
    content = os.read(fd, size + 1)
    if len(content) == size:
        return content
    while chunk := os.read(fd, limit + 1 - len(content)):
        content += chunk
        if len(content) > limit:
            break
    if len(content) > limit:
        raise UnsafeFileError(name, f"has more than {limit} bytes")
    return content


def exists(directory: int, name: str) -> bool:
    """Whether `directory` has an entry `name`, of whatever kind; a link is not followed."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def stage(directory: int, name: str, size: int, *, mode: int = 0o600) -> None:
    """Create the successor of `name` beside it with `size` bytes of zeros on disk, so that filling it later needs no space.

    An earlier successor is removed first. OSError if there is no room or no right.
    """
    staged = name + STAGED_SUFFIX
    discard_staged(directory, name)
    fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=directory)
    try:
        _write_all(fd, bytes(size))
        os.fsync(fd)
    except OSError:
        discard_staged(directory, name)
        raise
    finally:
        os.close(fd)


def commit(directory: int, name: str, content: bytes, *, place: tuple[int, str] | None = None) -> None:
    """Fill the staged successor of `name` with `content` (at most the staged size) and put it in `name`'s place, durably.

    `place`: another directory of the same file system, and the name there, to put it in instead.
    Until the rename the old file is untouched; after it the new one is complete on disk. OSError if a step fails;
    UnsafeFileError if the successor is not a file of its own: as a second name of the old file it would be written in place.
    """
    staged = name + STAGED_SUFFIX
    fd = os.open(staged, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise UnsafeFileError(staged, "is no regular file, or has a second name")
        _write_all(fd, content)
        os.ftruncate(fd, len(content))
        os.fsync(fd)
    finally:
        os.close(fd)
    target, final = place or (directory, name)
    os.rename(staged, final, src_dir_fd=directory, dst_dir_fd=target)
    os.fsync(target)


def replace_file(directory: int, name: str, content: bytes, *, mode: int = 0o600) -> None:
    """Put a new file with `content` in the place of `name`, atomically and durably. OSError if any step fails."""
    stage(directory, name, len(content), mode=mode)
    try:
        commit(directory, name, content)
    except OSError:
        discard_staged(directory, name)
        raise


def discard_staged(directory: int, name: str) -> None:
    """Remove a successor of `name` that was never put in place; nothing if there is none."""
    try:
        os.unlink(name + STAGED_SUFFIX, dir_fd=directory)
    except FileNotFoundError:
        pass


def _write_all(fd: int, content: bytes) -> None:
    """Write everything or raise OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def try_lock(fd: int, *, exclusive: bool, seconds: float = 0.0) -> bool:
    """Flock the descriptor, trying for `seconds`; whether it worked."""
    mode = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, mode)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)


def wait_for_lock(fd: int) -> bool:
    """Flock the descriptor exclusively, however long that takes; whether it took any time."""
    if try_lock(fd, exclusive=True):
        return False
    fcntl.flock(fd, fcntl.LOCK_EX)
    return True


def open_canonical(path: bytes) -> int:
    """O_PATH descriptor of the directory at an absolute path in which nothing is a link. OSError with ELOOP otherwise."""
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in filter(None, path.split(b"/")):
        try:
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def open_listable(path: str) -> int:
    """Descriptor, to list what is in it, of the directory at an absolute path in which nothing is a link. OSError."""
    place = open_canonical(os.fsencode(path))
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    finally:
        os.close(place)


def read_head(path: str, size: int) -> bytes:
    """The first `size` bytes of a regular file, whoever owns it, at an absolute path in which nothing is a link.

    OSError; nothing for what is no regular file.
    """
    parent, _, name = path.rpartition("/")
    directory = open_canonical(os.fsencode(parent))
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        return os.read(fd, size) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def read_anybodys(path: str, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes, whoever owns it, at an absolute path in which nothing is a link.

    FileNotFoundError if there is none; UnsafeFileError for what is no such file; OSError.
    """
    parent, _, name = path.rpartition("/")
    directory = open_canonical(os.fsencode(parent))
    try:
        return read_file(directory, name, owners=None, limit=limit)
    finally:
        os.close(directory)
