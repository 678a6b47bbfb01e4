"""What is rewritten when a home is adopted: each file as it is and as it should be.

The same for a home that nothing has been done to, and for one that a killed run has left: what is as it should be is no change.
Paths are those after all moves; what is there now is read where it is now.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pam_pyhome.admin import accounts
from pam_pyhome.admin.adoption_find import named_by
from pam_pyhome.admin.adoption_metadata import Metadata
from pam_pyhome.admin.adoption_record import here
from pam_pyhome.admin.creation_choice import FSCRYPT
from pam_pyhome.admin.plan import Change, Node, observe
from pam_pyhome.backends import ecryptfs_store as store
from pam_pyhome.backends import fscrypt_find, fscrypt_protectors, fscrypt_store, kept, trust
from pam_pyhome.errors import FormatError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.formats import shells, trusted
from pam_pyhome.kernel import fscrypt
from pam_pyhome.kernel.digest import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.admin.adoption_metadata import File
    from pam_pyhome.admin.adoption_record import Record

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LINK_MODE = 0o777


def changes(record: Record) -> list[Change]:
    """All of them. FormatError, StorageError, UnsafeFileError; OSError."""
    found = _of_fscrypt(record) if record.backend == FSCRYPT else _of_ecryptfs(record)
    all_of_them = [*found, *_copies(record), *_shells(record), *_approvals(record)]
    return [change for change in all_of_them if change.before != change.after]


def owned(record: Record, node: Node) -> Node:
    """The same of the account's, if it is of the old uid."""
    if node.uid != record.uid:
        return node
    return node._replace(uid=record.account.uid, gid=record.account.gid if node.gid == record.gid else node.gid)


def _change(record: Record, path: str, *, content: bytes | None = None) -> Iterator[Change]:
    """A file with another owner, and with other `content` if there is any; nothing if it is not there."""
    before = observe(here(record, path), links=True)
    if before is not None and before.content is not None:
        after = owned(record, before)
        yield Change(path, before, after if content is None else after._replace(content=content))


# eCryptfs


def _of_ecryptfs(record: Record) -> Iterator[Change]:
    """The links in the home, the mount point; and a link for what names the old storage in the home, where only its key gets to."""
    user, home = record.account.name, record.trees[0]
    for name in (store.CONFIG, store.LOWER):
        if named_by(f"{home}/{name}") not in (None, user):
            yield from _change(record, f"{home}/{name}", content=os.fsencode(f"{store.SHARED}/{user}/{name}"))
    config = f"{record.trees[-1]}/{store.CONFIG}"
    yield from _mountpoint(record, f"{config}/{layout.MOUNTPOINT}")
    for old in (move.source for move in record.moves if os.path.dirname(move.source) == store.SHARED):
        if accounts.look_up(os.path.basename(old)) is None:
            before = observe(old, links=True) if os.path.islink(old) else None
            yield Change(old, before, Node(0, 0, _LINK_MODE, os.fsencode(user), link=True))


def _mountpoint(record: Record, path: str) -> Iterator[Change]:
    """`Private.mnt`, if what it names is nowhere, or not in the home where all of that is encrypted."""
    node = observe(here(record, path))
    if node is None or node.content is None:
        return
    home = record.account.home
    try:
        there = os.fsdecode(layout.parse_mountpoint(node.content))
    except FormatError:
        there = ""
    if len(record.trees) > 1:
        wanted = home
    else:
        wanted = f"{home}/{os.path.basename(there) or 'Private'}"
        if os.path.lexists(there) or not os.path.isdir(wanted):
            return
    if os.path.realpath(there) != os.path.realpath(wanted):
        yield from _change(record, path, content=os.fsencode(wanted))


# fscrypt


def _of_fscrypt(record: Record) -> Iterator[Change]:
    """The owners of the metadata; the uid and the name in protectors; a login protector that is not where the others are."""
    metadata = _metadata(record)
    if metadata.policy is not None:
        yield from _change(record, metadata.policy.path)
    login = {parsed.descriptor for _, parsed in metadata.protectors if parsed.source == meta.LOGIN}
    for file, parsed in metadata.protectors:
        moved = list(_to_root(record, file, parsed)) if parsed.descriptor in login and file.mount != fscrypt_store.ROOT else []
        yield from moved or _change(record, file.path, content=_protector(record, parsed))
    for file in (*metadata.links, *metadata.others(login)):
        yield from _change(record, file.path)


def _metadata(record: Record) -> Metadata:
    directory = os.open(record.trees[0], _DIRECTORY)
    try:
        policy = fscrypt.policy_of(directory)
    finally:
        os.close(directory)
    if policy is None:
        raise FormatError(record.trees[0], "is not encrypted any more")
    return Metadata(record.trees[0], policy.identifier)


