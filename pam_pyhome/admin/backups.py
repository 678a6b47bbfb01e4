"""The copies of key files and metadata that are kept outside the homes: what they are, and putting one back in its place.

They are in `/var/lib/pyhome/UID.USER`, where only root gets to.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pam_pyhome.backends import ecryptfs_store, fscrypt_protectors, fscrypt_renew, kept, replacing
from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.ecryptfs import PARSERS
from pam_pyhome.backends.fscrypt_find import policy_copy, protector_copy
from pam_pyhome.errors import FormatError, RestoreError, StorageError, UnsafeFileError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.kernel.files import STAGED_SUFFIX
from pam_pyhome.kernel.process import rights_of

if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account

SAME, DIFFERS, MISSING, DAMAGED = "as the file", "another than the file", "the file is missing", "the copy is damaged"
NO_SUCH = "there is no such copy"
_LIMIT = 65536
_POLICY, _PROTECTOR = policy_copy(""), protector_copy("")


class Backup(NamedTuple):
    """A copy: whose, its name, what it is a copy of, where that is, how it compares to it, and when it was written (epoch)."""

    user: str
    name: str
    what: str
    path: str
    state: str
    written: int


class _Place(Protocol):
    """Where a file is of which there are copies."""

    what: str
    path: str

    def check(self, content: bytes) -> None:
        """FormatError if this cannot be in it."""

    def fit(self, content: bytes) -> bytes:
        """What this has to be there."""

    def read(self) -> bytes:
        """What is there. OSError, UnsafeFileError."""

    def write(self, content: bytes) -> None:
        """Put that there. OSError, UnsafeFileError."""


def find(account: Account) -> list[Backup]:
    """All copies of the account's files."""
    return [_describe(account, name) for name in kept.names(account) if not name.endswith(STAGED_SUFFIX)]


def _describe(account: Account, name: str) -> Backup:
    content = _content(account, name)
    place = _place(account, name, content)
    written = int(kept.age(account, name))
    if place is None:
        return Backup(account.name, name, "unknown", "", DAMAGED, written)
    older = ", for another password" if name.endswith(kept.SECOND) else ", an older one" if kept.base_of(name) != name else ""
    return Backup(account.name, name, place.what + older, place.path, _compare(place, content), written)


def _content(account: Account, name: str) -> bytes:
    return kept.read(account, name, _LIMIT) or b""


def _compare(place: _Place, content: bytes) -> str:
    try:
        place.check(content)
    except FormatError:
        return DAMAGED
    present = _present(place)
    return SAME if present == content else DIFFERS if present is not None else MISSING


def _present(place: _Place) -> bytes | None:
    """What is in the place, None if nothing that can be believed."""
    try:
        return place.read()
    except (OSError, UnsafeFileError):
        return None


def restore(account: Account, name: str) -> tuple[str, bool]:
    """Put a copy back; where, and whether that was another file.

    What is there now is kept before as the previous one, and so is the copy of the file, which is what was put back from then on.
    RestoreError for a copy that there is not, that is damaged or belongs nowhere; OSError, UnsafeFileError.
    """
    if name not in kept.names(account) or name.endswith(STAGED_SUFFIX):
        raise RestoreError(name, NO_SUCH)
    content = _content(account, name)
    place = _place(account, name, content)
    if place is None:
        raise RestoreError(name, "it is not known where it belongs")
    try:
        place.check(content)
    except FormatError as error:
        raise RestoreError(name, f"the copy is damaged: {error.reason}") from error
    present, content = _present(place), place.fit(content)
    if present == content:
        return place.path, False
    base = kept.base_of(name)
    aside = tuple(each for each in (kept.read(account, base), present) if each and each != content)
    replacing.replace(account, base, aside, content, lambda: place.write(content), is_approved=True, whole=True)
    return place.path, True


def _place(account: Account, name: str, content: bytes) -> _Place | None:
    """Where a copy belongs; None if that cannot be told."""
    base = kept.base_of(name)
    if base in ecryptfs_store.KEPT:
        return _Ecryptfs(account, base)
    try:
        if base.startswith(_POLICY):
            return _Policy(account, base.removeprefix(_POLICY))
        if base.startswith(_PROTECTOR):
            return _Protector(account, base.removeprefix(_PROTECTOR), content)
    except (StorageError, OSError):
        pass  # there is no home, or on a file system that has none of this
    return None


