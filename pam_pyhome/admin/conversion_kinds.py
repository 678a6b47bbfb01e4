"""What converting a home means for each kind: making a new one that is empty, filling it, putting its parts in their places."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, ClassVar, Protocol

from pam_pyhome.admin import creation_facts as facts
from pam_pyhome.admin import ecryptfs_tools, fscrypt_costs, tree_times
from pam_pyhome.admin.conversion_guard import guarded
from pam_pyhome.admin.conversion_record import other_home, place_of
from pam_pyhome.admin.creation_choice import ECRYPTFS
from pam_pyhome.admin.lines import Line
from pam_pyhome.admin.plan import sync_directory
from pam_pyhome.backends import (
    ecryptfs_create,
    ecryptfs_mount,
    ecryptfs_store,
    fscrypt_create,
    fscrypt_find,
    fscrypt_remove,
    fscrypt_store,
)
from pam_pyhome.backends.base import Account
from pam_pyhome.backends.fscrypt import FscryptBackend
from pam_pyhome.errors import CreateError, PyhomeError, StorageError, WrongPassphraseError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.kernel import deleting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pam_pyhome.admin.conversion_record import Record
    from pam_pyhome.backends.ecryptfs_create import Reopen
    from pam_pyhome.backends.fscrypt_create import Step

    #: Is told which part of the work is at hand, and how many bytes and files of it have been done.
    Progress = Callable[[str, int, int], None]
    #: Is called with the path of the copy, with whom to tell, and with what has to be done whenever all is copied: set the times
    #: of change, which before that are exact to the second only. None if there is nothing to do.
    Settle = Callable[[], None]
    Work = Callable[[str, Progress, Settle | None], None]

LONGEST_WORK = 20 * 24 * 3600.0


class Kind(Protocol):
    """One kind of encrypted home. Errors of `pam_pyhome.errors`; OSError passes through."""

    longest: ClassVar[int]  # how many bytes a name may have
    own_names: ClassVar[tuple[bytes, ...]]  # what is at the top of the home besides the user's files
    in_place: ClassVar[bool]  # whether there is no room for temporary names
    has_storage: ClassVar[bool]  # whether there is more to an encrypted home than its directory

    def prepare(self, account: Account, password: bytes, recovery: str, note: Callable[[Step], None]) -> None:
        """Make an empty home in the directory `place_of`, locked. `note` is told before each step what takes it back."""

    def fill(self, account: Account, password: bytes, work: Work, progress: Progress, *, lock: int) -> None:
        """Call `work` while what was prepared is open; if this process is killed, it is closed before the `lock` is free."""

    def watched(self, account: Account) -> str:
        """The tree in which every change of the encrypted home shows, also while it is locked, and wherever it is now."""

    def where(self, account: Account) -> str:
        """The directory whose file system gets the files."""

    def is_placed(self, account: Account) -> bool:
        """Whether what belongs to an encrypted home besides the home directory is in its place."""

    def place(self, account: Account) -> None:
        """Put it there."""

    def withdraw(self, account: Account) -> None:
        """Take it away from there."""

    def where_all(self, account: Account) -> tuple[str, ...]:
        """The directories that all which is made, moved and removed lies in."""

    def discard(self, record: Record) -> tuple[str, ...]:
        """Remove all that belongs to the encrypted home, which is gone; the names of protectors that something else may need."""

    def was_opened(self, account: Account) -> bool:
        """Whether the home that is in its place now has been opened with its password, by a login or by hand."""

    def origin(self, account: Account) -> tuple[str, ...]:
        """What `discard` has to know of a home that is to be decrypted. StorageError if it cannot be."""


def named(backend: str) -> Kind:
    """The kind that is called so."""
    return Ecryptfs() if backend == ECRYPTFS else Fscrypt()


@contextlib.contextmanager
def _in_hand(account: Account) -> Iterator[Account]:
    """The account with the other copy as its home, which this process alone gets to: through a descriptor, with anybody's rights.

    Whoever got in for a moment could keep a descriptor, and change under root's hands what is copied there.
    """
    home = other_home(account)
    fd = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    held = f"/proc/self/fd/{fd}/."
    try:
        yield Account(account.name, account.uid, account.gid, held)
    except StorageError as error:
        raise StorageError(error.what.replace(held, home), error.reason) from error
    finally:
        os.close(fd)


class Fscrypt:
    """The file system encrypts the home directory itself."""

    longest: ClassVar[int] = 255
    own_names: ClassVar[tuple[bytes, ...]] = ()
    in_place: ClassVar[bool] = False
    has_storage: ClassVar[bool] = False

    def prepare(self, account: Account, password: bytes, recovery: str, note: Callable[[Step], None]) -> None:
        """See `Kind.prepare`."""
        costs = fscrypt_costs.costs()
        home = other_home(account)
        os.mkdir(home, 0o700)
        os.chown(home, account.uid, account.gid)
        try:
            with _in_hand(account) as staged:
                created = fscrypt_create.create(staged, password, costs, recovery.encode("ascii"), note)
            FscryptBackend().detach(created.record)
        except WrongPassphraseError:
            raise CreateError(account.name, facts.OTHER_PROTECTOR) from None

    def fill(self, account: Account, password: bytes, work: Work, progress: Progress, *, lock: int) -> None:
        """See `Kind.fill`."""
        backend = FscryptBackend()
        with _in_hand(account) as staged:
            opened = backend.unlock(staged, password, exact=True)
            record = backend.attach(staged, opened)
        try:
            with guarded(lock, lambda: backend.detach(record)):
                work(other_home(account), progress, None)
        except BaseException:
            with contextlib.suppress(OSError, PyhomeError):
                backend.detach(record)
            raise
        backend.detach(record)

    def watched(self, account: Account) -> str:
        """The home directory; if that is plain, the other one."""
        return account.home if _has_policy(account) else other_home(account)

    def where(self, account: Account) -> str:
        """Beside the home."""
        return os.path.dirname(account.home)

    def is_placed(self, account: Account) -> bool:
        """There is nothing else."""
        return False

    def place(self, account: Account) -> None:
        """There is nothing else."""

    def withdraw(self, account: Account) -> None:
        """There is nothing else."""

    def where_all(self, account: Account) -> tuple[str, ...]:
        """Beside the home, and where the metadata of its file system is."""
        parent = os.path.dirname(account.home)
        return (parent, fscrypt_store.main_mount(parent))

    def discard(self, record: Record) -> tuple[str, ...]:
        """The metadata."""
        stayed = fscrypt_remove.take_back_all(record.account, record.steps)
        if record.policy:
            mount, identifier = record.policy
            stayed += fscrypt_remove.remove(record.account, mount, identifier)
        return stayed

    def was_opened(self, account: Account) -> bool:
        """A good copy of its policy is kept."""
        policy = fscrypt_find.kernel_policy(account)
        return policy is not None and fscrypt_find.read_kept(account, fscrypt_find.policy_copy(policy.identifier)) is not None

    def origin(self, account: Account) -> tuple[str, ...]:
        """Where its policy is."""
        home = fscrypt_find.find_home(account)
        if home is None:
            raise StorageError(account.home, "is not encrypted")
        return (home.mount, home.policy.identifier)


def _has_policy(account: Account) -> bool:
    return fscrypt_find.kernel_policy(account) is not None


class Ecryptfs:
    """The home directory is what `/home/.ecryptfs/USER/.Private` is mounted on."""

    longest: ClassVar[int] = 143
    own_names: ClassVar[tuple[bytes, ...]] = (os.fsencode(ecryptfs_store.CONFIG), os.fsencode(ecryptfs_store.LOWER))
    in_place: ClassVar[bool] = True
    has_storage: ClassVar[bool] = True

    def prepare(self, account: Account, password: bytes, recovery: str, note: Callable[[Step], None]) -> None:
        """See `Kind.prepare`."""
        place, storage = os.path.dirname(_staged(account)), _staged(account)
        if not os.path.isdir(ecryptfs_store.SHARED):
            os.mkdir(ecryptfs_store.SHARED, 0o755)
            os.chmod(ecryptfs_store.SHARED, 0o755)
        for path in (place, storage, other_home(account)):
            os.mkdir(path, 0o700)
        ecryptfs_create.lay_out(account, password, recovery.encode("ascii"), storage, other_home(account))

    def fill(self, account: Account, password: bytes, work: Work, progress: Progress, *, lock: int) -> None:
        """See `Kind.fill`. It is mounted where only the process that does the work can see it."""
        storage, home = _staged(account), other_home(account)
        passphrase = ecryptfs_tools.unwrap(f"{storage}/{ecryptfs_store.CONFIG}/{layout.WRAPPED}", password)
        staged = Account(account.name, account.uid, account.gid, home)
        with Line(progress) as line:

            def inside(reopen: Reopen) -> None:
                line.carry(lambda: self._inside(account, home, work, line.tell, reopen))

            ecryptfs_create.with_open(staged, passphrase, storage, home, inside, seconds=LONGEST_WORK)

    def _inside(self, account: Account, home: str, work: Work, progress: Progress, reopen: Reopen) -> None:
        with contextlib.suppress(FileExistsError):
            ecryptfs_create.link_storage(account, home)
        lower = self.watched(account)

        def settle() -> None:
            times = tree_times.times(account.home, home, self.own_names)
            reopen(lambda: tree_times.put(times, lower))

        work(home, progress, settle)

    def watched(self, account: Account) -> str:
        """The ciphertext."""
        place = ecryptfs_store.storage_of(account) if self.is_placed(account) else _staged(account)
        return f"{place}/{ecryptfs_store.LOWER}"

    def where(self, account: Account) -> str:
        """Where the ciphertext of all homes is."""
        return ecryptfs_store.SHARED if os.path.isdir(ecryptfs_store.SHARED) else os.path.dirname(ecryptfs_store.SHARED)

    def is_placed(self, account: Account) -> bool:
        """The key files and the ciphertext are where they belong."""
        return os.path.lexists(ecryptfs_store.storage_of(account))

    def place(self, account: Account) -> None:
        """See `Kind.place`."""
        os.rename(_staged(account), ecryptfs_store.storage_of(account))
        os.rmdir(os.path.dirname(_staged(account)))
        sync_directory(os.path.dirname(ecryptfs_store.storage_of(account)))

    def withdraw(self, account: Account) -> None:
        """See `Kind.withdraw`."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(_staged(account)), 0o700)
        os.rename(ecryptfs_store.storage_of(account), _staged(account))
        sync_directory(os.path.dirname(ecryptfs_store.storage_of(account)))

    def where_all(self, account: Account) -> tuple[str, ...]:
        """Beside the home, and where the ciphertext is."""
        return (os.path.dirname(account.home), self.where(account))

    def discard(self, record: Record) -> tuple[str, ...]:
        """Key files and ciphertext that are not in their place."""
        deleting.delete(os.path.dirname(_staged(record.account)))
        return ()

    def was_opened(self, account: Account) -> bool:
        """The good copy of its signatures is of this home."""
        content = ecryptfs_store.read_kept(account, layout.SIGNATURES)
        return content is not None and content == ecryptfs_store.read(account, layout.SIGNATURES)

    def origin(self, account: Account) -> tuple[str, ...]:
        """Only homes that are encrypted as a whole, in the usual place."""
        if ecryptfs_mount.mountpoint(account) != os.fsencode(os.path.realpath(account.home)):
            raise StorageError(account.home, "is not encrypted as a whole")
        if not self.is_placed(account):
            raise StorageError(ecryptfs_store.storage_of(account), "there is no such directory")
        return ()


def _staged(account: Account) -> str:
    return f"{ecryptfs_store.SHARED}/{os.path.basename(place_of(account))}/storage"
