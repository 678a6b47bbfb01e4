"""Which metadata describes an fscrypt home: its policy, the protectors that count, and the good copies of both."""

from __future__ import annotations

import os
import pwd

from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends import kept
from pam_pyhome.errors import FormatError, StorageError, UnsafeFileError
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.kernel.fscrypt import policy_of
from pam_pyhome.kernel.process import rights_of
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account
    from pam_pyhome.kernel.fscrypt import DirectoryPolicy

MISSING = b""


class Home(Record):
    """An encrypted home directory: its policy, where its file system is mounted, and its protectors that count.

    Where there is a login protector, only that does. `spare` is the good copy of the policy, if it is another. What a recovery key
    opens is in `recovery`, and in `protectors` only where none is for the login.
    """

    policy: meta.Policy
    spare: meta.Policy | None
    mount: str
    protectors: tuple[Candidate, ...]
    recovery: tuple[Candidate, ...] = ()

    @property
    def follows_login(self) -> bool:
        """Whether it is the login password that opens it."""
        return any(candidate.is_login for candidate in self.protectors)


class Candidate(Record):
    """A protector and where its file is. `live` is the file, which may be MISSING; `trouble` what is wrong with it."""

    descriptor: str
    mount: str
    live: bytes
    trouble: FormatError | StorageError | UnsafeFileError | None
    is_login: bool
    is_recovery: bool = False


def kernel_policy(account: Account) -> DirectoryPolicy | None:
    """What the home directory is encrypted with, as the kernel says, or None. OSError if it cannot be looked at."""
    with rights_of(account.uid, account.gid):
        return policy_at(account.home)


