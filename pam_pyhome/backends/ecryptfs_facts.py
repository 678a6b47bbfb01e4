"""What there is to know about an eCryptfs home, for people who ask."""

from __future__ import annotations

import os

from pam_pyhome.backends import ecryptfs_mount, ecryptfs_store, kept, kept_facts
from pam_pyhome.backends.base import Description
from pam_pyhome.errors import FormatError, UnsafeFileError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats.ecryptfs_wrapped import parse_wrapped
from pam_pyhome.formats.facts import LOCKED, OPEN, RECOVERY, Slot
from pam_pyhome.kernel.holders import holders
from pam_pyhome.kernel.process import rights_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account

LOGIN, OWN, COPY = "login password", "passphrase of its own", "copy of the key file"
_WEAK = "is of version 1, which is weak; the next login renews it"


def describe(account: Account) -> Description:
    """See `Backend.describe`."""
    record = ecryptfs_mount.mounted(account, "ecryptfs")
    with rights_of(account.uid, account.gid):
        lower = _or_nothing(account, ecryptfs_store.LOWER)
    if record is None:
        return Description(LOCKED, os.fsencode(lower), ecryptfs_mount.mountpoint(account), _slots(account))
    major, minor = (int(part) for part in record.device.split(":"))
    return Description(OPEN, record.source, record.mountpoint, _slots(account), holders(major, minor))


def _or_nothing(account: Account, name: str) -> str:
    """Where `.Private` or `.ecryptfs` is; empty if there is none that can be believed. With the user's rights."""
    try:
        return ecryptfs_store.locate(account, name) or ""
    except UnsafeFileError:
        return ""


def _slots(account: Account) -> tuple[Slot, ...]:
    """The key file, and the copy that was good when the home was last opened."""
    with rights_of(account.uid, account.gid):
        directory = _or_nothing(account, ecryptfs_store.CONFIG) or f"{account.home}/{ecryptfs_store.CONFIG}"
    kind = OWN if ecryptfs_store.has(account, layout.WRAPPING_INDEPENDENT) else LOGIN
    missing = _missing(account)
    if missing:
        return (Slot(f"{directory}/{layout.WRAPPED}", kind, missing, usable=False),)
    slots = [Slot(f"{directory}/{layout.WRAPPED}", kind, *_judge_live(account, layout.WRAPPED))]
    copy = ecryptfs_store.read_kept(account, layout.WRAPPED)
    if copy is not None:
        slots.append(Slot(f"{kept.place_of(account)}/{layout.WRAPPED}", COPY, *_judge(copy)))
    live = _read(account, layout.WRAPPED)
    slots += kept_facts.beside(account, layout.WRAPPED, (copy or b"", live), lambda _name, content: _judge(content)[1])
    if ecryptfs_store.has(account, layout.RECOVERY):
        slots.append(Slot(f"{directory}/{layout.RECOVERY}", RECOVERY, *_judge_live(account, layout.RECOVERY)))
    return tuple(slots)


def _missing(account: Account) -> str:
    """What a key file is of no use without, and is not there; empty if nothing is."""
    with rights_of(account.uid, account.gid):
        lower = _or_nothing(account, ecryptfs_store.LOWER)
    if not lower:
        return "the ciphertext of the home is missing"
    owner = os.lstat(lower).st_uid
    if owner != account.uid:
        return f"the ciphertext of the home belongs to uid {owner}"
    for read in (ecryptfs_store.read, ecryptfs_store.read_kept):
        try:
            layout.parse_signatures(read(account, layout.SIGNATURES) or b"")
        except (OSError, UnsafeFileError, FormatError):
            continue
        return ""
    return f"{layout.SIGNATURES}, which tells whether a password is right, is missing or damaged"


def _read(account: Account, name: str) -> bytes:
    try:
        return ecryptfs_store.read(account, name)
    except (OSError, UnsafeFileError):
        return ecryptfs_store.MISSING


def _judge_live(account: Account, name: str) -> tuple[str, bool]:
    """What is wrong with a key file, and whether it is usable."""
    try:
        return _judge(ecryptfs_store.read(account, name))
    except UnsafeFileError as error:
        return error.reason, False
    except OSError as error:
        return error.strerror or str(error), False


def _judge(content: bytes) -> tuple[str, bool]:
    try:
        return (_WEAK if parse_wrapped(content).version == 1 else ""), True
    except FormatError as error:
        return f"damaged: {error.reason}", False
