"""Making an fscrypt home: on an empty directory, for the login password, so that `fscrypt` and `pam_fscrypt` take it for their own.

Root calls this. What it makes is undone if a later step fails; and before each step the caller is told what would undo it, so
that it can be undone after a kill as well.
"""

from __future__ import annotations

import os

from pam_pyhome.backends import fscrypt_protectors as protectors
from pam_pyhome.backends import fscrypt_store as store
from pam_pyhome.backends.fscrypt import FscryptBackend
from pam_pyhome.backends.fscrypt_keys import attach
from pam_pyhome.backends.fscrypt_protectors import Protector
from pam_pyhome.backends.fscrypt_unlock import label, open_protector
from pam_pyhome.errors import PyhomeError, StorageError
from pam_pyhome.formats import fscrypt_key as key
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.kernel import files, fscrypt
from pam_pyhome.kernel.process import rights_of
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account
    from pam_pyhome.formats.state import OpenRecord

    Step = tuple[str, ...]  # what `take_back` takes back
    Note = Callable[[Step], None]

FILE, KEY = "file", "key"
PADDING = 32


class Created(Record):
    """A home that was made, and is open: the names of its policy and of the login protector, and what locks it again."""

    policy: str
    protector: str
    record: OpenRecord


def missing(path: str) -> str | None:
    """What keeps the directory at `path` from being encrypted, in words; None if nothing does. The cipher shows only in use."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = fscrypt.support(directory)
        if found is None and os.listdir(directory):
            return "the directory is not empty"
        return found
    finally:
        os.close(directory)


def create(
    account: Account, password: bytes, costs: meta.Costs, recovery: bytes | None = None, note: Note | None = None
) -> Created:
    """Encrypt the account's empty home directory for its login `password`, and for the passphrase `recovery` if there is one.

    A login protector that the user has already is used, if the password opens it. `note` is told before each step what takes it
    back. StorageError, with the reason, if the directory or its file system cannot be encrypted; WrongPassphraseError if the
    present login protector has another password.
    """
    undo: list[Step] = []

    def before(step: Step) -> None:
        undo.append(step)
        if note is not None:
            note(step)

    try:
        return _create(account, password, costs, recovery, before)
    except (OSError, PyhomeError) as error:
        for step in reversed(undo):
            try:
                take_back(step)
            except (OSError, PyhomeError):
                continue
        if isinstance(error, OSError):
            raise StorageError(f"encrypting {account.home}", fscrypt.reason(error)) from error
        raise


def take_back(step: Step) -> None:
    """Undo a step, as far as it got: a metadata file goes, or the claim on a key. OSError."""
    kind, *rest = step
    if kind == FILE:
        _remove_file(*rest)
        return
    uid, gid, mount, identifier = rest
    with rights_of(int(uid), int(gid)):
        place = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if fscrypt.key_status(place, identifier).own:
                fscrypt.remove_key(place, identifier)
        finally:
            os.close(place)


def _remove_file(mount: str, kind: str, name: str) -> None:
    """A metadata file, and what was to become it."""
    metadata = f"{mount}/{store.METADATA}"
    for path in (f"{metadata}/{kind}/{name}", metadata + "/" + store.staged_name(kind, name) + files.STAGED_SUFFIX):
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue


def _create(account: Account, password: bytes, costs: meta.Costs, recovery: bytes | None, note: Note) -> Created:
    trouble = missing(account.home)
    if trouble is not None:
        raise StorageError(f"encrypting {account.home}", trouble)
    mount = store.main_mount(account.home)
    for place in dict.fromkeys((store.ROOT, mount)):
        set_up(place)
    login = _login_protector(account, password, costs, note)
    if mount != store.ROOT:
        _write(account, mount, store.PROTECTORS, f"{login.descriptor}.link", protectors.link_to_root(), note)
    slots = [login]
    if recovery is not None:
        made = protectors.make(account, meta.CUSTOM, meta.RECOVERY_NAME + account.name, recovery, costs)
        _write(account, mount, store.PROTECTORS, made.descriptor, made.content, note)
        slots.append(made)
    policy_key = os.urandom(meta.POLICY_KEY_SIZE)
    identifier = key.policy_name(policy_key)
    content = meta.emit_policy(identifier, tuple(one.slot(policy_key) for one in slots), padding=PADDING)
    _write(account, mount, store.POLICIES, identifier, content, note)
    return Created(identifier, login.descriptor, _apply(account, mount, identifier, policy_key, note))


def set_up(mount: str) -> None:
    """Make the metadata directories of a file system, as `fscrypt setup` does for root alone; nothing if they are there."""
    os.makedirs(f"{mount}/{store.METADATA}", mode=0o755, exist_ok=True)
    for kind in (store.POLICIES, store.PROTECTORS):
        path = f"{mount}/{store.METADATA}/{kind}"
        if not os.path.isdir(path):
            os.mkdir(path, 0o755)
            os.chmod(path, 0o755)
    os.chmod(f"{mount}/{store.METADATA}", 0o755)


def _login_protector(account: Account, password: bytes, costs: meta.Costs, note: Note) -> Protector:
    """The user's login protector, opened; a new one if there is none. A user has one at most."""
    for protector, content in protectors.of_login(account):
        if protector.costs is not None:
            secret = open_protector(account.uid, protector.descriptor, content, password)
            return Protector(protector.descriptor, content, secret)
    made = protectors.make(account, meta.LOGIN, "", password, costs)
    _write(account, store.ROOT, store.PROTECTORS, made.descriptor, made.content, note)
    return made


def _write(account: Account, mount: str, kind: str, name: str, content: bytes, note: Note) -> None:
    """A new metadata file of the user's; a link that is there already stays as it is."""
    directory = store.open_metadata(mount, kind, (0,))
    try:
        present = files.exists(directory, name)
    finally:
        os.close(directory)
    if not present:
        note((FILE, mount, kind, name))
        store.replace(mount, kind, name, content, (account.uid, account.gid, 0o600))


def _apply(account: Account, mount: str, identifier: str, policy_key: bytes, note: Note) -> OpenRecord:
    """Add the key and encrypt the directory, both in the user's name."""
    note((KEY, str(account.uid), str(account.gid), mount, identifier))
    with rights_of(account.uid, account.gid):
        place = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fscrypt.add_key(place, policy_key)
        finally:
            os.close(place)
        directory = store.open_home(account)
        try:
            fscrypt.set_policy(
                directory, identifier, padding=PADDING, contents=meta.XTS_AES_256, filenames=meta.CTS_AES_256
            )
        finally:
            os.close(directory)
    return attach(account, label(identifier, mount), policy_key, FscryptBackend.name)
