"""An fscrypt home of another installation: its metadata, wherever it is, and the key of its policy.

Nothing but what the metadata wraps is believed: a protector's or policy's file counts only if it opens to the key that it is named
after, so it does not matter whose the files are, or on which file system. Links (`DESCRIPTOR.link`) are not followed, because
the files are looked for in all places by their names.
"""

from __future__ import annotations

import os

from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.fscrypt_find import policy_copy, protector_copy
from pam_pyhome.backends.fscrypt_unlock import open_protector, policy_key
from pam_pyhome.backends.kept import PREVIOUS, RETIRED
from pam_pyhome.errors import FormatError, StorageError, UnsafeFileError, WrongPassphraseError
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.formats.fscrypt_key import policy_name
from pam_pyhome.kernel import files, fscrypt
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pam_pyhome.kernel.fscrypt import DirectoryPolicy

    Parse = Callable[[bytes, str], object]

VERSION = 2
MOST_PASSPHRASES = 8  # protectors that a single answer is tried on


class Way(Record):
    """A protector that opens a policy: both files, as they were found."""

    policy: meta.Policy
    protector: meta.Protector
    content: bytes


def policy_of(path: str) -> DirectoryPolicy | None:
    """What the directory at `path` is encrypted with, or None. OSError."""
    directory = files.open_listable(path)
    try:
        return fscrypt.policy_of(directory)
    finally:
        os.close(directory)


def policies(identifier: str, roots: Iterable[str], copies: Iterable[str]) -> tuple[meta.Policy, ...]:
    """All different files of a policy in the metadata at these roots of file systems and in these directories with good copies."""
    paths = [path for root in roots for path in _places(root, store.POLICIES, identifier)]
    found = _read(paths + [f"{place}/{policy_copy(identifier)}" for place in copies])
    return tuple(meta.parse_policy(each, identifier) for each in found if _is_good(each, identifier, meta.parse_policy))


def ways(policy: meta.Policy, roots: Iterable[str], copies: Iterable[str]) -> tuple[list[Way], list[str]]:
    """The protectors that a passphrase opens and whose files are found; and the names of those that are not found."""
    result, missing = [], []
    for descriptor, _ in policy.slots:
        found = _protectors(descriptor, roots, copies)
        for content in found:
            protector = meta.parse_protector(content, descriptor)
            if protector.source != meta.RAW:
                result.append(Way(policy, protector, content))
        if not found:
            missing.append(descriptor)
    return result, missing


def _protectors(descriptor: str, roots: Iterable[str], copies: Iterable[str]) -> list[bytes]:
    paths = [path for root in roots for path in _places(root, store.PROTECTORS, descriptor)]
    names = [protector_copy(descriptor) + suffix for suffix in ("", PREVIOUS, RETIRED)]
    found = _read(paths + [f"{place}/{name}" for place in copies for name in names])
    return [each for each in found if _is_good(each, descriptor, meta.parse_protector)]


def _places(root: str, kind: str, name: str) -> tuple[str, str]:
    """Where a file is in the metadata of a file system; also if `root` names the metadata itself."""
    return f"{root}/{store.METADATA}/{kind}/{name}", f"{root}/{kind}/{name}"


def _read(paths: Iterable[str]) -> list[bytes]:
    """The different contents of those files that can be read."""
    found = []
    for path in dict.fromkeys(paths):
        try:
            found.append(files.read_anybodys(path, meta.MAX_SIZE))
        except (OSError, UnsafeFileError):
            continue
    return list(dict.fromkeys(found))


def _is_good(content: bytes, name: str, parse: Parse) -> bool:
    try:
        parse(content, name)
    except FormatError:
        return False
    return True


def unlock(found: Iterable[Way], secrets: tuple[bytes, ...]) -> bytes:
    """The key of the policy that one of `secrets` opens. WrongPassphraseError.

    FormatError or StorageError if a protector asks for more memory than there is, and no other opens.
    """
    trouble: FormatError | None = None
    for way in tuple(found)[:MOST_PASSPHRASES]:
        for secret in secrets:
            try:
                opened = open_protector(0, way.protector.descriptor, way.content, secret)
                return policy_key(way.policy, way.protector.descriptor, opened)
            except WrongPassphraseError:
                continue
            except FormatError as error:
                trouble = trouble or error
    raise trouble or WrongPassphraseError()


def add_key(path: str, policy_key: bytes) -> None:
    """Give the file system of the home at `path` the key of its policy, with a claim of root's. OSError, StorageError."""
    directory = files.open_listable(path)
    try:
        policy = fscrypt.policy_of(directory)
        if policy is None or policy.identifier != policy_name(policy_key):
            raise StorageError(path, "its policy has changed meanwhile")
        fscrypt.add_key(directory, policy_key)
    finally:
        os.close(directory)
