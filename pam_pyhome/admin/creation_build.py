"""The parts of a new home: made and filled where nobody looks, then put in their places."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pam_pyhome.admin import account_tools
from pam_pyhome.admin import creation_facts as facts
from pam_pyhome.admin.creation_choice import ECRYPTFS
from pam_pyhome.admin.creation_record import TREE, placing
from pam_pyhome.admin.plan import sync_directory
from pam_pyhome.backends import ecryptfs_create, ecryptfs_store, fscrypt_create, fscrypt_store
from pam_pyhome.backends.base import Account
from pam_pyhome.backends.fscrypt import FscryptBackend
from pam_pyhome.errors import CreateError, StorageError, WrongPassphraseError
from pam_pyhome.kernel.durable import sync_below

if TYPE_CHECKING:
    from pam_pyhome.admin.creation_record import Records
    from pam_pyhome.backends.ecryptfs_create import Reopen
    from pam_pyhome.formats.fscrypt_meta import Costs

SKELETON = "/etc/skel"
_PREFIX = ".pyhome-new."


def staged_home(account: Account) -> str:
    """Where the home directory is made: beside its place, so that a rename puts it there."""
    parent = os.path.dirname(account.home)
    return f"{parent.rstrip('/')}/{_PREFIX}{account.name}"


def _staged_storage(account: Account) -> str:
    """In a directory of root's, because the storage itself is the user's while root works in it."""
    return f"{ecryptfs_store.SHARED}/{_PREFIX}{account.name}/storage"


def where_all(account: Account, backend: str) -> tuple[str, ...]:
    """The directories that all which is made lies in."""
    parent = os.path.dirname(account.home)
    if backend == ECRYPTFS:
        return (parent, ecryptfs_store.SHARED if os.path.isdir(ecryptfs_store.SHARED) else os.path.dirname(ecryptfs_store.SHARED))
    return (parent, fscrypt_store.main_mount(parent))


def build(records: Records, account: Account, password: bytes, recovery: str, costs: Costs | None) -> None:
    """Make the home with the files of /etc/skel in it, locked; `costs` if it is one of fscrypt's. Errors as of `create`."""
    home = staged_home(account)
    records.note(account.name, (TREE, home))
    os.mkdir(home, 0o700)
    if costs is None:
        _build_ecryptfs(records, account, password, recovery.encode("ascii"), home)
        return
    os.chown(home, account.uid, account.gid)
    staged = Account(account.name, account.uid, account.gid, home)
    backend = FscryptBackend()
    try:
        created = fscrypt_create.create(
            staged, password, costs, recovery.encode("ascii"), lambda step: records.note(account.name, step)
        )
        _fill(staged, records.lock)
        sync_below(home)
        backend.detach(created.record)
        backend.unlock(staged, password, exact=True)
    except WrongPassphraseError:
        raise CreateError(account.name, facts.OTHER_PROTECTOR) from None


def _build_ecryptfs(records: Records, account: Account, password: bytes, passphrase: bytes, home: str) -> None:
    storage = _staged_storage(account)
    if not os.path.isdir(ecryptfs_store.SHARED):
        os.mkdir(ecryptfs_store.SHARED, 0o755)
        os.chmod(ecryptfs_store.SHARED, 0o755)
    records.note(account.name, (TREE, os.path.dirname(storage)))
    for path in (os.path.dirname(storage), storage):
        os.mkdir(path, 0o700)
    ecryptfs_create.lay_out(account, password, passphrase, storage, home)
    staged = Account(account.name, account.uid, account.gid, home)

    def work(_reopen: Reopen) -> None:
        ecryptfs_create.link_storage(account, home)
        _fill(staged, records.lock)
        sync_below(home)

    ecryptfs_create.with_open(staged, passphrase, storage, home, work)
    sync_below(storage)


def _fill(staged: Account, lock: int) -> None:
    """Copy the files that every new home begins with, with the user's rights, and make the directory private."""
    if os.path.isdir(SKELETON):
        preserve = "--preserve=mode,timestamps,links"
        copy = ("cp", "--recursive", "--no-target-directory", preserve, "--", SKELETON, staged.home)
        status, _, complaint = account_tools.run(copy, lock, rights=staged)
        if status != 0:
            raise StorageError(f"copying {SKELETON}", complaint)
    os.chmod(staged.home, 0o700)


def note_places(records: Records, account: Account, backend: str) -> None:
    """Put on record what takes `place` back."""
    for staged, final in _places(account, backend):
        records.note(account.name, placing(staged, final))


def _places(account: Account, backend: str) -> tuple[tuple[str, str], ...]:
    """What is renamed to what."""
    home = (staged_home(account), account.home)
    if backend != ECRYPTFS:
        return (home,)
    return ((_staged_storage(account), ecryptfs_store.storage_of(account)), home)


def place(account: Account, backend: str) -> None:
    """Put everything in its place, the home directory last. OSError."""
    for staged, final in _places(account, backend):
        os.rename(staged, final)
        if staged == _staged_storage(account):
            os.rmdir(os.path.dirname(staged))
        sync_directory(os.path.dirname(final))
