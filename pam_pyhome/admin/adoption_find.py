"""Who the owner of a home was before, and all that still says so. Nothing is changed here.

What a home names proves nothing: its disk may be from another machine, or its owner may have written there what they like. That
root gives this account's name is what counts. A name or a uid that is somebody else's here counts only if root says it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin import (
    accounts,
    adoption_record,
    conversion_record,
    creation_record,
    in_use,
    places,
    removal_record,
)
from pam_pyhome.admin import adoption_facts as facts
from pam_pyhome.admin.adoption_metadata import Metadata
from pam_pyhome.admin.adoption_record import Frozen, Move, Record
from pam_pyhome.admin.creation_choice import ECRYPTFS, FSCRYPT
from pam_pyhome.admin.plan import observe
from pam_pyhome.backends import ecryptfs_store as store
from pam_pyhome.backends import fscrypt_find, fscrypt_store, kept
from pam_pyhome.errors import AdoptError, FormatError, NoHomeError, PyhomeError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.kernel import fscrypt
from pam_pyhome.policy import users
from pam_pyhome.policy.leases import has_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.backends.base import Account

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Said(NamedTuple):
    """What root says of the one that the home is from: the name, and the uid; None where the home is to tell."""

    name: str | None = None
    uid: int | None = None


class _Found(NamedTuple):
    """What a home tells: names and uids from before, and its directories: `trees` may have files of the old uid."""

    backend: str
    names: tuple[str, ...]
    uids: tuple[int, ...]
    copies: tuple[str, ...]
    trees: tuple[str, ...]
    inner: tuple[str, ...]


def look(user: str, said: Said) -> Record:
    """What is to be adopted. NoUserError, NoHomeError, SharedUidError, AdoptError, HomeBusyError, StorageError; OSError."""
    account = accounts.find(user)
    if account.uid < users.uid_min():
        raise AdoptError(user, facts.SYSTEM_USER, f"uid {account.uid}")
    users.check(account)
    _check_others(account, said.name)
    home = _check_home(account)
    policy = _policy(home)
    found = _of_ecryptfs(account, home, said) if policy is None else _of_fscrypt(account, home, policy)
    name, certain = _name(account, found, said)
    uid = _uid(account, found, said)
    if policy is not None:
        _check_metadata(account, home, policy, uid)
    trees = list(found.trees)
    moves = list(_moves(account, found, name, uid))
    if found.backend == ECRYPTFS:
        _check_storage(account, uid, said, trees)
    _check_others(account, name)
    _check_closed(account, found, policy, trees, uid)
    frozen = tuple(_frozen(user, moves, [*trees, *found.inner], uid, account))
    gid = _gid(trees, uid, account)
    final = tuple(dict.fromkeys(_after(moves, path) for path in trees))
    parents = {os.path.dirname(path) for path in trees} | {os.path.dirname(move.source) for move in moves}
    where = places.note(*sorted(parents))
    return Record(account, found.backend, name, uid, gid, certain, tuple(moves), final, frozen, where)


def _after(moves: list[Move], path: str) -> str:
    """What a path is after all moves."""
    for move in moves:
        if f"{path}/".startswith(f"{move.source}/"):
            return move.target + path[len(move.source) :]
    return path


def _check_home(account: Account) -> str:
    """The home directory by a path without links. AdoptError unless root alone decides what is there."""
    trouble = places.trouble_above(account.home)
    if trouble is not None:
        raise AdoptError(account.name, facts.BAD_PLACE, trouble)
    parent, name = os.path.split(account.home)
    home = os.path.join(os.path.realpath(parent), name)
    if not os.path.lexists(home):
        raise AdoptError(account.name, facts.NOT_THERE, account.home)
    if _status(home) is None:
        raise AdoptError(account.name, facts.BAD_PLACE, f"{account.home} is no directory")
    return home


def _status(path: str) -> os.stat_result | None:
    """Of a directory that is none by a link; None for anything else."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status if stat.S_ISDIR(status.st_mode) else None


def _policy(home: str) -> str | None:
    directory = os.open(home, _DIRECTORY)
    try:
        found = fscrypt.policy_of(directory)
    finally:
        os.close(directory)
    return None if found is None else found.identifier


# What the two kinds of homes tell


def _of_fscrypt(account: Account, home: str, policy: str) -> _Found:
    metadata = Metadata(home, policy)
    copies = tuple(_copies(fscrypt_find.policy_copy(policy), None))
    if not metadata.protectors and not copies:
        raise AdoptError(account.name, facts.NO_KEYS, metadata.path_of_policy)
    uids = (os.lstat(home).st_uid, *metadata.uids())
    return _Found(FSCRYPT, (), uids, copies, (home,), ())