def policy_at(path: str) -> DirectoryPolicy | None:
    """The same for any directory, with the rights of now."""
    try:
        directory = store.open_directory(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return policy_of(directory)
    finally:
        os.close(directory)


def find_home(account: Account) -> Home | None:
    """The home as its metadata describes it; None if it is not encrypted, or not for this account's passphrases.

    StorageError or UnsafeFileError for metadata that is missing or must not be believed, FormatError if it is damaged; the good
    copy counts in its place, if there is one.
    """
    found = kernel_policy(account)
    if found is None:
        return None
    mount = store.main_mount(account.home)
    policy = read_policy(account, mount, found.identifier)
    if policy is None:
        return None
    candidates = [_candidate(account, mount, descriptor) for descriptor, _ in policy.slots]
    usable = tuple(each for each in candidates if each is not None)
    if not usable:
        return None
    protectors = tuple(candidate for candidate in usable if candidate.is_login) or usable
    recovery = tuple(candidate for candidate in usable if candidate.is_recovery)
    return Home(policy, _spare(account, policy), mount, protectors, recovery)


def _spare(account: Account, policy: meta.Policy) -> meta.Policy | None:
    """The good copy of a policy, if there is one and it differs."""
    content = read_kept(account, policy_copy(policy.identifier))
    return None if content in (None, policy.message.emit()) else meta.parse_policy(content or b"", policy.identifier)


def policy_copy(identifier: str) -> str:
    """What the good copy of a policy is called."""
    return f"fscrypt-policy-{identifier}"


def protector_copy(descriptor: str) -> str:
    """What the good copy of a protector is called."""
    return f"fscrypt-protector-{descriptor}"


def read_kept(account: Account, name: str) -> bytes | None:
    """The good copy of a metadata file, or None."""
    return kept.read(account, name, meta.MAX_SIZE)


def read_policy(account: Account, mount: str, identifier: str) -> meta.Policy | None:
    """The policy's file or the good copy of it; None if there is neither: another tool may have made the policy.

    StorageError, UnsafeFileError or FormatError if the file is of no use, and there is no copy.
    """
    copy = policy_copy(identifier)
    try:
        return meta.parse_policy(store.read(account, mount, store.POLICIES, identifier), identifier)
    except (OSError, UnsafeFileError, FormatError) as error:
        content = read_kept(account, copy)
        if content is not None:
            return meta.parse_policy(content, identifier)
        if isinstance(error, FileNotFoundError):
            return None
        raise store.explain(error) if isinstance(error, OSError) else error from None


def _candidate(account: Account, home_mount: str, descriptor: str) -> Candidate | None:
    """The protector, if it is one that a passphrase of this account opens. Where nothing can be read, it may be that."""
    trouble: FormatError | StorageError | UnsafeFileError | None = None
    for mount in dict.fromkeys((store.ROOT, home_mount)):
        try:
            content = store.read(account, mount, store.PROTECTORS, descriptor)
            return _judge(account, meta.parse_protector(content, descriptor), mount, content, None)
        except FileNotFoundError as error:
            trouble = trouble or store.explain(error)
        except OSError as error:
            trouble = store.explain(error)
        except UnsafeFileError as error:
            trouble = error
        except FormatError as error:
            return _from_copy(account, descriptor, mount, content, error)
    return _from_copy(account, descriptor, store.ROOT, MISSING, trouble)


def _from_copy(
    account: Account, descriptor: str, mount: str, live: bytes, trouble: FormatError | StorageError | UnsafeFileError | None
) -> Candidate | None:
    """A protector whose file is not usable: as its good copy describes it; without a copy, a damaged one counts as the login's."""
    content = read_kept(account, protector_copy(descriptor))
    if content is None:
        is_damaged = isinstance(trouble, FormatError)
        return Candidate(descriptor, mount, live, trouble, is_login=True) if is_damaged else None
    return _judge(account, meta.parse_protector(content, descriptor), mount, live, trouble)


def _judge(
    account: Account,
    protector: meta.Protector,
    mount: str,
    live: bytes,
    trouble: FormatError | StorageError | UnsafeFileError | None,
) -> Candidate | None:
    if protector.source == meta.LOGIN and (protector.uid == account.uid or _has_moved(account, protector, mount, trouble)):
        return Candidate(protector.descriptor, mount, live, trouble, is_login=True)
    if protector.source == meta.CUSTOM:
        is_recovery = protector.name.startswith(meta.RECOVERY_NAME)
        return Candidate(protector.descriptor, mount, live, trouble, is_login=False, is_recovery=is_recovery)
    return None


def _has_moved(
    account: Account, protector: meta.Protector, mount: str, trouble: FormatError | StorageError | UnsafeFileError | None
) -> bool:
    """Whether a login protector of another uid is the account's, as after `usermod --uid` or on another machine.

    Its file has been given to the account; or it is root's, and there is nobody with that uid.
    """
    if trouble is not None:
        return False
    owner = store.owner_of(mount, store.PROTECTORS, protector.descriptor, account)[0]
    return owner == account.uid or (owner == 0 and not is_user(protector.uid))


def is_user(uid: int) -> bool:
    """Whether a uid is somebody's here."""
    try:
        return bool(pwd.getpwuid(uid))
    except KeyError:
        return False


def foreign_protector(account: Account) -> tuple[str, int] | None:
    """A login protector of the home that is another uid's, and that uid; None if one is the account's. As root.

    OSError; StorageError, UnsafeFileError or FormatError for a policy that is of no use.
    """
    home, found = find_home(account), kernel_policy(account)
    if found is None or (home is not None and home.follows_login):
        return None
    home_mount = store.main_mount(account.home)
    policy = read_policy(account, home_mount, found.identifier)
    for descriptor, _ in () if policy is None else policy.slots:
        for mount in dict.fromkeys((store.ROOT, home_mount)):
            uid = _uid_of(account, mount, descriptor)
            if uid not in (None, account.uid):
                return f"{mount.rstrip('/')}/{store.METADATA}/{store.PROTECTORS}/{descriptor}", uid
    return None


def former_uids(account: Account) -> list[int]:
    """What the home's login protectors say instead of the account's uid. Errors as of `find_home`."""
    home = find_home(account)
    found = [_parsed_uid(each) for each in home.protectors if each.is_login and each.trouble is None] if home else []
    return [uid for uid in found if uid != account.uid]


def _parsed_uid(candidate: Candidate) -> int:
    return meta.parse_protector(candidate.live, candidate.descriptor).uid


def _uid_of(account: Account, mount: str, descriptor: str) -> int | None:
    """Whose a protector is: by its owner, or if that is root or the account, by what it says. None if it does not say."""
    try:
        directory = store.open_metadata(mount, store.PROTECTORS, (0, account.uid))
    except (OSError, UnsafeFileError):
        return None
    try:
        owner = os.stat(descriptor, dir_fd=directory, follow_symlinks=False).st_uid
    except OSError:
        return None
    finally:
        os.close(directory)
    if owner not in (0, account.uid):
        return owner
    protector = meta.parse_protector(store.read(account, mount, store.PROTECTORS, descriptor), descriptor)
    return protector.uid if protector.source == meta.LOGIN else None


def put_policy(account: Account, mount: str, policy: meta.Policy) -> None:
    """Write the file of a policy. OSError, UnsafeFileError."""
    owner = store.owner_of(mount, store.POLICIES, policy.identifier, account)
    store.replace(mount, store.POLICIES, policy.identifier, policy.message.emit(), owner)
