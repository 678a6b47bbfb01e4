"""An eCryptfs home of another installation: its keys, and its mount, without the account that it belonged to.

Nothing on such a disk is believed. Files are found by where they are and not by what others say (`Private.mnt` is not
read), they may be anybody's, no link is followed, and a passphrase counts only if its signatures are in `Private.sig`, or in the
ciphertext.
"""

from __future__ import annotations

import os

from pam_pyhome.backends.ecryptfs_store import CONFIG, LIMITS, LOWER, PREVIOUS
from pam_pyhome.backends.ecryptfs_unlock import kernel_keys, open_wrapped
from pam_pyhome.errors import FormatError, PassphraseLengthError, StorageError, UnsafeFileError, WrongPassphraseError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats.ecryptfs_key import SALT_DEFAULT
from pam_pyhome.formats.ecryptfs_traces import HEADER_SIZE, parse_header, parse_name
from pam_pyhome.formats.ecryptfs_wrapped import parse_wrapped
from pam_pyhome.kernel import files, keyring, mounts
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.backends.ecryptfs_unlock import Keys
    from pam_pyhome.formats.ecryptfs_layout import Cipher, Signatures
    from pam_pyhome.formats.ecryptfs_traces import Trace
    from pam_pyhome.formats.mountinfo import Mount

FSTYPE = "ecryptfs"
_WRAPS = (layout.WRAPPED, layout.RECOVERY, PREVIOUS)
_MOST_LOOKED_AT = 32  # names in a directory, and directories, when signatures are looked for in the ciphertext
_WRAP_LIMIT = LIMITS[layout.WRAPPED]


class KeyFiles(Record):
    """What there is to open a home with: the recorded signatures, all wrapped passphrases, the salts to try."""

    signatures: tuple[Signatures, ...]
    wraps: tuple[bytes, ...]
    salts: tuple[bytes, ...]
    trouble: tuple[str, ...] = ()


def is_home(path: str) -> bool:
    """Whether the directory at `path` has the ciphertext of an eCryptfs home in it. No link is followed."""
    try:
        os.close(files.open_listable(f"{path}/{LOWER}"))
    except OSError:
        return False
    return True


def read_key_files(path: str, copies: tuple[str, ...], others: tuple[str, ...] = ()) -> KeyFiles:
    """The key files of the home at `path`.

    `copies`: directories with good copies of them; signatures are taken from there only if the home has none, and from the
    ciphertext only if there are none there either. `others`: where else `.ecryptfsrc` may be.
    """
    trouble: list[str] = []
    signatures = _signatures((f"{path}/{CONFIG}",), trouble) or _signatures(copies, trouble) or traced(f"{path}/{LOWER}")
    wraps = [content for place in (f"{path}/{CONFIG}", *copies) for content in _wraps(place, trouble)]
    own = [salt for place in (path, *others) for salt in _salt(place)]
    return KeyFiles(signatures, tuple(dict.fromkeys(wraps)), tuple(dict.fromkeys((*own, SALT_DEFAULT))), tuple(trouble))


def _read(path: str, limit: int, trouble: list[str]) -> bytes | None:
    """A file; None if there is none, or none that can be used, of which `trouble` is told."""
    try:
        return files.read_anybodys(path, limit)
    except FileNotFoundError:
        return None
    except (OSError, UnsafeFileError) as error:
        trouble.append(f"{path}: {getattr(error, 'reason', None) or getattr(error, 'strerror', None) or error}")
        return None


def _signatures(places: tuple[str, ...], trouble: list[str]) -> tuple[Signatures, ...]:
    found = []
    for place in places:
        path = f"{place}/{layout.SIGNATURES}"
        content = _read(path, LIMITS[layout.SIGNATURES], trouble)
        if content is not None:
            try:
                found.append(layout.parse_signatures(content))
            except FormatError as error:
                trouble.append(f"{path}: {error.reason}")
    return tuple(dict.fromkeys(found))


def _traces(lower: str) -> tuple[list[Trace], list[Trace]]:
    """What the ciphertext tells of its keys: the first names that do, and the first files."""
    names: list[Trace] = []
    contents: list[Trace] = []
    waiting = [lower]
    for place in waiting:
        for name, is_file in _entries(place):
            names += filter(None, (parse_name(os.fsencode(name)),))
            if is_file:
                contents += filter(None, (parse_header(_head(f"{place}/{name}")),))
            elif len(waiting) < _MOST_LOOKED_AT:
                waiting.append(f"{place}/{name}")
        if contents:
            break
    return names, contents


