"""A user's encrypted home: what opens it, where it is stored and mounted, and what the kernel and the owner make of it.

Root puts nothing into a user's directory by name, where any name may lead anywhere: what is done there is done with theirs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pam_pyhome.admin.doctor import absent, ecryptfs, fscrypt
from pam_pyhome.admin.doctor.finding import FAIL, OK, SKIP, WARN, Finding
from pam_pyhome.backends import ecryptfs_store as store
from pam_pyhome.backends import kept, registry
from pam_pyhome.errors import PyhomeError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats.facts import OLDER, OPEN, RECOVERY
from pam_pyhome.formats.words import quoted
from pam_pyhome.policy.users import uid_min

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.backends.base import Account, Backend, Description

_ROOM = 64 * 1024
RECOVERY_CHECK = "keys.recovery"


def kind(account: Account) -> str:
    """The name of the backend; empty if there is no home, or none that can be told."""
    try:
        backend = registry.find(account)
    except (OSError, PyhomeError):
        return ""
    return "" if backend is None else backend.name


def check(account: Account) -> Iterator[Finding]:
    """What a login needs to unlock the home, and what is not well with it."""
    if account.uid < uid_min():
        yield Finding(SKIP, "keys.user", account.name, f"is a system user (uid {account.uid}), whom pyhome leaves alone")
        return
    about = list(absent.check(account))
    yield from about
    if any(finding.check != "keys.uid" for finding in about):
        return
    try:
        backend = registry.find(account)
    except (OSError, PyhomeError) as error:
        yield Finding(FAIL, "keys.home", account.name, str(error), ecryptfs.adopt(account))
        return
    if backend is None:
        yield from _about_no_home(account)
        return
    yield Finding(OK, "keys.home", account.name, f"has a home of kind {backend.name}")
    yield from _about_wishes(account, backend)
    yield from ecryptfs.check(account) if backend.name == "ecryptfs" else fscrypt.check(account)
    try:
        description = backend.describe(account)
    except (OSError, PyhomeError) as error:
        yield Finding(FAIL, "keys.home", account.name, str(error), f"pyhome recovery backups {quoted(account.name)}")
        return
    yield from _about_slots(account, description)
    yield from _about_room(account, description)


def _about_no_home(account: Account) -> Iterator[Finding]:
    """Why a home that ought to be there is not seen."""
    lost = list(fscrypt.check_lost(account))
    yield from lost
    if lost:
        return
    if ecryptfs.has_lower(account):
        path = f"{store.shared_path(account, store.CONFIG)}/{layout.WRAPPED}"
        mend = f"runuser -u {quoted(account.name)} -- pyhome ecryptfs wrap {quoted(path)}"
        text = "has the ciphertext of a home, but no key file; its mount passphrase makes one"
        yield Finding(FAIL, "keys.home", account.name, text, mend)
    else:
        yield Finding(SKIP, "keys.home", account.name, "has no encrypted home")


def _about_wishes(account: Account, backend: Backend) -> Iterator[Finding]:
    wishes = backend.wishes(account)
    for wanted, option, what in (
        (wishes.open_at_login, "--open-at-login", "opened at login"),
        (wishes.lock_at_logout, "--lock-at-logout", "closed at logout"),
    ):
        if not wanted:
            mend = f"pyhome update {option} {quoted(account.name)}"
            yield Finding(WARN, "keys.wishes", account.name, f"does not want the home {what}", mend)
    if kept.read(account, kept.RESET) is not None:
        text = "has a new login password, and a home that waits for the old one: the next login asks for it"
        yield Finding(WARN, "keys.reset", account.name, text, f"pyhome passwd --home-only {quoted(account.name)}")


def _about_slots(account: Account, description: Description) -> Iterator[Finding]:
    """What a thief of the disk may know better than the owner does, and what opens the home when nobody knows the password."""
    for slot in description.slots:
        if slot.kind == OLDER:
            text = f"opens with an older password; it {slot.trouble}"
            yield Finding(WARN, "keys.older", slot.name, text, f"pyhome unlock {quoted(account.name)}")
    opens = [slot for slot in description.slots if slot.usable]
    if opens and not any(slot.kind == RECOVERY for slot in opens):
        text = "has no recovery key: if the password is lost, so is the home"
        yield Finding(WARN, RECOVERY_CHECK, account.name, text, f"pyhome recovery new {quoted(account.name)}")


def _about_room(account: Account, description: Description) -> Iterator[Finding]:
    """Who can get at the open home, and whether a password can be changed."""
    place = os.fsdecode(description.mountpoint) or account.home
    try:
        mode = os.stat(place).st_mode if description.state == OPEN or description.storage == description.mountpoint else 0
        if mode & 0o022:
            text = f"can be changed by others (mode {mode & 0o7777:04o})"
            mend = f"runuser -u {quoted(account.name)} -- chmod go-w {quoted(place)}"
            yield Finding(WARN, "keys.mode", place, text, mend)
        room = os.statvfs(os.path.dirname(os.fsdecode(description.storage)) or "/home")
    except OSError:
        return
    if room.f_bavail * room.f_frsize < _ROOM and not room.f_flag & os.ST_RDONLY:
        top = os.path.dirname(account.home)
        yield Finding(WARN, "keys.room", top, "has no room left, so no password can be changed", f"du -xsh {quoted(top)}/*")


def merge_recovery(findings: list[Finding]) -> list[Finding]:
    """All that have no recovery key, as one finding, with one command for all of them."""
    names = [each.subject for each in findings if each.check == RECOVERY_CHECK]
    if len(names) < 2:
        return findings
    mend = f'for user in {" ".join(map(quoted, names))}; do pyhome recovery new "$user"; done'
    text = "have no recovery keys: if a password is lost, so is the home"
    return [
        *(each for each in findings if each.check != RECOVERY_CHECK),
        Finding(WARN, RECOVERY_CHECK, ", ".join(names), text, mend),
    ]
