"""Opening a home of another installation at a directory of root's, and closing it so that nothing is left.

What is about to be opened is on record before the kernel is given a key or a mount, see `salvage_record`, so that
whatever is killed can be closed. The same function closes what is open, what is half open, and what failed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome import events
from pam_pyhome.admin import salvage_facts as facts
from pam_pyhome.admin import salvage_private
from pam_pyhome.admin.salvage_find import ECRYPTFS, Home, Places
from pam_pyhome.admin.salvage_record import BASE, Register
from pam_pyhome.backends import ecryptfs_salvage, fscrypt_keys, fscrypt_salvage, fscrypt_store
from pam_pyhome.errors import (
    HomeBusyError,
    KeyFilesLostError,
    OldPolicyError,
    PlaceError,
    PyhomeError,
    StorageError,
    WrongPassphraseError,
)
from pam_pyhome.formats.fscrypt_key import policy_name
from pam_pyhome.formats.mountinfo import parse_mountinfo
from pam_pyhome.formats.recovery import mistyped, typed_fscrypt, typed_passphrase
from pam_pyhome.formats.state import Claim, OpenRecord
from pam_pyhome.kernel import files, fscrypt, mounts, trees
from pam_pyhome.kernel.holders import holders_below
from pam_pyhome.kernel.log import Person, log

if TYPE_CHECKING:
    from pam_pyhome.backends.ecryptfs_unlock import Keys
    from pam_pyhome.formats.mountinfo import Mount

_NO_DEVICE = "0:0"
_HARMLESS = trees.NO_SUID | trees.NO_DEVICES | trees.NO_EXEC


class Unlocked(NamedTuple):
    """A home and what opens it in the kernel: the keys of an eCryptfs home, or the key of an fscrypt policy."""

    home: Home
    keys: Keys
    policy_key: bytes

    def __repr__(self) -> str:
        """Never the keys."""
        return f"Unlocked({self.home.path})"


def unlock(home: Home, secret: bytes, places: Places) -> Unlocked:
    """What opens the home in the kernel. Changes nothing.

    WrongPassphraseError, whose text is empty or says how a recovery key is mistyped, if `secret` is neither its recovery key, nor
    its mount passphrase, nor one of its passwords;
    KeyFilesLostError, OldPolicyError if nothing can open it; FormatError, StorageError for costs beyond this machine.
    """
    try:
        return _unlock(home, secret, places)
    except WrongPassphraseError:
        raise WrongPassphraseError(mistyped(secret)) from None


def _unlock(home: Home, secret: bytes, places: Places) -> Unlocked:
    if home.backend == ECRYPTFS:
        found = places.key_files(home.path, home.uid)
        if not found.signatures:
            raise KeyFilesLostError(home.path, home.trouble)
        return Unlocked(home, ecryptfs_salvage.unlock(found, _spellings(secret, typed_passphrase(secret))), b"")
    policy = fscrypt_salvage.policy_of(home.path)
    if policy is None or policy.version != fscrypt_salvage.VERSION:
        raise OldPolicyError(home.path)
    ways, _ = places.ways(home.path, policy.identifier)
    if not ways:
        raise KeyFilesLostError(home.path, home.trouble)
    return Unlocked(home, (), fscrypt_salvage.unlock(ways, _spellings(secret, typed_fscrypt(secret))))


def _spellings(secret: bytes, printed: bytes | None) -> tuple[bytes, ...]:
    """What was typed, and before that, if it is a recovery key, the way in which it was `printed`."""
    return tuple(dict.fromkeys(filter(None, (printed, secret))))


# Opening


def open_at(unlocked: Unlocked, directory: str | None, *, writable: bool) -> str:
    """Open a home at a directory, which must be empty and root's; without one, at a new one that only root gets to. The directory.

    PlaceError if that is not one; StorageError if the kernel refuses. If anything goes wrong nothing is open.
    """
    with Register() as register:
        _check_home(register, unlocked.home)
        place = _new_place(unlocked.home) if directory is None else os.path.realpath(directory)
        target = _open_place(register, place)
        name = register.new()
        record = _planned(register, unlocked, place)
        try:
            register.write(name, record)
            if record.claims:
                salvage_private.check(unlocked.home.path, record.device)
            _attach(unlocked, target, writable=writable)
            register.write(name, _with_device(record))
        except BaseException:
            with contextlib.suppress(OSError, PyhomeError):
                _close(register, name, record)
            raise
        finally:
            os.close(target)
        home = unlocked.home
        log(events.RECOVERED, f"{home.path} on {place}", Person(home.user, home.uid))
        return place


def _check_home(register: Register, home: Home) -> None:
    wanted = os.fsencode(home.path)
    for record in register.all().values():
        if record.source == wanted:
            raise PlaceError(home.path, facts.OPEN_ELSEWHERE, os.fsdecode(record.mountpoint))
    if home.backend == ECRYPTFS:
        place = ecryptfs_salvage.mounted_at(home.path, parse_mountinfo(mounts.read_mountinfo()))
        if place is not None:
            raise PlaceError(home.path, facts.OPEN_ELSEWHERE, place)


def _new_place(home: Home) -> str:
    """An empty directory that is called after whose home it is."""
    name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in home.user)
    number = 1
    while True:
        path = f"{BASE}/{name}" if number == 1 else f"{BASE}/{name}-{number}"
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            number += 1
        else:
            return path


def _open_place(register: Register, place: str) -> int:
    """Descriptor of the directory to open a home at. PlaceError unless it is root's alone, and empty."""
    if register.at(place) is not None:
        raise PlaceError(place, facts.IN_USE)
    try:
        target = files.open_listable(place)
    except OSError as error:
        raise PlaceError(place, facts.NOT_ROOTS, error.strerror or str(error)) from None
    status = os.fstat(target)
    defect = facts.NOT_ROOTS if status.st_uid != 0 or stat.S_IMODE(status.st_mode) & 0o022 else ""
    if not defect and os.listdir(target):
        defect = facts.NOT_EMPTY
    if defect:
        os.close(target)
        raise PlaceError(place, defect)
    return target


