"""What fscrypt knows of a home whose owner has another name or uid: read by root, whoever the files belong to by now."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin.plan import Node, observe
from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.errors import FormatError, UnsafeFileError
from pam_pyhome.formats import fscrypt_meta as meta

if TYPE_CHECKING:
    from collections.abc import Iterator


class File(NamedTuple):
    """A metadata file: on which mount, its path and what is there."""

    mount: str
    path: str
    node: Node


class Metadata:
    """The policy of a home, and the protectors that open it, on the home's file system and on `/`.

    StorageError if the file system is not mounted as a whole; UnsafeFileError for directories that are not root's.
    """

    def __init__(self, home: str, identifier: str) -> None:
        """Read them."""
        self.mount = store.main_mount(home)
        self.path_of_policy = f"{self.mount.rstrip('/')}/{store.METADATA}/{store.POLICIES}/{identifier}"
        self.policy = self._file(self.mount, store.POLICIES, identifier)
        self.descriptors: tuple[str, ...] = ()
        self.protectors: list[tuple[File, meta.Protector]] = []
        self.links: list[File] = []
        if self.policy is not None:
            parsed = meta.parse_policy(self.policy.node.content or b"", identifier)
            self.descriptors = tuple(name for name, _ in parsed.slots)
        for descriptor in self.descriptors:
            for mount in dict.fromkeys((store.ROOT, self.mount)):
                file = self._file(mount, store.PROTECTORS, descriptor)
                if file is not None:
                    self.protectors.append((file, meta.parse_protector(file.node.content or b"", descriptor)))
            self.links += filter(None, [self._file(self.mount, store.PROTECTORS, f"{descriptor}.link")])

    def uids(self) -> Iterator[int]:
        """All uids that they name."""
        if self.policy is not None:
            yield self.policy.node.uid
        for file, protector in self.protectors:
            yield file.node.uid
            if protector.source == meta.LOGIN:
                yield protector.uid

    def others(self, descriptors: set[str]) -> Iterator[File]:
        """Other policies on these file systems that one of the protectors opens."""
        for mount in dict.fromkeys((store.ROOT, self.mount)):
            for name in _names(mount):
                file = self._file(mount, store.POLICIES, name)
                if file is None or file.path == self.path_of_policy:
                    continue
                try:
                    parsed = meta.parse_policy(file.node.content or b"", name)
                except FormatError:
                    continue
                if any(parsed.slot(descriptor) is not None for descriptor in descriptors):
                    yield file

    def _file(self, mount: str, kind: str, name: str) -> File | None:
        """A metadata file, whoever owns it, in directories of root's on that file system; None if there is none."""
        try:
            directory = store.open_metadata(mount, kind, (0,))
        except FileNotFoundError:
            return None
        try:
            where = os.readlink(f"/proc/self/fd/{directory}")
            if mount != store.ROOT and os.fstat(directory).st_dev != os.stat(mount).st_dev:
                raise UnsafeFileError(where, f"is not on the file system of {mount}")
        finally:
            os.close(directory)
        path = f"{where}/{name}"
        node = observe(path)
        return File(mount, path, node) if node is not None and node.content is not None else None


def _names(mount: str) -> list[str]:
    try:
        directory = store.open_metadata(mount, store.POLICIES, (0,))
    except (OSError, UnsafeFileError):
        return []
    try:
        found = [name for name in os.listdir(directory) if meta.is_hex(name, meta.IDENTIFIER_DIGITS)]
        return sorted(found)[: store.MOST_POLICIES]
    finally:
        os.close(directory)
