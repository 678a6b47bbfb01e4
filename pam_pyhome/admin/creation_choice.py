"""Which kind of home a directory can have, and what is missing where it can have none."""

from __future__ import annotations

import errno
import os

from pam_pyhome.admin import creation_facts as facts
from pam_pyhome.backends import fscrypt_store
from pam_pyhome.errors import CreateError, StorageError
from pam_pyhome.kernel import child, fscrypt

FSCRYPT, ECRYPTFS = "fscrypt", "ecryptfs"
_FEATURES = "/sys/fs"
_MODPROBE = "/sbin/modprobe"
_MODPROBE_SECONDS = 20.0


def choose(user: str, wanted: str | None, parent: str) -> str:
    """The kind that is `wanted`, or else the first that a home in the directory `parent` can have. CreateError if there is none."""
    if wanted == ECRYPTFS:
        if not has_ecryptfs():
            raise CreateError(user, facts.NEITHER if fscrypt_trouble(user, parent) else facts.NO_ECRYPTFS)
        return ECRYPTFS
    trouble = fscrypt_trouble(user, parent)
    if trouble is None:
        return FSCRYPT
    if wanted is None and has_ecryptfs():
        return ECRYPTFS
    raise trouble


def fscrypt_trouble(user: str, parent: str) -> CreateError | None:
    """Why a directory in `parent` cannot be encrypted by its file system; None if it can be."""
    directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        said = fscrypt.support(directory)
    finally:
        os.close(directory)
    try:
        mountpoint = fscrypt_store.main_mount(parent)
    except StorageError as error:
        return CreateError(user, facts.NO_FILE_SYSTEM, f"{parent}: {error.reason}")
    if said is None:
        return None
    if said != fscrypt.reason(OSError(errno.EOPNOTSUPP, "")):
        return CreateError(user, facts.NO_FILE_SYSTEM, f"{parent}: {said}")
    device = fscrypt_store.device_of(os.stat(parent))
    mount = next(each for each in fscrypt_store.main_mounts() if each.device == device)
    # A kernel without encryption gives the same answer.
    known = f"{_FEATURES}/{mount.fstype}/features"
    if os.path.isdir(known) and not os.path.exists(f"{known}/encryption"):
        return CreateError(user, facts.NO_KERNEL, f"{mount.fstype} on {mountpoint}")
    return CreateError(user, facts.NO_FEATURE, f"{mount.fstype} on {os.fsdecode(mount.source)}")


def has_ecryptfs() -> bool:
    """Whether the kernel has eCryptfs, if need be after loading its module."""
    if not _is_listed() and os.path.exists(_MODPROBE):
        child.run(_MODPROBE, "--quiet", ECRYPTFS, seconds=_MODPROBE_SECONDS)
    return _is_listed()


def _is_listed() -> bool:
    with open("/proc/filesystems", encoding="ascii", errors="replace") as file:
        return any(line.split()[-1:] == [ECRYPTFS] for line in file)
