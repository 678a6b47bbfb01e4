"""Copies of key files that were good when the home was last opened: `/var/lib/pyhome/UID.USER`, where only root can damage them."""

from __future__ import annotations

import os

from pam_pyhome.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pam_pyhome.backends.base import Account

STATE = "/var/lib/pyhome"
CONVERTING = f"{STATE}/converting"  # records of the homes of which there is another copy, by the name of the user


def place_of(account: Account) -> str:
    """The directory with an account's copies."""
    return f"{STATE}/{account.uid}.{account.name}"


def _open(account: Account, *, create: bool) -> int:
    """Descriptor of the root-owned directory with this account's copies."""
    path = place_of(account)
    if create:
        for level in (STATE, path):
            try:
                os.mkdir(level, 0o700)
            except FileExistsError:
                continue
    return files.open_directory(path, owners=(0,))


def read(account: Account, name: str, limit: int) -> bytes | None:
    """The copy of `name` that was good at the last login, or None."""
    try:
        directory = _open(account, create=False)
    except FileNotFoundError:
        return None
    try:
        return files.read_file(directory, name, owners=(0,), limit=limit)
    except FileNotFoundError:
        return None
    finally:
        os.close(directory)


def keep(account: Account, name: str, content: bytes) -> None:
    """Keep `content` as the good copy of `name`; nothing is written if it is there already."""
    directory = _open(account, create=True)
    try:
        present = files.exists(directory, name)
        if not present or files.read_file(directory, name, owners=(0,), limit=1 << 20) != content:
            files.replace_file(directory, name, content)
    finally:
        os.close(directory)


def names(account: Account) -> list[str]:
    """What there is a copy of."""
    try:
        directory = _open(account, create=False)
    except FileNotFoundError:
        return []
    try:
        return sorted(os.listdir(directory))
    finally:
        os.close(directory)


def age(account: Account, name: str) -> float:
    """When the copy `name` was written, in seconds of the epoch. OSError if there is none."""
    directory = _open(account, create=False)
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime
    finally:
        os.close(directory)


def remove(account: Account, name: str) -> None:
    """Forget the copy `name`, if there is one. OSError."""
    try:
        directory = _open(account, create=False)
    except FileNotFoundError:
        return
    try:
        os.unlink(name, dir_fd=directory)
        os.fsync(directory)
    except FileNotFoundError:
        pass
    finally:
        os.close(directory)