def _planned(register: Register, unlocked: Unlocked, place: str) -> OpenRecord:
    """What is about to be opened. A claim on the key that somebody else of root's has made is not ours to give up."""
    home = unlocked.home
    device = _NO_DEVICE
    claims: tuple[Claim, ...] = ()
    if home.backend != ECRYPTFS:
        identifier = policy_name(unlocked.policy_key)
        directory = files.open_listable(home.path)
        try:
            device = fscrypt_store.device_of(os.fstat(directory))
            known = fscrypt.key_status(directory, identifier).own
        finally:
            os.close(directory)
        if not known or _is_claimed(register, device, identifier):
            claims = (Claim(0, identifier, os.fsencode(home.path)),)
    return OpenRecord(home.user, home.backend, os.fsencode(place), os.fsencode(home.path), device, (), claims)


def _is_claimed(register: Register, device: str, identifier: str) -> bool:
    """Whether a home that is on record holds the key."""
    return any(
        record.device == device and claim.identifier == identifier for record in register.all().values() for claim in record.claims
    )


def _attach(unlocked: Unlocked, target: int, *, writable: bool) -> None:
    home = unlocked.home
    if home.backend == ECRYPTFS:
        ecryptfs_salvage.mount(home.path, unlocked.keys, target, writable=writable)
        return
    try:
        fscrypt_salvage.add_key(home.path, unlocked.policy_key)
        directory = files.open_listable(home.path)
        try:
            with os.scandir(directory) as entries:
                next(entries, None)  # where a cipher is missing, this is what shows it
            trees.show(directory, target, _HARMLESS if writable else _HARMLESS | trees.READ_ONLY)
        finally:
            os.close(directory)
    except OSError as error:
        raise StorageError(home.path, fscrypt.reason(error)) from error