def traced(lower: str) -> tuple[Signatures, ...]:
    """The signatures that the ciphertext has in it."""
    names, contents = _traces(lower)
    return (layout.Signatures(contents[0].signature, names[0].signature if names else None),) if contents else ()


def _ciphers(lower: str) -> tuple[Cipher, Cipher]:
    """Those of contents and of names, as the ciphertext tells them; where there is none yet, those of ecryptfs-utils."""
    names, contents = ([trace.cipher for trace in traces if trace.cipher] for traces in _traces(lower))
    of_contents = next(iter(contents or names), layout.AES_128)
    of_names = next(iter(names), of_contents)
    # A name does not say how long its key is where the cipher takes several; the files beside it do.
    return of_contents, of_contents if of_names.name == of_contents.name != layout.AES_128.name else of_names


def _entries(place: str) -> list[tuple[str, bool]]:
    """Names of some files, and of some directories, and whether each is a file."""
    try:
        directory = files.open_listable(place)
    except OSError:
        return []
    try:
        with os.scandir(directory) as entries:
            found = [entry for entry, _ in zip(entries, range(_MOST_LOOKED_AT)) if not entry.is_symlink()]
            return [(entry.name, not entry.is_dir(follow_symlinks=False)) for entry in found]
    except OSError:
        return []
    finally:
        os.close(directory)


def _head(path: str) -> bytes:
    """The beginning of a regular file, or nothing."""
    try:
        return files.read_head(path, HEADER_SIZE)
    except OSError:
        return b""


def _wraps(place: str, trouble: list[str]) -> Iterator[bytes]:
    for name in _WRAPS:
        content = _read(f"{place}/{name}", _WRAP_LIMIT, trouble)
        if content is not None:
            try:
                parse_wrapped(content)
                yield content
            except FormatError as error:
                trouble.append(f"{place}/{name}: {error.reason}")


def _salt(place: str) -> Iterator[bytes]:
    content = _read(f"{place}/{layout.RC}", LIMITS[layout.RC], [])
    try:
        salt = layout.parse_salt(content) if content is not None else None
    except FormatError:
        return
    if salt is not None:
        yield salt


def unlock(found: KeyFiles, secrets: tuple[bytes, ...]) -> Keys:
    """The kernel keys, if one of `secrets` is the mount passphrase or the password of any wrapped one. WrongPassphraseError."""
    for secret in secrets:
        try:
            return kernel_keys(secret, found.signatures, found.salts)
        except (FormatError, PassphraseLengthError):
            pass  # not the mount passphrase
        for content in found.wraps:
            try:
                return open_wrapped(content, secret, found.signatures, found.salts).keys
            except (WrongPassphraseError, FormatError):
                continue
    raise WrongPassphraseError


def mounted_at(path: str, found: list[Mount]) -> str | None:
    """Where the home at `path` is open already, be it by its owner's login: two mounts would not see each other's changes."""
    try:
        lower = os.lstat(f"{path}/{LOWER}")
    except OSError:
        return None
    for mount in found:
        if mount.fstype == FSTYPE:
            try:
                source = os.lstat(mount.source)
            except OSError:
                continue
            if (source.st_dev, source.st_ino) == (lower.st_dev, lower.st_ino):
                return os.fsdecode(mount.mountpoint)
    return None


def mount(path: str, keys: Keys, target: int, *, writable: bool) -> None:
    """Mount the home at `path` on the directory open as `target`. StorageError.

    The keys go into this process's own keyring, which ends with it. Nothing on the home makes a process more than it is.
    """
    names = [signature for signature, _ in keys]
    signatures = layout.Signatures(names[-1], names[0] if len(names) > 1 else None)
    options = layout.mount_options(signatures, _ciphers(f"{path}/{LOWER}"), own=False)
    flags = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC | (0 if writable else mounts.MS_RDONLY)
    lower = files.open_listable(f"{path}/{LOWER}")
    try:
        for signature, payload in keys:
            keyring.add_key("user", signature, payload, keyring.KEY_SPEC_PROCESS_KEYRING)
        mounts.mount(f"/proc/self/fd/{lower}", target, FSTYPE, flags, options)
    except OSError as error:
        raise StorageError(f"mounting {path}/{LOWER}", mounts.reason(error)) from error
    finally:
        os.close(lower)