def _of_ecryptfs(account: Account, home: str, said: Said) -> _Found:
    """A home whose key files are in it, or in the place that its links name, or in that of the name that root says."""
    linked = {name for each in (store.CONFIG, store.LOWER) if (name := named_by(f"{home}/{each}")) is not None}
    if said.name is not None:
        linked = {said.name} if _status(f"{store.SHARED}/{said.name}") else linked
    trees: tuple[str, ...] = (home,)
    there = [name for name in (*sorted(linked), account.name) if _status(f"{store.SHARED}/{name}/{store.CONFIG}")]
    if _status(f"{home}/{store.CONFIG}") is not None:
        config, names = f"{home}/{store.CONFIG}", set[str]()
    elif there:
        storage = f"{store.SHARED}/{there[0]}"
        config, names, trees = f"{storage}/{store.CONFIG}", linked - {account.name}, (home, storage)
    elif linked or os.path.lexists(f"{home}/{store.CONFIG}"):
        raise AdoptError(account.name, facts.NO_KEYS, f"{home}/{store.CONFIG}")
    else:
        raise NoHomeError(account.name)
    lower = f"{trees[-1]}/{store.LOWER}"
    signatures = observe(f"{config}/{layout.SIGNATURES}")
    paths = (*trees, config, lower, f"{config}/{layout.WRAPPED}")
    uids = tuple(os.lstat(path).st_uid for path in paths if os.path.lexists(path))
    copies = () if signatures is None else tuple(_copies(layout.SIGNATURES, signatures.content))
    # Two homes may have one mount passphrase; so name or number has to fit as well.
    mine = {*names, account.name, said.name}
    known = {account.uid, *uids}
    copies = tuple(
        each for each in copies if _parts(each)[1] in mine or (not names and (_parts(each)[0] in known or _is_left(each, config)))
    )
    return _Found(ECRYPTFS, tuple(sorted(names)), uids, copies, trees, (config,))


def _is_left(copies: str, config: str) -> bool:
    """Whether copies are of somebody who is here no more, and of a home that was mounted where this one says.

    usermod has given all that is in the home to the new number, and nothing else there tells the old name.
    """
    uid, name = _parts(copies)
    ours, theirs = (observe(f"{place}/{layout.MOUNTPOINT}") for place in (config, f"{kept.STATE}/{copies}"))
    if ours is None or theirs is None or ours.content is None or ours.content != theirs.content:
        return False
    return accounts.look_up(name) is None and not fscrypt_find.is_user(uid)


def named_by(link: str) -> str | None:
    """Whose storage a link leads to, by its text alone; None if it is no such link."""
    try:
        parent, _, last = os.readlink(link).rpartition("/")
    except OSError:
        return None
    shared, _, name = parent.rpartition("/")
    return name if shared == store.SHARED and last == os.path.basename(link) and name not in ("", ".", "..") else None


def _copies(name: str, content: bytes | None) -> Iterator[str]:
    """The directories of kept copies that have a copy called `name`, with this `content` if that is known."""
    try:
        found = os.listdir(kept.STATE)
    except FileNotFoundError:
        return
    for each in sorted(found):
        uid, dot, owner = each.partition(".")
        if uid.isdigit() and dot and owner:
            node = observe(f"{kept.STATE}/{each}/{name}")
            if node is not None and node.content is not None and content in (None, node.content):
                yield each


# Which of that counts


def _name(account: Account, found: _Found, said: Said) -> tuple[str, bool]:
    """The name from before, and whether that is certain."""
    if said.name is not None:
        return said.name, True
    known = {owner for _, owner in map(_parts, found.copies) if owner == account.name or accounts.look_up(owner) is None}
    names = (known or set(found.names)) - {account.name}
    if len(names) > 1:
        raise AdoptError(account.name, facts.SEVERAL_NAMES, ", ".join(sorted(names)))
    return (names.pop(), bool(known)) if names else (account.name, True)


def _uid(account: Account, found: _Found, said: Said) -> int:
    """The uid from before. Without root's word it is nobody else's here."""
    uids = set(found.uids) - {0, account.uid}
    if said.uid is not None:
        if strange := uids - {said.uid}:
            raise AdoptError(account.name, facts.SEVERAL_UIDS, ", ".join(map(str, sorted(strange | {said.uid}))))
        return said.uid
    if len(uids) > 1:
        raise AdoptError(account.name, facts.SEVERAL_UIDS, ", ".join(map(str, sorted(uids))))
    uid = uids.pop() if uids else account.uid
    if uid != account.uid:
        try:
            raise AdoptError(account.name, facts.OTHERS_UID, f"{uid} is {pwd.getpwuid(uid).pw_name}")
        except KeyError:
            pass
    return uid


def _gid(trees: list[str], uid: int, account: Account) -> int:
    """The group of the old uid, as its directories have it."""
    statuses = (os.lstat(path) for path in trees)
    return next((status.st_gid for status in statuses if status.st_uid == uid != account.uid), account.gid)


def _moves(account: Account, found: _Found, name: str, uid: int) -> Iterator[Move]:
    """The directories that get another name: the storage of an eCryptfs home, and the kept copies."""
    target = f"{store.SHARED}/{account.name}"
    for tree in found.trees[1:]:
        if tree != target:
            yield _move(account, tree, target)
    mine = os.path.basename(kept.place_of(account))
    # Whoever has that name or that number here now has their own.
    fit = [each for each in found.copies if _parts(each)[1] in (name, account.name) and _fits(_parts(each)[0], uid, account)]
    others = [each for each in fit if each != mine]
    if mine not in found.copies and not os.path.lexists(kept.place_of(account)) and len(others) == 1:
        yield _move(account, f"{kept.STATE}/{others[0]}", kept.place_of(account))