def _protector(record: Record, parsed: meta.Protector) -> bytes | None:
    """The file of a protector as the account's; None if it is that already."""
    uid, name = parsed.uid, parsed.name
    if parsed.source == meta.LOGIN and uid == record.uid:
        uid = record.account.uid
    if name == meta.RECOVERY_NAME + record.name:
        name = meta.RECOVERY_NAME + record.account.name
    return None if (uid, name) == (parsed.uid, parsed.name) else meta.of_another(parsed, uid=uid, name=name)


def _to_root(record: Record, file: File, parsed: meta.Protector) -> Iterator[Change]:
    """On a disk from another machine, the login protector may be on what was `/` there: fscrypt looks for it on ours.

    One that the account has there already stays the only one, because pam_fscrypt takes any.
    """
    account, content = record.account, _protector(record, parsed) or parsed.message.emit()
    mine = Node(account.uid, account.gid, 0o600, content)
    try:
        os.close(fscrypt_store.open_metadata(fscrypt_store.ROOT, fscrypt_store.PROTECTORS, (0,)))
        known = {each.descriptor for each, _ in fscrypt_protectors.of_login(account)}
    except FileNotFoundError:
        return
    path = f"/{fscrypt_store.METADATA}/{fscrypt_store.PROTECTORS}/{parsed.descriptor}"
    before = observe(path)
    if (before is None and known) or before not in (None, mine):
        return
    link = f"{file.path}.link"
    yield Change(path, before, mine)
    yield Change(link, observe(link), mine._replace(content=fscrypt_protectors.link_to_root()))
    yield Change(file.path, file.node, None)


# What root keeps


def _copies(record: Record) -> Iterator[Change]:
    """The kept copies, and the digests of what was approved: that is the same key under the same password."""
    place = kept.place_of(record.account)
    try:
        names = sorted(os.listdir(here(record, place)))
    except FileNotFoundError:
        return
    renewed: dict[str, str] = {}
    for name in names:
        if name.startswith(fscrypt_find.protector_copy("")):
            yield from _kept_protector(record, f"{place}/{name}", renewed)
    if record.backend != FSCRYPT:
        yield from _mountpoint(record, f"{place}/{layout.MOUNTPOINT}")
    else:
        for _, parsed in _metadata(record).protectors:
            _note(record, parsed, renewed)
    digests = observe(here(record, f"{place}/{kept.DIGESTS}"))
    if digests is not None and digests.content is not None and renewed:
        lines = digests.content.decode("utf-8", "surrogateescape").splitlines(keepends=True)
        said = "".join(renewed.get(line[:64], line[:64]) + line[64:] for line in lines)
        yield from _change(record, f"{place}/{kept.DIGESTS}", content=said.encode("utf-8", "surrogateescape"))


def _kept_protector(record: Record, path: str, renewed: dict[str, str]) -> Iterator[Change]:
    node = observe(here(record, path))
    if node is None or not node.content:
        return
    try:
        parsed = meta.parse_protector(node.content, meta.descriptor_of(node.content))
    except FormatError:
        return
    if (content := _note(record, parsed, renewed)) is not None:
        yield from _change(record, path, content=content)


def _note(record: Record, parsed: meta.Protector, renewed: dict[str, str]) -> bytes | None:
    """What a protector will be; its digest from then on goes to `renewed`, by the one that it has."""
    content = _protector(record, parsed)
    if content is not None:
        renewed[sha256(parsed.message.emit())] = sha256(content)
    return content


def _is_renamed(record: Record) -> bool:
    """Whether what bears the old name in root's own files is the account's: nobody has that name now, and it is certain."""
    return record.certain and record.name != record.account.name and accounts.look_up(record.name) is None


def _shells(record: Record) -> Iterator[Change]:
    """The real login shell of somebody whose shell is pyhome-shell."""
    path = os.fsdecode(shells.PATH)
    node = observe(path)
    if node is None or node.content is None or not _is_renamed(record):
        return
    known = shells.parse_shells(node.content)
    old, new = os.fsencode(record.name), os.fsencode(record.account.name)
    if old in known and new not in known:
        real = known.pop(old)
        yield Change(path, node, node._replace(content=shells.emit_shells(known | {new: real})))


def _approvals(record: Record) -> Iterator[Change]:
    """What `pyhome trust --user` has said of the old name."""
    if not _is_renamed(record):
        return
    for each in trust.approvals():
        if each.user == record.name:
            mine = each.but(user=record.account.name)
            paths = [f"{trust.PLACE}/{trust.record_name(approval)}" for approval in (mine, each)]
            yield Change(paths[0], observe(paths[0]), Node(0, 0, 0o600, trusted.emit_approval(mine)))
            yield Change(paths[1], observe(paths[1]), None)
