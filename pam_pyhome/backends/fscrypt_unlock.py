"""From a password to the keys of an fscrypt home and of all else that its protector opens; and to a new protector."""

from __future__ import annotations

import os

from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends import kept
from pam_pyhome.backends.fscrypt_derive import wrapping_key
from pam_pyhome.errors import (
    FormatError,
    OldPolicyError,
    StorageError,
    UnsafeFileError,
    WrongPassphraseError,
)
from pam_pyhome.formats import fscrypt_key as key
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.formats.opened import OpenedHome, Rewrite
from pam_pyhome.kernel.cipher import aes256_ctr
from pam_pyhome.kernel.fscrypt import policy_of
from pam_pyhome.kernel.process import rights_of
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account
    from pam_pyhome.kernel.fscrypt import DirectoryPolicy

PREVIOUS = ".previous"
MISSING = b""
MOST_KEYS = 64  # what `formats.opened` carries, and well below a user's quota in the kernel
MOST_PASSPHRASES = 4  # protectors that a single answer is tried on


class Home(Record):
    """An encrypted home directory: its policy, where its file system is mounted, and its protectors that count.

    Where there is a login protector, only that does. `spare` is the good copy of the policy, if it is another.
    """

    policy: meta.Policy
    spare: meta.Policy | None
    mount: str
    protectors: tuple[Candidate, ...]

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


def kernel_policy(account: Account) -> DirectoryPolicy | None:
    """What the home directory is encrypted with, as the kernel says, or None. OSError if it cannot be looked at."""
    with rights_of(account.uid, account.gid):
        try:
            directory = store.open_home(account)
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
    policy = _read_policy(account, mount, found.identifier)
    if policy is None:
        return None
    protectors = _protectors(account, mount, policy)
    return Home(policy, _spare(account, policy), mount, protectors) if protectors else None


def _spare(account: Account, policy: meta.Policy) -> meta.Policy | None:
    """The good copy of a policy, if there is one and it differs."""
    content = read_kept(account, policy_copy(policy.identifier))
    return None if content in (None, policy.message.emit()) else meta.parse_policy(content or b"", policy.identifier)


def _protectors(account: Account, mount: str, policy: meta.Policy) -> tuple[Candidate, ...]:
    """The protectors of a policy that count: the login one alone if there is one."""
    found = [_candidate(account, mount, descriptor) for descriptor, _ in policy.slots]
    usable = tuple(candidate for candidate in found if candidate is not None)
    return tuple(candidate for candidate in usable if candidate.is_login) or usable


def policy_copy(identifier: str) -> str:
    """What the good copy of a policy is called."""
    return f"fscrypt-policy-{identifier}"


def protector_copy(descriptor: str) -> str:
    """What the good copy of a protector is called."""
    return f"fscrypt-protector-{descriptor}"


def read_kept(account: Account, name: str) -> bytes | None:
    """The good copy of a metadata file, or None."""
    return kept.read(account, name, meta.MAX_SIZE)


def _read_policy(account: Account, mount: str, identifier: str) -> meta.Policy | None:
    """The policy's file or the good copy of it; None if there is neither: another tool may have made the policy."""
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
    if protector.source == meta.LOGIN and protector.uid == account.uid:
        return Candidate(protector.descriptor, mount, live, trouble, is_login=True)
    if protector.source == meta.CUSTOM:
        return Candidate(protector.descriptor, mount, live, trouble, is_login=False)
    return None


class Attempt(Record):
    """What one protector gave: the protector key, and the file that it came from."""

    candidate: Candidate
    content: bytes
    secret: bytes

    def __repr__(self) -> str:
        """Never the key."""
        return f"Attempt({self.candidate.descriptor})"


def unlock(account: Account, password: bytes, *, exact: bool, rewrap: bytes | None, backend: str) -> OpenedHome:
    """See `Backend.unlock`."""
    home = find_home(account)
    if home is None:
        raise StorageError(account.home, "is not encrypted for a passphrase of its owner")
    if home.policy.version != 2:
        raise OldPolicyError(account.home)
    attempt = try_all(account, home, password, exact=exact)
    change = _prepare(account, attempt, rewrap)
    _mend_policy(account, home, attempt)
    return OpenedHome(account.name, backend, tuple(_keys(account, home, attempt)), change)


def try_all(account: Account, home: Home, password: bytes, *, exact: bool) -> Attempt:
    """Open one of the home's protectors: its live file first, then, unless `exact` and that is sound, its good copy.

    WrongPassphraseError if none opens; what is wrong with the files if they are the reason.
    """
    wrong: WrongPassphraseError | None = None
    trouble: Exception | None = None
    for candidate in home.protectors[:MOST_PASSPHRASES]:
        trouble = trouble or candidate.trouble
        copy = None if exact and candidate.trouble is None else read_kept(account, protector_copy(candidate.descriptor))
        usable = candidate.live if candidate.trouble is None else MISSING
        for content in dict.fromkeys(content for content in (usable, copy) if content):
            try:
                attempt = Attempt(candidate, content, _open(account, candidate, content, password))
                home_key(home, attempt)
            except WrongPassphraseError as error:
                wrong = error
            except FormatError as error:
                trouble = trouble or error
            else:
                return attempt
    raise wrong or trouble or WrongPassphraseError()


