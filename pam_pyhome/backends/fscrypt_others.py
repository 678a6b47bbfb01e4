"""What the login protector opens besides the home: further directories, there and on other file systems that root has approved.

Whoever has an old copy of a disk has the policies on it. So keys go to the file system of the home and to those that root has
approved, see `trust`, and of two with the same policy to the better known.
"""

from __future__ import annotations

import errno
import os

from pam_pyhome.backends import fscrypt_keys, kept, trust
from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.fscrypt_survey import AT_LOGIN, survey
from pam_pyhome.errors import FormatError, StorageError
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.formats.opened import PROTECTOR
from pam_pyhome.formats.state import Claim
from pam_pyhome.formats.words import one_line, quoted
from pam_pyhome.kernel import files, fscrypt
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account
    from pam_pyhome.backends.fscrypt_survey import Survey
    from pam_pyhome.formats.mountinfo import Mount
    from pam_pyhome.formats.state import OpenRecord

MOST_KEYS = 64  # well below a user's quota in the kernel
_KNOWN_SIZE = MOST_KEYS * 64


class Other(Record):
    """A policy that the protector opens: its name, where it is, how well root knows that place, and the policy itself."""

    identifier: str
    mount: Mount
    rank: int
    why: str
    policy: meta.Policy

    @property
    def where(self) -> str:
        """The mount point."""
        return os.fsdecode(self.mount.mountpoint)


def attach(
    account: Account,
    keys: tuple[tuple[str, bytes], ...],
    record: OpenRecord,
    keep: Callable[[OpenRecord], None],
    warn: Callable[[str], None],
) -> None:
    """See `Backend.attach_others`."""
    secrets = [(label.removeprefix(PROTECTOR), key) for label, key in keys if label.startswith(PROTECTOR)]
    if not secrets or not record.claims:
        return
    descriptor, secret = secrets[0]
    home, known = record.claims[0].identifier, _known(account)
    found = survey(account, record.device, seconds=AT_LOGIN, known=known)
    chosen, notes = choose(account.name, _opened_by(descriptor, found), home)
    if not found.known_complete:
        notes.append("not all directories besides the home could be found in time; those that were not stay locked")
    opened = [(each, key) for each in chosen[:MOST_KEYS] if (key := _key_of(each, descriptor, secret, notes))]
    if opened:
        # What an earlier record names and is opened again now is on it already.
        claims = [_claim(account, each, record) for each, _ in opened]
        keep(record.but(claims=tuple(dict.fromkeys((*record.claims, *claims)))))
    given = [each.identifier for each, key in opened if _give(account, each, _claim(account, each, record), key, notes)]
    for note in notes:
        warn(note)
    _keep_known(account, known, given)


def _claim(account: Account, other: Other, record: OpenRecord) -> Claim:
    """The user's; root's where the home itself needed that."""
    claim = Claim(account.uid, other.identifier, other.mount.mountpoint, other.mount.device)
    return fscrypt_keys.with_roots(claim) if record.claims[0].identifier in _roots(record) else claim


def _roots(record: OpenRecord) -> set[str]:
    return {claim.identifier for claim in record.claims if claim.uid == 0}


def _opened_by(descriptor: str, found: Survey) -> list[Other]:
    """Those of the policies that the protector opens."""
    others = []
    for each in found.policies:
        try:
            policy = meta.parse_policy(each.content, each.identifier)
        except FormatError:
            continue
        if policy.slot(descriptor) is not None and policy.version == 2:
            others.append(Other(each.identifier, found.mounts[each.place], *found.verdicts[each.place], policy))
    return others


def choose(user: str, others: list[Other], home: str) -> tuple[list[Other], list[str]]:
    """Those that are to get their keys, and what is to be said of the rest. `home`: the home's own policy, which has its key."""
    chosen: list[Other] = []
    notes: list[str] = []
    copies: dict[str, str] = {}
    strangers: dict[str, str] = {}
    for identifier in dict.fromkeys(each.identifier for each in others):
        same = [each for each in others if each.identifier == identifier]
        best = trust.HOMES_OWN if identifier == home else min(each.rank for each in same)
        known = [each for each in same if each.rank == best < trust.UNKNOWN]
        if len(known) == 1 and identifier != home:
            chosen += known
        elif len(known) > 1:
            notes.append(_are_copies(identifier, known))
        for each in same:
            if each.rank > best:
                copies[each.where] = _is_a_copy(user, each)
            elif best == trust.UNKNOWN:
                strangers[each.where] = _is_strange(user, each)
    return chosen, [*notes, *({**strangers, **copies}).values()]


def _is_a_copy(user: str, other: Other) -> str:
    return (
        f"{one_line(other.where)} gets no key of {user}'s: it has a policy that the home or a better known file system has, "
        "as a copy of its disk would have"
    )


def _are_copies(identifier: str, known: list[Other]) -> str:
    places = " and ".join(one_line(each.where) for each in known)
    return f"directories with policy {identifier} stay locked: {places} have it, as a disk and its copy have; unmount the copy"


def _is_strange(user: str, other: Other) -> str:
    if other.why == trust.CHANGEABLE:
        advice = "only one on a disk, or in a file that nobody but root can change, is given keys"
    else:
        advice = f"if it is no copy of another disk, 'pyhome trust {quoted(other.where)}' approves it"
    return f"what {user} has encrypted on {one_line(other.where)} stays locked: {other.why}; {advice}"


def _key_of(other: Other, descriptor: str, secret: bytes, notes: list[str]) -> bytes:
    """The key of a policy; empty if it cannot be had."""
    from pam_pyhome.backends.fscrypt_unlock import policy_key  # noqa: PLC0415 - most homes have nothing besides

    try:
        return policy_key(other.policy, descriptor, secret)
    except FormatError:
        notes.append(_locked(other, "its wrapped key is damaged"))
        return b""


def _locked(other: Other, reason: str) -> str:
    return f"a directory on {one_line(other.where)} with policy {other.identifier} stays locked: {reason}"


def _give(account: Account, other: Other, claim: Claim, key: bytes, notes: list[str]) -> bool:
    """Give one key to the file system that was looked at, whatever is mounted in its place now."""
    try:
        directory = files.open_listable(other.where)
        try:
            if store.device_of(os.fstat(directory)) != other.mount.device:
                raise FileNotFoundError(errno.ENOENT, "it is not mounted any more")
            fscrypt_keys.give(directory, claim, account.gid, key)
        finally:
            os.close(directory)
    except (OSError, StorageError) as error:
        notes.append(_locked(other, fscrypt.reason(error) if isinstance(error, OSError) else error.reason))
        return False
    return True


# The names of policies that were opened before are tried first: a neighbour's rubbish cannot hide those.


def _known(account: Account) -> list[str]:
    content = kept.read(account, kept.OTHERS, _KNOWN_SIZE) or b""
    names = [line.decode("ascii", "replace") for line in content.splitlines()]
    return [name for name in names if meta.is_hex(name, meta.IDENTIFIER_DIGITS)]


def _keep_known(account: Account, known: list[str], given: list[str]) -> None:
    """Note what was opened now, before what was opened earlier, which may be on a disk that is not there today."""
    names = list(dict.fromkeys((*given, *known)))[:MOST_KEYS]
    if names != known and set(given) - set(known):
        kept.keep(account, kept.OTHERS, "".join(f"{name}\n" for name in names).encode("ascii"))
