"""The key files of an eCryptfs home, its ciphertext, and the directory that it is mounted on."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from pam_pyhome.admin.doctor.finding import FAIL, OK, WARN, Finding
from pam_pyhome.backends import ecryptfs_mount, ecryptfs_salvage
from pam_pyhome.backends import ecryptfs_store as store
from pam_pyhome.backends.ecryptfs import PARSERS
from pam_pyhome.errors import FormatError, UnsafeFileError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats.words import quoted
from pam_pyhome.kernel.process import rights_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.backends.base import Account
    from pam_pyhome.formats.ecryptfs_layout import Signatures

_NEEDED = (layout.WRAPPED, layout.SIGNATURES, layout.MOUNTPOINT)
#: What belongs in the directory that a home is mounted on: what ecryptfs-utils put there, and keys and agents for sshd.
_PLAIN = {store.CONFIG, store.LOWER, "Access-Your-Private-Data.desktop", "README.txt", ".ssh"}
_MOST_NAMES = 1000


def check(account: Account) -> Iterator[Finding]:
    """Everything that a login needs of it."""
    yield from _about_files(account)
    yield from _about_secrecy(account)
    yield from _about_storage(account)


def has_lower(account: Account) -> bool:
    """Whether there is ciphertext where it can be believed to be the account's."""
    try:
        return store.has_lower(account)
    except UnsafeFileError:
        return False


def adopt(account: Account) -> str:
    """What mends a home that a rename, a new uid or a new machine has left behind."""
    return f"pyhome adopt {quoted(account.name)}"


# Key files


def _about_files(account: Account) -> Iterator[Finding]:
    for name in _NEEDED:
        subject = f"{name} of {account.name}"
        is_kept = store.read_kept(account, name) is not None
        level = WARN if is_kept or name == layout.MOUNTPOINT else FAIL
        trouble = _trouble(account, name)
        if not trouble:
            yield Finding(OK, "keys.file", subject, "is there and reads well")
        elif is_kept:
            mend = f"pyhome recovery restore {quoted(account.name)} {quoted(name)}"
            yield Finding(level, "keys.file", subject, f"{trouble}; the copy in /var/lib/pyhome mends it at the next login", mend)
        else:
            yield Finding(level, "keys.file", subject, trouble + _WITHOUT.get(name, ""), _anew(account, name))


_WITHOUT = {layout.WRAPPED: "; the recovery key, or the mount passphrase, makes a new one when it is typed as the present password"}


def _trouble(account: Account, name: str) -> str:
    """What is wrong with a key file; empty if nothing is."""
    try:
        parsed = PARSERS[name](store.read(account, name))
    except FileNotFoundError:
        return "is missing"
    except FormatError as error:
        return f"is damaged: {error.reason}"
    except (UnsafeFileError, OSError) as error:
        return f"does not count: it {error.reason if isinstance(error, UnsafeFileError) else error.strerror}"
    if name == layout.SIGNATURES:
        seen = _signatures(account)
        copy = store.read_kept(account, name)
        known = {seen} if seen else {layout.parse_signatures(copy)} if copy else set()
        if known and parsed not in known:
            return "names other keys than those of the home"
    return ""


def _signatures(account: Account) -> Signatures | None:
    """The names of the keys, as the ciphertext has them in it."""
    with rights_of(account.uid, account.gid):
        try:
            lower = store.locate(account, store.LOWER)
        except UnsafeFileError:
            return None
        found = () if lower is None else ecryptfs_salvage.traced(lower)
    return found[0] if found else None


def _anew(account: Account, name: str) -> str:
    """Where there is no copy: what makes the file again."""
    if name == layout.WRAPPED:
        return f"pyhome passwd --home-only {quoted(account.name)}"
    if name == layout.MOUNTPOINT:
        return _written(account, name, _usual_place(account))
    seen = _signatures(account)
    if seen is None:
        return f"pyhome recovery backups {quoted(account.name)}"
    return _written(account, name, *filter(None, (seen.fekek, seen.fnek)))


def _written(account: Account, name: str, *lines: str) -> str:
    """The command that writes a key file, with no more rights than the user has."""
    with rights_of(account.uid, account.gid):
        directory = store.locate(account, store.CONFIG) or f"{account.home}/{store.CONFIG}"
    made = f"printf '%s\\n' {' '.join(map(quoted, lines))}"
    path, who = f"{directory}/{name}", quoted(account.name)
    return f"runuser -u {who} -- rm -f {quoted(path)} && {made} | runuser -u {who} -- tee {quoted(path)}"


