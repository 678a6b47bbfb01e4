"""From a password to the keys of an fscrypt home and of all else that its protector opens; and to a new protector."""

from __future__ import annotations

import os

from pam_pyhome.backends import approved, kept
from pam_pyhome.backends.base import LEAST_KEY
from pam_pyhome.backends.fscrypt_derive import wrapping_key
from pam_pyhome.backends.fscrypt_find import MISSING, Candidate, Home, find_home, protector_copy, put_policy, read_kept
from pam_pyhome.errors import (
    FormatError,
    OldPolicyError,
    PyhomeError,
    StorageError,
    UnsafeFileError,
    WrongPassphraseError,
)
from pam_pyhome.formats import fscrypt_key as key
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.formats.opened import PROTECTOR, OpenedHome, Rewrite
from pam_pyhome.kernel.cipher import aes256_ctr
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account

MOST_PASSPHRASES = 4  # protectors that a single answer is tried on


class Attempt(Record):
    """What one protector gave: the protector key, and the file that it came from."""

    candidate: Candidate
    content: bytes
    secret: bytes

    def __repr__(self) -> str:
        """Never the key."""
        return f"Attempt({self.candidate.descriptor})"


def unlock(
    account: Account, password: bytes, *, exact: bool, proved: bool, rewrap: bytes | None, backend: str
) -> OpenedHome:
    """See `Backend.unlock`."""
    home = usable_home(account)
    attempt = try_all(account, home, password, exact=exact, proved=proved)
    change = None if proved else _prepare(account, home, attempt, rewrap)
    _mend_policy(account, home, attempt)
    keys = [(label(home.policy.identifier, home.mount), home_key(home, attempt)[1])]
    if attempt.candidate.is_login:
        keys.append((PROTECTOR + attempt.candidate.descriptor, attempt.secret))
    return OpenedHome(account.name, backend, tuple(keys), change, attempt.candidate.is_recovery and change is None, attempt.content)


def usable_home(account: Account) -> Home:
    """The home. StorageError, OldPolicyError if it is not one of ours."""
    home = find_home(account)
    if home is None:
        raise StorageError(account.home, "is not encrypted for a passphrase of its owner")
    if home.policy.version != 2:
        raise OldPolicyError(account.home)
    return home


def approve(account: Account, password: bytes) -> None:
    """See `Backend.approve`."""
    attempt = try_all(account, usable_home(account), password, exact=True)
    approved.begin(account)
    approved.approve(account, protector_copy(attempt.candidate.descriptor), attempt.content)


def is_proved(account: Account, answer: bytes) -> bool:
    """Whether the answer opens the home by files that are approved."""
    try:
        try_all(account, usable_home(account), answer, exact=True, proved=True)
    except (PyhomeError, OSError):
        return False
    return True


def try_all(account: Account, home: Home, password: bytes, *, exact: bool, proved: bool = False) -> Attempt:
    """Open one of the home's protectors: its live file first, then, unless `exact`, what else counts.

    WrongPassphraseError if none opens; what is wrong with the files if they are the reason.
    """
    try:
        return _try_some(account, home, home.protectors, password, exact=exact, proved=proved)
    except (PyhomeError, OSError):
        found = try_key(account, home, password, proved=proved) if len(password) >= LEAST_KEY else None
        if found is None:
            raise
        return found


def try_key(account: Account, home: Home, answer: bytes, *, proved: bool = False) -> Attempt | None:
    """Open one of the protectors that are for recovery, if the answer is a recovery key, however it is typed; None if not.

    A good copy counts where the file is not sound: a key that was replaced has none.
    """
    from pam_pyhome.formats.recovery import typed_fscrypt  # noqa: PLC0415 - an ordinary password does not come here

    passphrase = typed_fscrypt(answer)
    if passphrase is None:
        return None
    try:
        return _try_some(account, home, home.recovery, passphrase, exact=False, proved=proved)
    except (PyhomeError, OSError):
        return None


def _try_some(
    account: Account, home: Home, candidates: tuple[Candidate, ...], password: bytes, *, exact: bool, proved: bool
) -> Attempt:
    """The first of these that opens. Errors as of `try_all`."""
    wrong: WrongPassphraseError | None = None
    trouble: Exception | None = None
    for candidate in candidates[:MOST_PASSPHRASES]:
        trouble = trouble or candidate.trouble
        name = protector_copy(candidate.descriptor)
        contents = [candidate.live if candidate.trouble is None else MISSING]
        if not exact:
            contents += _others(account, candidate)
        for content in filter(None, contents):
            if proved and not approved.is_approved(account, name, content):
                trouble = trouble or approved.unproved(account, name)
                continue
            try:
                attempt = Attempt(candidate, content, open_protector(account.uid, candidate.descriptor, content, password))
                home_key(home, attempt)
            except WrongPassphraseError as error:
                wrong = error
            except FormatError as error:
                trouble = trouble or error
            else:
                return attempt
    raise wrong or trouble or WrongPassphraseError()


