"""How the home is, found out cheaply and without asking the daemon."""

from __future__ import annotations

import os
import sys

from pam_pyhome.formats.escape import lines
from pam_pyhome.formats.mountinfo import parse_mountinfo
from pam_pyhome.shell_stub.decide import LOCKED, OPEN, PLAIN

MOUNTINFO = "/proc/self/mountinfo"
SHARED = b"/home/.ecryptfs"
_MARK = b" - ecryptfs "
# ioctls of linux/fscrypt.h, and the sizes of their arguments
_GET_POLICY_EX, _KEY_STATUS = 0xC0096616, 0xC080661A
_POLICY_MAX, _STATUS_SIZE, _STATE_AT = 24, 128, 64
_BY_IDENTIFIER, _PRESENT = 2, 2


def home_state(name: bytes, home: bytes) -> str:
    """PLAIN, LOCKED or OPEN. OSError if the mounts cannot be read."""
    real = os.path.realpath(home)
    encrypted = _fscrypt_state(real)
    if encrypted is not None:
        return encrypted
    if _is_mounted(real):
        return OPEN
    return LOCKED if _is_locked(name, real) else PLAIN


def is_open(real_home: bytes) -> bool:
    """Whether the kernel has the key of the home, or has it mounted; the path must have no link in it."""
    return _fscrypt_state(real_home) == OPEN or _is_mounted(real_home)


def _fscrypt_state(home: bytes) -> str | None:
    """LOCKED or OPEN for a directory that the file system encrypts with a policy of version 2, else None."""
    import fcntl  # noqa: PLC0415 - only a login shell needs it, not what else asks for the functions here

    try:
        directory = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        policy = bytearray(_POLICY_MAX.to_bytes(8, sys.byteorder) + bytes(_POLICY_MAX))
        fcntl.ioctl(directory, _GET_POLICY_EX, policy)
        if policy[8] != _BY_IDENTIFIER:
            return None
        status = bytearray(_BY_IDENTIFIER.to_bytes(4, sys.byteorder) + bytes(4) + policy[16:32]).ljust(_STATUS_SIZE, b"\0")
        fcntl.ioctl(directory, _KEY_STATUS, status)
    except OSError:
        return None
    finally:
        os.close(directory)
    return OPEN if status[_STATE_AT] == _PRESENT else LOCKED


def _is_mounted(real_home: bytes) -> bool:
    """Whether an eCryptfs file system is mounted exactly there; the path must have no link in it."""
    with open(MOUNTINFO, "rb", buffering=0) as file:
        data = file.readall()
    mounts = parse_mountinfo(b"".join(line for line in lines(data) if _MARK in line))
    return any(mount.mountpoint == real_home and mount.fstype == "ecryptfs" for mount in mounts)


def _is_locked(name: bytes, home: bytes) -> bool:
    """Whether the home, and not just a directory in it, is to be opened: by its key file, or by the ciphertext alone.

    Where key files were deleted or damaged, the broker may know better, so it is asked.
    """
    shared = SHARED + b"/" + name
    places = [place for place in (home, shared) if os.path.isdir(place + b"/.ecryptfs")]
    mountpoint = _configured_mountpoint(places[0]) if places else None
    if mountpoint is not None and os.path.realpath(mountpoint) != home:
        return False
    if mountpoint is not None and os.path.lexists(places[0] + b"/.ecryptfs/wrapped-passphrase"):
        return True
    return os.path.isdir(shared + b"/.Private")


def _configured_mountpoint(place: bytes) -> bytes | None:
    """What ``Private.mnt`` says, or None if it does not say it."""
    from pam_pyhome.errors import FormatError  # noqa: PLC0415 - what follows is not needed for an open home
    from pam_pyhome.formats.ecryptfs_layout import MOUNTPOINT, PATH_MAX, parse_mountpoint  # noqa: PLC0415 - as above

    data = read_small(place + b"/.ecryptfs/" + MOUNTPOINT.encode(), PATH_MAX + 1)
    try:
        return parse_mountpoint(data) if data is not None else None
    except FormatError:
        return None


def read_small(path: bytes, limit: int, *, of_root: bool = False) -> bytes | None:
    """The content of a regular file, or None if there is none, it is larger than `limit`, or it must not be believed.

    `of_root`: it must belong to root, and nobody else may be able to write it.
    """
    try:
        with open(path, "rb", buffering=0, opener=_open_gently) as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o170000 != 0o100000 or status.st_size > limit:
                return None
            if of_root and (status.st_uid != 0 or status.st_mode & 0o022):
                return None
            return file.readall()
    except OSError:
        return None


def _open_gently(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
