"""From a password to the keys of an fscrypt home and of all else that its protector opens; and to a new protector."""

from __future__ import annotations

import os

from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.fscrypt_derive import wrapping_key
from pam_pyhome.backends.fscrypt_find import MISSING, Candidate, Home, find_home, protector_copy, put_policy, read_kept
from pam_pyhome.errors import FormatError, OldPolicyError, StorageError, UnsafeFileError, WrongPassphraseError
from pam_pyhome.formats import fscrypt_key as key
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.formats.opened import OpenedHome, Rewrite
from pam_pyhome.kernel.cipher import aes256_ctr
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account

MOST_KEYS = 64  # what `formats.opened` carries, and well below a user's quota in the kernel
MOST_PASSPHRASES = 4  # protectors that a single answer is tried on


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


def label(identifier: str, mount: str) -> str:
    """How an opened home names the key of a policy on a file system."""
    return f"{identifier} {mount}"


def _prepare(account: Account, attempt: Attempt, rewrap: bytes | None) -> Rewrite | None:
    """The change that the live protector needs: another password, or the copy that proved to be good."""
    if not attempt.candidate.is_login:
        return None
    if rewrap is not None:
        return Rewrite(attempt.candidate.live, protector_for(account, attempt, rewrap))
    return None if attempt.content == attempt.candidate.live else Rewrite(attempt.candidate.live, attempt.content)


def protector_for(account: Account, attempt: Attempt, password: bytes, costs: meta.Costs | None = None) -> bytes:
    """The same protector for another password, under a new salt and a new IV, at the same costs or at others."""
    protector = meta.parse_protector(attempt.content, attempt.candidate.descriptor)
    if protector.costs is None or not password:
        raise WrongPassphraseError
    salt = os.urandom(meta.SALT_SIZE)
    wrapping = wrapping_key(account.uid, password, salt, costs or protector.costs)
    wrapped = key.wrap(wrapping, attempt.secret, os.urandom(meta.IV_SIZE), aes256_ctr)
    return meta.rewrapped(protector, salt, wrapped, costs)