def _others(account: Account, candidate: Candidate) -> list[bytes]:
    """What counts besides a protector's file: its copy if it is damaged or missing, and what is there for another password."""
    name = protector_copy(candidate.descriptor)
    copy = read_kept(account, name) or b""
    is_repaired = kept.read(account, name + kept.REPAIRED) is not None
    suffixes = (kept.PREVIOUS, kept.SECOND) if is_repaired else (kept.SECOND,)
    others = [read_kept(account, name + suffix) for suffix in suffixes]
    found = ([copy] if _is_damaged(candidate, copy) else []) + [each for each in others if each]
    return [each for each in dict.fromkeys(found) if each != candidate.live]


def _is_damaged(candidate: Candidate, copy: bytes) -> bool:
    """Whether a protector is its copy with some bits changed, and not another wrap: no two have a part of that in common."""
    if candidate.trouble is not None:
        return True
    try:
        live = meta.parse_protector(candidate.live, candidate.descriptor).wrapped
        other = meta.parse_protector(copy, candidate.descriptor).wrapped
    except FormatError:
        return False
    return live.iv == other.iv or live.ciphertext == other.ciphertext or live.mac == other.mac


def open_protector(uid: int, descriptor: str, content: bytes, password: bytes) -> bytes:
    """The protector key in one file. WrongPassphraseError; FormatError; StorageError as `wrapping_key` for `uid`."""
    protector = meta.parse_protector(content, descriptor)
    if protector.costs is None or not password:
        raise WrongPassphraseError
    secret = key.unwrap(wrapping_key(uid, password, protector.salt, protector.costs), protector.wrapped, aes256_ctr)
    key.check_name(meta.PROTECTOR, key.protector_name(secret), descriptor)
    return secret


def home_key(home: Home, attempt: Attempt) -> tuple[meta.Policy, bytes]:
    """The home's policy, or the good copy of it, whichever the protector opens, and its key. FormatError if it opens neither."""
    try:
        return home.policy, policy_key(home.policy, attempt.candidate.descriptor, attempt.secret)
    except FormatError:
        if home.spare is None:
            raise
        return home.spare, policy_key(home.spare, attempt.candidate.descriptor, attempt.secret)


def policy_key(policy: meta.Policy, descriptor: str, protector_key: bytes) -> bytes:
    """The key of a policy. FormatError if it is not what the file is named after, or does not unwrap with the right protector."""
    wrapped = policy.slot(descriptor)
    if wrapped is None:
        raise FormatError(meta.POLICY, "is not wrapped by the protector")
    try:
        found = key.unwrap(protector_key, wrapped, aes256_ctr)
    except WrongPassphraseError:
        raise FormatError(meta.POLICY, "the wrapped key is damaged") from None
    key.check_name(meta.POLICY, key.policy_name(found), policy.identifier)
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


def _prepare(account: Account, home: Home, attempt: Attempt, rewrap: bytes | None) -> Rewrite | None:
    """The change that the live protector needs: another password, or the copy that proved to be good.

    After a recovery key, another password needs another protector.
    """
    if rewrap is not None and attempt.candidate.is_recovery:
        from pam_pyhome.backends.fscrypt_renew import prepare  # noqa: PLC0415 - an ordinary password does not come here

        return prepare(account, home, attempt, rewrap)
    if not attempt.candidate.is_login:
        return None
    if rewrap is not None:
        return Rewrite(attempt.candidate.live, protector_for(account, attempt, rewrap))
    is_copy = attempt.content == read_kept(account, protector_copy(attempt.candidate.descriptor))
    is_needed = attempt.content != attempt.candidate.live and is_copy
    return Rewrite(attempt.candidate.live, attempt.content) if is_needed else None


def protector_for(account: Account, attempt: Attempt, password: bytes, costs: meta.Costs | None = None) -> bytes:
    """The same protector for another password, under a new salt and a new IV, at `costs` or at those of new passwords."""
    from pam_pyhome.backends.fscrypt_costs import for_new  # noqa: PLC0415 - an ordinary login wraps nothing

    protector = meta.parse_protector(attempt.content, attempt.candidate.descriptor)
    if protector.costs is None or not password:
        raise WrongPassphraseError
    chosen = costs or for_new(protector.costs)
    salt = os.urandom(meta.SALT_SIZE)
    wrapping = wrapping_key(account.uid, password, salt, chosen)
    wrapped = key.wrap(wrapping, attempt.secret, os.urandom(meta.IV_SIZE), aes256_ctr)
    return meta.rewrapped(protector, salt, wrapped, chosen if chosen != protector.costs else None)