def _fits(uid: int, old: int, account: Account) -> bool:
    """Whether the number of copies is the account's, from before or now, or nobody's."""
    return uid in (old, account.uid) or not fscrypt_find.is_user(uid)


def _parts(copies: str) -> tuple[int, str]:
    """Uid and name of the one whose copies those are."""
    uid, _, name = copies.partition(".")
    return int(uid), name


def _move(account: Account, source: str, target: str) -> Move:
    if os.path.lexists(target):
        raise AdoptError(account.name, facts.TAKEN, target)
    return Move(source, target, os.lstat(source).st_ino)


# What must hold


def _check_storage(account: Account, uid: int, said: Said, trees: list[str]) -> None:
    """AdoptError for ciphertext or key files of somebody else: a link leads there, and anybody can make one."""
    trouble = places.trouble_above(trees[-1])
    if trouble is not None:
        raise AdoptError(account.name, facts.BAD_PLACE, trouble)
    for path in (trees[-1], f"{trees[-1]}/{store.LOWER}", f"{trees[-1]}/{store.CONFIG}"):
        status = _status(path)
        if status is not None and status.st_uid not in (0, uid, account.uid):
            raise AdoptError(account.name, facts.OTHERS_THINGS, f"{path} is of uid {status.st_uid}")
    name = os.path.basename(trees[-1])
    other = accounts.look_up(name)
    if len(trees) == 1 or other is None or name == account.name:
        return
    owner = os.lstat(f"{trees[-1]}/{store.CONFIG}").st_uid
    if said.name != name or owner == other.uid:
        raise AdoptError(account.name, facts.OTHERS_THINGS, f"{trees[-1]} is named after {name}")


def _check_metadata(account: Account, home: str, policy: str, uid: int) -> None:
    """AdoptError for a protector of somebody else here: everybody can write its name into their own policy."""
    others = [each for each in accounts.people() if each.uid == uid != account.uid]
    if not others:
        return
    metadata = Metadata(home, policy)
    theirs = {file.path for file, protector in metadata.protectors if file.mount == fscrypt_store.ROOT and protector.uid == uid}
    for each in others:
        with contextlib.suppress(OSError, PyhomeError):
            identifier = _policy(os.path.realpath(each.home))
            if identifier is not None:
                theirs |= {file.path for file, _ in Metadata(each.home, identifier).protectors}
    for file, protector in metadata.protectors:
        if file.path in theirs and protector.source == meta.LOGIN:
            raise AdoptError(account.name, facts.OTHERS_THINGS, f"{file.path} is of uid {uid}")


def _check_others(account: Account, name: str | None) -> None:
    """UnfinishedError while a verb has something of this home in hand, under any name that it had.

    That can be finished under the name only that it was begun with: all the places are called after it. FormatError for a record
    that cannot be read and may be of this home.
    """
    kinds = ((conversion_record, "encrypt"), (creation_record, "create"), (removal_record, "remove"), (adoption_record, "adopt"))
    for kind, verb in kinds:
        for each in kind.users():
            is_ours = each in (account.name, name)
            if not is_ours and accounts.look_up(each) is not None:
                continue  # of somebody else, who is here
            try:
                record = kind.find(each)
            except FormatError as error:
                raise FormatError(f"{kind.DIRECTORY}/{each}", error.reason) from None
            if record is None:
                continue  # finished meanwhile
            then = record.account
            if is_ours or then.uid == account.uid or then.home == account.home:
                began = record.direction if isinstance(record, conversion_record.Record) else verb
                raise facts.UnfinishedError(account.name, began, each, then.uid, then.home)


def _check_closed(account: Account, found: _Found, policy: str | None, trees: list[str], uid: int) -> None:
    """AdoptError or HomeBusyError while the home is open or in use."""
    for each in {uid, account.uid}:
        if each != 0 and has_record(each):
            raise AdoptError(account.name, facts.OPEN, f"uid {each} has it on record")
    if policy is not None:
        directory = os.open(trees[0], _DIRECTORY)
        try:
            state = fscrypt.key_status(directory, policy).state
        finally:
            os.close(directory)
        if state != fscrypt.ABSENT:
            raise AdoptError(account.name, facts.OPEN, "its key is in the kernel")
    mounted = in_use.mounted(*trees, opens=False)
    if mounted:
        itself = found.backend == ECRYPTFS and mounted == [trees[0]]
        raise AdoptError(account.name, facts.OPEN if itself else facts.MOUNTED, mounted[0])
    in_use.check(account, *trees)


def _frozen(user: str, moves: list[Move], paths: list[str], uid: int, account: Account) -> Iterator[Frozen]:
    """The directories that are to be root's alone meanwhile: nobody can put anything else in the place of what is looked at."""
    for path in dict.fromkeys(paths):
        status = _status(path)
        if status is None:
            raise AdoptError(user, facts.NO_KEYS, f"{path} is no directory")
        yield Frozen(_after(moves, path), status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
