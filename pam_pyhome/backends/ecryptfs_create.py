"""Making an eCryptfs home as `ecryptfs-setup-private -b` leaves one, except that the login password opens it at once.

Root calls this. Nothing is written where the home will be: key files and ciphertext grow in one directory, which becomes
`/home/.ecryptfs/USER`, and what the home is mounted on in another, which becomes the home directory.
"""

from __future__ import annotations

import os

from pam_pyhome.backends import ecryptfs_store as store
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats.ecryptfs_authtok import emit_auth_token
from pam_pyhome.formats.ecryptfs_key import (
    SALT_DEFAULT,
    SALT_FNEK,
    SALT_SIZE,
    check_passphrase,
    derive_key,
    wrapping_passphrase,
)
from pam_pyhome.formats.ecryptfs_wrapped import emit_wrapped, wrap
from pam_pyhome.kernel import files, keyring, mounts, namespace
from pam_pyhome.kernel.cipher import aes128_ecb_encrypt
from pam_pyhome.kernel.digest import stretch
from pam_pyhome.kernel.process import real_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account

    Reopen = Callable[[Callable[[], None]], None]

FSTYPE = "ecryptfs"
_TEXTS = "/usr/share/ecryptfs-utils/ecryptfs-mount-private"
_HINTS = {"README.txt": f"{_TEXTS}.txt", "Access-Your-Private-Data.desktop": f"{_TEXTS}.desktop"}
_SECONDS = 600.0


def lay_out(account: Account, password: bytes, passphrase: bytes, place: str, mountpoint: str) -> None:
    """Fill the empty directories `place` and `mountpoint` with the locked home of `account`; both become the user's.

    `passphrase`: the mount passphrase, 1 to 64 bytes. Raises PassphraseLengthError and OSError.
    """
    check_passphrase(passphrase, "mount passphrase")
    salt = os.urandom(SALT_SIZE)
    wrapping = derive_key(wrapping_passphrase(password), salt, stretch, role="login password")
    keys = [derive_key(passphrase, each, stretch) for each in (SALT_DEFAULT, SALT_FNEK)]
    contents = {
        layout.WRAPPED: emit_wrapped(wrap(passphrase, wrapping, salt, aes128_ecb_encrypt)),
        layout.SIGNATURES: b"".join(b"%s\n" % key.signature.encode("ascii") for key in keys),
        layout.MOUNTPOINT: os.fsencode(account.home) + b"\n",
        layout.AUTO_MOUNT: b"",
        layout.AUTO_UMOUNT: b"",
    }
    for name in (store.CONFIG, store.LOWER):
        _make_directory(account, f"{place}/{name}")
    config = files.open_directory(f"{place}/{store.CONFIG}", owners=(account.uid,))
    try:
        for name, content in contents.items():
            files.replace_file(config, name, content)
            os.chown(name, account.uid, account.gid, dir_fd=config, follow_symlinks=False)
    finally:
        os.close(config)
    _link(account, mountpoint, _HINTS)
    link_storage(account, mountpoint)
    for path, mode in ((place, 0o700), (mountpoint, 0o500)):
        os.chmod(path, mode)
        os.chown(path, account.uid, account.gid)


def _make_directory(account: Account, path: str) -> None:
    os.mkdir(path, 0o700)
    os.chown(path, account.uid, account.gid)


def _link(account: Account, directory: str, targets: dict[str, str]) -> None:
    for name, target in targets.items():
        os.symlink(target, f"{directory}/{name}")
        os.chown(f"{directory}/{name}", account.uid, account.gid, follow_symlinks=False)


def link_storage(account: Account, directory: str) -> None:
    """The links to the key files and the ciphertext, which a home has in it both locked and open."""
    _link(account, directory, {name: store.shared_path(account, name) for name in (store.CONFIG, store.LOWER)})


def with_open(
    account: Account, passphrase: bytes, place: str, mountpoint: str, work: Callable[[Reopen], None], *, seconds: float = _SECONDS
) -> None:
    """Do `work` while what was laid out is mounted on `mountpoint`, in a process whose mounts nobody else sees.

    `work` is given what unmounts it, does something, and mounts it again. The mounts are gone when the process ends, however it
    ends, and after so many `seconds` in any case. StorageError with what went wrong there.
    """

    def inside() -> bytes:
        def mount() -> None:
            _mount(account, passphrase, f"{place}/{store.LOWER}", mountpoint)

        def reopen(between: Callable[[], None]) -> None:
            _unmount(mountpoint)
            between()
            mount()

        mount()
        work(reopen)
        return b""

    namespace.run(f"filling {mountpoint}", inside, seconds=seconds)


def _mount(account: Account, passphrase: bytes, lower: str, mountpoint: str) -> None:
    """The keys go into this process's own keyring."""
    keys = [(derive_key(passphrase, salt, stretch), salt) for salt in (SALT_DEFAULT, SALT_FNEK)]
    for key, salt in keys:
        keyring.add_key("user", key.signature, emit_auth_token(key, salt), keyring.KEY_SPEC_PROCESS_KEYRING)
    options = layout.mount_options(layout.Signatures(keys[0][0].signature, keys[1][0].signature))
    target = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with real_user(account.uid):
            mounts.mount(lower, target, FSTYPE, mounts.MS_NOSUID | mounts.MS_NODEV, options)
    finally:
        os.close(target)


def _unmount(mountpoint: str) -> None:
    parent = os.open(os.path.dirname(mountpoint), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mounts.umount(parent, os.fsencode(os.path.basename(mountpoint)))
    finally:
        os.close(parent)