def _usual_place(account: Account) -> str:
    """Where a home is mounted whose files are in /home/.ecryptfs, and where a directory of a home is."""
    return account.home if os.path.isdir(store.storage_of(account)) else f"{account.home}/Private"


def _about_secrecy(account: Account) -> Iterator[Finding]:
    """The wrapped passphrase is all that somebody who guesses passwords needs."""
    with rights_of(account.uid, account.gid):
        try:
            directory = store.locate(account, store.CONFIG)
            mode = os.lstat(f"{directory}/{layout.WRAPPED}").st_mode if directory else 0
            shut = directory is not None and not os.lstat(directory).st_mode & 0o077
        except (OSError, UnsafeFileError):
            return
    if mode & 0o044 and not shut:
        path = f"{directory}/{layout.WRAPPED}"
        mend = f"runuser -u {quoted(account.name)} -- chmod 0600 {quoted(path)}"
        yield Finding(WARN, "keys.secrecy", path, f"can be read by others (mode {mode & 0o7777:04o})", mend)


# Where it is stored and mounted


def _about_storage(account: Account) -> Iterator[Finding]:
    lower = f"{store.storage_of(account)}/{store.LOWER}"
    try:
        with rights_of(account.uid, account.gid):
            lower = store.locate(account, store.LOWER) or ""
    except UnsafeFileError as error:
        yield Finding(FAIL, "keys.storage", error.path, error.reason, adopt(account))
        return
    if not lower:
        text = "is missing, and with it all files of the home: put it back from a backup"
        mend = f"pyhome recovery backups {quoted(account.name)}"
        yield Finding(FAIL, "keys.storage", f"{store.storage_of(account)}/{store.LOWER}", text, mend)
        return
    yield from _about_mountpoint(account)


def _about_mountpoint(account: Account) -> Iterator[Finding]:
    place = os.fsdecode(ecryptfs_mount.mountpoint(account))
    is_home = place == account.home.rstrip("/")
    try:
        status = os.stat(place)
    except OSError as error:
        made = f"install -d -o {quoted(account.name)} -g {account.gid} -m 0500 {quoted(place)}"
        mend = made if is_home else _written(account, layout.MOUNTPOINT, _usual_place(account))
        yield Finding(FAIL, "keys.mountpoint", place, f"cannot be mounted on: {error.strerror}", mend)
        return
    if status.st_uid != account.uid:
        text = f"belongs to uid {status.st_uid}, so nothing is mounted on it"
        chown = f"chown --no-dereference {quoted(account.name)}: {quoted(place)}"
        mend = _written(account, layout.MOUNTPOINT, _usual_place(account)) if not is_home else chown
        yield Finding(FAIL, "keys.mountpoint", place, text, mend if not _is_taken(status.st_uid) or not is_home else adopt(account))
    elif is_home and ecryptfs_mount.mounted(account, "ecryptfs") is None:
        yield from _about_plain_files(account, place)


def _is_taken(uid: int) -> bool:
    """Whether it is a number of another ordinary user, or of one who is gone, and not root's."""
    return uid != 0 and uid not in {entry.pw_uid for entry in pwd.getpwall()}


def _about_plain_files(account: Account, place: str) -> Iterator[Finding]:
    """What somebody has written where the home is to be mounted: no encryption covers it, and the home hides it."""
    with os.scandir(place) as entries:
        names = [entry.name for entry, _ in zip(entries, range(_MOST_NAMES)) if entry.name not in _PLAIN]
    if not names:
        return
    aside = f"{place}.not-encrypted"
    keep = " ".join(f"! -name {quoted(name)}" for name in sorted(_PLAIN))
    found = f"find {quoted(place)} -mindepth 1 -maxdepth 1 {keep}"
    mend = f"install -d -m 0700 {quoted(aside)} && {found} -exec mv --no-clobber --target-directory={quoted(aside)} {{}} +"
    text = f"has {len(names)} {'entry' if len(names) == 1 else 'entries'} without encryption, which the open home hides"
    yield Finding(WARN, "keys.plain", place, text, mend)
