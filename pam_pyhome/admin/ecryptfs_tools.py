"""What the ecryptfs-* tools do with wrapped-passphrase files and the user keyring, for whoever runs the command.

Files are read and written with the rights of the owner of their directory if root runs the command, so that the result
belongs to the user again. A file that is replaced is kept beside as ``<name>.old``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.errors import StorageError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats.ecryptfs_authtok import emit_auth_token
from pam_pyhome.formats.ecryptfs_key import (
    SALT_DEFAULT,
    SALT_FNEK,
    SALT_SIZE,
    DerivedKey,
    check_passphrase,
    derive_key,
    wrapping_passphrase,
)
from pam_pyhome.formats.ecryptfs_wrapped import MAX_SIZE, emit_wrapped, parse_wrapped
from pam_pyhome.formats.ecryptfs_wrapped import unwrap as unwrap_format
from pam_pyhome.formats.ecryptfs_wrapped import wrap as wrap_format
from pam_pyhome.kernel import files, keyring
from pam_pyhome.kernel.cipher import aes128_ecb_decrypt, aes128_ecb_encrypt
from pam_pyhome.kernel.digest import stretch
from pam_pyhome.kernel.process import rights_of

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD_SUFFIX = ".old"
_RC_MAX = 65536
_ABSENT_KEY = {errno.ENOKEY, errno.EKEYREVOKED, errno.EKEYEXPIRED}


class _Place(NamedTuple):
    """A file name in an open directory, and the uids whose files are believed there."""

    directory: int
    name: str
    owners: tuple[int, ...]

    def read(self, limit: int) -> bytes:
        return files.read_file(self.directory, self.name, owners=self.owners, limit=limit)

    def replace(self, content: bytes) -> None:
        """Put `content` in place, mode 0600; what was there goes to ``<name>.old`` first."""
        with contextlib.suppress(FileNotFoundError):
            files.replace_file(self.directory, self.name + OLD_SUFFIX, self.read(_RC_MAX))
        files.replace_file(self.directory, self.name, content)


@contextlib.contextmanager
def _place(path: str) -> Iterator[_Place]:
    """Open the directory of `path` and act there with the rights that fit. Links on the way are the caller's own choice."""
    directory, name = os.path.split(path)
    if name in {"", os.curdir, os.pardir}:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    fd = os.open(directory or os.curdir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        foreign = os.geteuid() == 0 and status.st_uid != 0
        with rights_of(status.st_uid, status.st_gid) if foreign else contextlib.nullcontext():
            yield _Place(fd, name, (os.geteuid(), status.st_uid))
    finally:
        os.close(fd)


def _home() -> str:
    """The home of who runs the command, by the password database and not by the environment, as the originals have it."""
    return pwd.getpwuid(os.getuid()).pw_dir


def default_file() -> str:
    """The wrapped-passphrase file of who runs the command."""
    return os.path.join(_home(), ".ecryptfs", layout.WRAPPED)


def own_salt() -> bytes:
    """The salt for file keys and version 1 files: that of ``~/.ecryptfsrc``, else the default. FormatError if it is malformed."""
    try:
        with _place(os.path.join(_home(), layout.RC)) as place:
            return layout.parse_salt(place.read(_RC_MAX)) or SALT_DEFAULT
    except FileNotFoundError:
        return SALT_DEFAULT


def _open(data: bytes, password: bytes) -> bytes:
    """The mount passphrase in a file's content."""
    wrapped = parse_wrapped(data)
    salt = wrapped.salt if wrapped.version == 2 else own_salt()
    return unwrap_format(wrapped, _wrapping_key(password, salt), aes128_ecb_decrypt)


def _seal(passphrase: bytes, password: bytes) -> bytes:
    """The content of a version 2 file with a fresh salt."""
    check_passphrase(passphrase, "mount passphrase")
    salt = os.urandom(SALT_SIZE)
    return emit_wrapped(wrap_format(passphrase, _wrapping_key(password, salt), salt, aes128_ecb_encrypt))


def _wrapping_key(password: bytes, salt: bytes) -> DerivedKey:
    return derive_key(wrapping_passphrase(password), salt, stretch, role="wrapping passphrase")


def unwrap(path: str, password: bytes) -> bytes:
    """The mount passphrase in the file at `path`.

    Raises WrongPassphraseError, PassphraseLengthError, FormatError, UnsafeFileError and OSError.
    """
    with _place(path) as place:
        data = place.read(MAX_SIZE)
    return _open(data, password)


def wrap(path: str, passphrase: bytes, password: bytes) -> None:
    """Write a version 2 file with a mount passphrase. Raises PassphraseLengthError, UnsafeFileError and OSError."""
    content = _seal(passphrase, password)
    with _place(path) as place:
        place.replace(content)


def rewrap(path: str, old: bytes, new: bytes) -> None:
    """Wrap with `new` what `old` opens. Raises what `unwrap` does, and StorageError if somebody else changed the file meanwhile."""
    with _place(path) as place:
        data = place.read(MAX_SIZE)
    content = _seal(_open(data, old), new)
    with _place(path) as place:
        if place.read(MAX_SIZE) != data:
            raise StorageError(path, "was changed by somebody else meanwhile")
        place.replace(content)


def add(passphrase: bytes, *, filenames: bool) -> tuple[str, ...]:
    """Add the file key of a mount passphrase to the user keyring, then with `filenames` the filename key; their signatures.

    Raises PassphraseLengthError and OSError.
    """
    salts = (own_salt(), SALT_FNEK) if filenames else (own_salt(),)
    return tuple(_add_key(passphrase, salt) for salt in salts)


def insert(passphrase: bytes) -> str:
    """Add both keys of a mount passphrase to the user keyring, that for filenames first; the signature of the file key."""
    _add_key(passphrase, SALT_FNEK)
    return _add_key(passphrase, own_salt())


def _add_key(passphrase: bytes, salt: bytes) -> str:
    """One key into the user keyring, unless it is there; its signature."""
    key = derive_key(passphrase, salt, stretch)
    try:
        keyring.search(keyring.KEY_SPEC_USER_KEYRING, "user", key.signature)
    except OSError as error:
        if error.errno not in _ABSENT_KEY:
            raise
        keyring.add_key("user", key.signature, emit_auth_token(key, salt), keyring.KEY_SPEC_USER_KEYRING)
    return key.signature