class _Ecryptfs:
    """A file of `~/.ecryptfs`."""

    def __init__(self, account: Account, name: str) -> None:
        with rights_of(account.uid, account.gid):
            try:
                directory = ecryptfs_store.locate(account, ecryptfs_store.CONFIG)
            except UnsafeFileError:
                directory = None
        self._account = account
        self._name = name
        self.what = {
            layout.WRAPPED: "key file",
            layout.RECOVERY: "key file for the recovery key",
            layout.SIGNATURES: "signatures of the keys",
            layout.MOUNTPOINT: "where the home is mounted",
        }[name]
        self.path = f"{directory or f'{account.home}/{ecryptfs_store.CONFIG}'}/{name}"

    def check(self, content: bytes) -> None:
        """See `_Place`."""
        PARSERS[self._name](content)

    def fit(self, content: bytes) -> bytes:
        """See `_Place`."""
        return content

    def read(self) -> bytes:
        """See `_Place`."""
        return ecryptfs_store.read(self._account, self._name)

    def write(self, content: bytes) -> None:
        """See `_Place`."""
        ecryptfs_store.recreate_config(self._account)
        ecryptfs_store.replace(self._account, self._name, content)


class _Policy:
    """A policy of the file system of the home."""

    what = "policy"

    def __init__(self, account: Account, identifier: str) -> None:
        self._account = account
        self._mount = store.main_mount(account.home)
        self._identifier = identifier
        self.path = f"{self._mount.rstrip('/')}/{store.METADATA}/{store.POLICIES}/{identifier}"

    def check(self, content: bytes) -> None:
        """See `_Place`."""
        meta.parse_policy(content, self._identifier)

    def fit(self, content: bytes) -> bytes:
        """See `_Place`."""
        return content

    def read(self) -> bytes:
        """See `_Place`."""
        return store.read(self._account, self._mount, store.POLICIES, self._identifier)

    def write(self, content: bytes) -> None:
        """See `_Place`."""
        owner = store.owner_of(self._mount, store.POLICIES, self._identifier, self._account)
        store.replace(self._mount, store.POLICIES, self._identifier, content, owner)


class _Protector:
    """A protector: that of a login on the root file system, others on that of the home, unless they are elsewhere already."""

    def __init__(self, account: Account, descriptor: str, content: bytes) -> None:
        try:
            source = meta.parse_protector(content, descriptor).source
        except FormatError:
            source = meta.LOGIN
        home = store.main_mount(account.home)
        self._account = account
        self._descriptor = descriptor
        self._home = home
        self._mount = store.ROOT if source == meta.LOGIN or self._is_on(store.ROOT) else home
        self.what = "login protector" if source == meta.LOGIN else "protector of a passphrase or recovery key"
        self.path = f"{self._mount.rstrip('/')}/{store.METADATA}/{store.PROTECTORS}/{descriptor}"

    def _is_on(self, mount: str) -> bool:
        return os.path.lexists(f"{mount.rstrip('/')}/{store.METADATA}/{store.PROTECTORS}/{self._descriptor}")

    def check(self, content: bytes) -> None:
        """See `_Place`."""
        meta.parse_protector(content, self._descriptor)

    def fit(self, content: bytes) -> bytes:
        """See `_Place`. There must be one login protector only: a second becomes one of a custom passphrase."""
        protector = meta.parse_protector(content, self._descriptor)
        others = [each for each, _ in fscrypt_protectors.of_login(self._account) if each.descriptor != self._descriptor]
        if others and protector.source == meta.LOGIN:
            return meta.as_custom(protector, fscrypt_renew.FORMER + self._account.name)
        return content

    def read(self) -> bytes:
        """See `_Place`."""
        return store.read(self._account, self._mount, store.PROTECTORS, self._descriptor)

    def write(self, content: bytes) -> None:
        """See `_Place`."""
        owner = store.owner_of(self._mount, store.PROTECTORS, self._descriptor, self._account)
        store.replace(self._mount, store.PROTECTORS, self._descriptor, content, owner)
        if self._mount != self._home:
            fscrypt_renew.put_link(self._account, self._home, self._descriptor)