def _open(account: Account, candidate: Candidate, content: bytes, password: bytes) -> bytes:
    """The protector key in one file."""
    protector = meta.parse_protector(content, candidate.descriptor)
    if protector.costs is None or not password:
        raise WrongPassphraseError
    secret = key.unwrap(
        wrapping_key(account.uid, password, protector.salt, protector.costs), protector.wrapped, aes256_ctr
    )
    key.check_name(meta.PROTECTOR, key.protector_name(secret), candidate.descriptor)
    return secret


def home_key(home: Home, attempt: Attempt) -> tuple[meta.Policy, bytes]:
    """The home's policy, or the good copy of it, whichever the protector opens, and its key. FormatError if it opens neither."""
    try:
        return home.policy, _policy_key(home.policy, attempt)
    except FormatError:
        if home.spare is None:
            raise
        return home.spare, _policy_key(home.spare, attempt)


def _policy_key(policy: meta.Policy, attempt: Attempt) -> bytes:
    """The key of a policy. FormatError if it is not what the file is named after, or does not unwrap with the right protector."""
    wrapped = policy.slot(attempt.candidate.descriptor)
    if wrapped is None:
        raise FormatError(meta.POLICY, "is not wrapped by the protector")
    try:
        found = key.unwrap(attempt.secret, wrapped, aes256_ctr)
    except WrongPassphraseError:
        raise FormatError(meta.POLICY, "the wrapped key is damaged") from None
    key.check_name(meta.POLICY, key.policy_name(found), policy.identifier)
    return found


def _keys(account: Account, home: Home, attempt: Attempt) -> list[tuple[str, bytes]]:
    """Label and key of the home's policy, then of all other policies of the protector; the key is empty if it is not to be had."""
    found = [(label(home.policy.identifier, home.mount), home_key(home, attempt)[1])]
    if not attempt.candidate.is_login:
        return found
    for mount, identifier in store.policies(account):
        if (mount, identifier) == (home.mount, home.policy.identifier) or len(found) == MOST_KEYS:
            continue
        try:
            policy = meta.parse_policy(store.read(account, mount, store.POLICIES, identifier), identifier)
            if policy.slot(attempt.candidate.descriptor) is None:
                continue
            secret = _policy_key(policy, attempt)
        except FormatError:
            secret = b""
        except (OSError, UnsafeFileError):
            continue
        found.append((label(identifier, mount), secret))
    return found


def _mend_policy(account: Account, home: Home, attempt: Attempt) -> None:
    """Put the good copy in the place of a policy whose wrapped key is damaged: the copy has just proved to be right."""
    used, _ = home_key(home, attempt)
    if used is not home.policy:
        try:
            put_policy(account, home.mount, used)
        except (OSError, UnsafeFileError):
            return


def put_policy(account: Account, mount: str, policy: meta.Policy) -> None:
    """Write the file of a policy. OSError, UnsafeFileError."""
    owner = store.owner_of(mount, store.POLICIES, policy.identifier, account)
    store.replace(mount, store.POLICIES, policy.identifier, policy.message.emit(), owner)


def label(identifier: str, mount: str) -> str:
    """How an opened home names the key of a policy on a file system; see `split_label`."""
    return f"{identifier} {mount}"


def split_label(text: str) -> tuple[str, str]:
    """Identifier and mount point."""
    identifier, _, mount = text.partition(" ")
    return identifier, mount


def _prepare(account: Account, attempt: Attempt, rewrap: bytes | None) -> Rewrite | None:
    """The change that the live protector needs: another password, or the copy that proved to be good."""
    if not attempt.candidate.is_login:
        return None
    if rewrap is not None:
        return Rewrite(attempt.candidate.live, protector_for(account, attempt, rewrap))
    return None if attempt.content == attempt.candidate.live else Rewrite(attempt.candidate.live, attempt.content)


def protector_for(account: Account, attempt: Attempt, password: bytes) -> bytes:
    """The same protector for another password, under a new salt and a new IV, at the same costs."""
    protector = meta.parse_protector(attempt.content, attempt.candidate.descriptor)
    if protector.costs is None or not password:
        raise WrongPassphraseError
    salt = os.urandom(meta.SALT_SIZE)
    wrapping = wrapping_key(account.uid, password, salt, protector.costs)
    return meta.rewrapped(protector, salt, key.wrap(wrapping, attempt.secret, os.urandom(meta.IV_SIZE), aes256_ctr))
