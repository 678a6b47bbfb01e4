"""The kernel's side of an fscrypt home: giving keys to file systems, finding them there, taking them back."""

from __future__ import annotations

import errno
import os

from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.errors import HomeBusyError, StorageError, UnsafeFileError
from pam_pyhome.formats.state import Claim, OpenRecord
from pam_pyhome.kernel import fscrypt
from pam_pyhome.kernel.process import rights_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def mounted(account: Account, backend: str) -> OpenRecord | None:
    """See `Backend.mounted`. Only the home itself is looked at, whoever opened it."""
    with rights_of(account.uid, account.gid):
        try:
            directory = store.open_home(account)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            policy = fscrypt.policy_of(directory)
            if policy is None or policy.version != 2:
                return None
            present = fscrypt.key_status(directory, policy.identifier).state == fscrypt.PRESENT
            device = store.device_of(os.fstat(directory))
        finally:
            os.close(directory)
    if not present:
        return None
    mount = os.fsencode(store.main_mount(account.home))
    return _record(account, backend, device, (Claim(account.uid, policy.identifier, mount),))


def _record(account: Account, backend: str, device: str, claims: tuple[Claim, ...]) -> OpenRecord:
    with rights_of(account.uid, account.gid):
        home = os.fsencode(os.path.realpath(account.home))
    return OpenRecord(account.name, backend, home, claims[0].mountpoint, device, (), claims)


def attach(account: Account, label: str, secret: bytes, backend: str) -> OpenRecord:
    """See `Backend.attach`. `label`: identifier and mount point of the home's policy, `secret` its key."""
    identifier, _, mount = label.partition(" ")
    try:
        claim = _add(account, identifier, mount, secret)
        device = _look_inside(account)
    except OSError as error:
        raise StorageError(f"opening {account.home}", fscrypt.reason(error)) from error
    return _record(account, backend, device, (claim,))


def _add(account: Account, identifier: str, mount: str, secret: bytes) -> Claim:
    """Give one key to one file system, claimed by the user. OSError, StorageError."""
    with rights_of(account.uid, account.gid):
        directory = os.open(mount, _DIRECTORY)
        try:
            added = fscrypt.add_key(directory, secret)
        finally:
            os.close(directory)
    if added != identifier:
        raise StorageError(identifier, f"its key is that of {added}")
    return Claim(account.uid, identifier, os.fsencode(mount))


def _look_inside(account: Account) -> str:
    """The device of the home, whose first name was read: where a cipher is missing, that is what shows it."""
    with rights_of(account.uid, account.gid):
        directory = store.open_home(account)
        try:
            with os.scandir(directory) as entries:
                next(entries, None)
            return store.device_of(os.fstat(directory))
        finally:
            os.close(directory)


def detach(record: OpenRecord) -> None:
    """See `Backend.detach`. Gives up the user's claims; what others claim stays open for them."""
    busy = [claim for claim in record.claims if not give_up(claim)]
    if not busy:
        return
    from pam_pyhome.kernel.holders import holders_below

    major, minor = (int(part) for part in record.device.split(":"))
    raise HomeBusyError(
        os.fsdecode(record.mountpoint), holders_below(major, minor, os.fsdecode(record.mountpoint)), partly_locked=True
    )


def give_up(claim: Claim) -> bool:
    """Take one key back; False if files that it opened are in use, so that those stay open. UnsafeFileError."""
    with rights_of(claim.uid, claim.uid):
        try:
            directory = os.open(claim.mountpoint, _DIRECTORY)
        except OSError:
            return True  # the file system is not mounted any more, and its keys went with it
        try:
            status = fscrypt.key_status(directory, claim.identifier)
            if status.state == fscrypt.ABSENT or (status.state == fscrypt.PRESENT and not status.own):
                return True
            return not fscrypt.remove_key(directory, claim.identifier) & fscrypt.FILES_BUSY
        except OSError as error:
            if error.errno in (errno.ENOKEY, errno.ENOTTY, errno.EOPNOTSUPP):
                return True
            raise UnsafeFileError(os.fsdecode(claim.mountpoint), fscrypt.reason(error)) from error
        finally:
            os.close(directory)