def _with_device(record: OpenRecord) -> OpenRecord:
    """The record of what is mounted now. StorageError if it is not."""
    found = _mounted(record)
    if found is None:
        raise StorageError(os.fsdecode(record.mountpoint), "the kernel took the mount, but does not show it")
    return OpenRecord(
        record.user, record.backend, record.mountpoint, record.source, found.device, record.keys, record.claims
    )


# Closing


def all_open() -> list[OpenRecord]:
    """What is open, or half open. FormatError, StorageError."""
    with Register() as register:
        return list(register.all().values())


def close(directory: str) -> OpenRecord:
    """Close the home that is open at a directory, or the one that lies there; what was open. PlaceError if none is, or several.

    HomeBusyError while it is in use; what could be taken back is, and the rest the next time.
    """
    place = os.path.realpath(directory)
    with Register() as register:
        at = register.at(place)
        found = [at] if at is not None else register.lying_in(place)
        if len(found) != 1:
            raise PlaceError(directory, facts.SEVERAL if found else facts.NOT_OPEN)
        ((name, record),) = found
        _close(register, name, record)
        log(events.LOCKED, f"of another installation, which was open on {place}", Person(record.user))
        return record


def _close(register: Register, name: str, record: OpenRecord) -> None:
    """Take back whatever there is of what is on record. HomeBusyError, PlaceError."""
    _unmount(record)
    for claim in record.claims:
        others = [other for each, other in register.all().items() if each != name and other.device == record.device]
        if not any(claim.identifier == kept.identifier for other in others for kept in other.claims):
            _take_back_key(record, claim)
    register.forget(name)
    place = os.fsdecode(record.mountpoint)
    if os.path.dirname(place) == BASE:
        with contextlib.suppress(OSError):
            os.rmdir(place)


def _mounted(record: OpenRecord) -> Mount | None:
    """The mount that is on record; None if there is none. PlaceError if another covers it."""
    here = [mount for mount in parse_mountinfo(mounts.read_mountinfo()) if mount.mountpoint == record.mountpoint]
    ours = [mount for mount in here if _is_ours(mount, record)]
    if ours and not _is_ours(here[-1], record):
        raise PlaceError(os.fsdecode(record.mountpoint), facts.COVERED)
    return ours[-1] if ours else None


def _is_ours(mount: Mount, record: OpenRecord) -> bool:
    """Whether a mount is what the record says; which device an eCryptfs mount has is known only afterwards."""
    if record.device == _NO_DEVICE:
        return mount.fstype == ecryptfs_salvage.FSTYPE
    return mount.device == record.device


def _unmount(record: OpenRecord) -> None:
    found = _mounted(record)
    if found is None:
        return
    parent_path, _, name = record.mountpoint.rpartition(b"/")
    parent = files.open_canonical(parent_path)
    try:
        mounts.umount(parent, name)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        place = os.fsdecode(record.mountpoint)
        raise HomeBusyError(place, _holders(found.device, place)) from None
    finally:
        os.close(parent)


def _holders(device: str, path: str) -> tuple[str, ...]:
    major, minor = (int(part) for part in device.split(":"))
    return holders_below(major, minor, path)


def _take_back_key(record: OpenRecord, claim: Claim) -> None:
    """Give the key of a file system up, wherever that is mounted now; it is gone already if it is not mounted any more."""
    for mount in parse_mountinfo(mounts.read_mountinfo()):
        if mount.device != record.device:
            continue
        try:
            seen = fscrypt_store.device_of(os.stat(mount.mountpoint))
        except OSError:
            continue
        if seen == record.device:
            if not fscrypt_keys.give_up(Claim(claim.uid, claim.identifier, mount.mountpoint)):
                source = os.fsdecode(record.source)
                raise HomeBusyError(source, _holders(record.device, source), partly_locked=True)
            return
