"""A user's encrypted home: its key files, its login shell, its leases, and what may keep it from closing."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from pam_pyhome.admin import login_shell
from pam_pyhome.admin.accounts import look_up
from pam_pyhome.admin.doctor import absent
from pam_pyhome.admin.doctor.finding import FAIL, OK, SKIP, WARN, Finding
from pam_pyhome.backends import ecryptfs_mount, registry
from pam_pyhome.backends import ecryptfs_store as store
from pam_pyhome.backends.ecryptfs import PARSERS
from pam_pyhome.errors import FormatError, PyhomeError, UnsafeFileError
from pam_pyhome.formats import ecryptfs_layout as layout
from pam_pyhome.formats import shells
from pam_pyhome.formats.facts import LOCKED, OLDER, OPEN, PARTLY
from pam_pyhome.formats.state import parse_open
from pam_pyhome.formats.words import quoted
from pam_pyhome.kernel import files
from pam_pyhome.kernel.process import rights_of
from pam_pyhome.policy import leases
from pam_pyhome.policy.users import uid_min

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.backends.base import Account, Backend
    from pam_pyhome.formats.state import OpenRecord

LINGER = "/var/lib/systemd/linger"
_ROOM = 64 * 1024
_RECORD_MAX = 65536
_NEEDED = (layout.WRAPPED, layout.SIGNATURES, layout.MOUNTPOINT)


def kind(account: Account) -> str:
    """The name of the backend; empty if there is no home, or none that can be told."""
    try:
        backend = registry.find(account)
    except (OSError, PyhomeError):
        return ""
    return "" if backend is None else backend.name


# Key files


def check_keys(account: Account) -> Iterator[Finding]:
    """What a login needs to unlock the home."""
    if account.uid < uid_min():
        yield Finding(FAIL, "keys.user", account.name, f"is a system user (uid {account.uid}), whom pyhome leaves alone")
        return
    about = list(absent.check(account))
    yield from about
    if any(finding.check != "keys.uid" for finding in about):
        return
    try:
        backend = registry.find(account)
    except (OSError, PyhomeError) as error:
        yield Finding(FAIL, "keys.home", account.name, str(error), f"ls -la {quoted(account.home)}")
        return
    if backend is None:
        yield _about_no_home(account)
        return
    yield Finding(OK, "keys.home", account.name, f"has a home of kind {backend.name}")
    yield from _about_wishes(account, backend)
    if backend.name == "ecryptfs":
        yield from _about_files(account)
        yield from _about_older(account, backend)
        yield from _about_storage(account)
    else:
        yield from _about_slots(account, backend)


def _about_slots(account: Account, backend: Backend) -> Iterator[Finding]:
    """What opens a home that has no key files of its own."""
    try:
        slots = backend.describe(account).slots
    except (OSError, PyhomeError) as error:
        yield Finding(FAIL, "keys.slot", account.name, str(error), "restore it from a backup")
        return
    for slot in slots:
        if not slot.trouble:
            yield Finding(OK, "keys.slot", slot.name, f"is there and reads well: {slot.kind}")
        elif slot.usable:
            yield Finding(WARN, "keys.slot", slot.name, slot.trouble, f"pyhome unlock {quoted(account.name)}")
        else:
            yield Finding(FAIL, "keys.slot", slot.name, slot.trouble, "restore it from a backup")


def _about_older(account: Account, backend: Backend) -> Iterator[Finding]:
    """What a thief of the disk may know better than the owner does."""
    for slot in backend.describe(account).slots:
        if slot.kind == OLDER:
            text = f"opens with an older password; it {slot.trouble}"
            yield Finding(WARN, "keys.older", slot.name, text, f"pyhome unlock {quoted(account.name)}")


def _about_no_home(account: Account) -> Finding:
    if not store.has_lower(account):
        return Finding(SKIP, "keys.home", account.name, "has no encrypted home")
    path = f"{store.shared_path(account, store.CONFIG)}/{layout.WRAPPED}"
    mend = f"runuser -u {quoted(account.name)} -- pyhome ecryptfs wrap {quoted(path)}"
    return Finding(FAIL, "keys.home", account.name, "has the ciphertext of a home, but no key file", mend)


def _about_files(account: Account) -> Iterator[Finding]:
    for name in _NEEDED:
        kept = store.read_kept(account, name) is not None
        level = WARN if kept or name == layout.MOUNTPOINT else FAIL
        rest = "; the copy in /var/lib/pyhome mends it at the next login" if kept else ""
        # Root puts nothing into a user's directory by name: there, a name may lead anywhere.
        mend = f"pyhome recovery restore {quoted(account.name)} {quoted(name)}" if kept else ""
        try:
            content = store.read(account, name)
            PARSERS[name](content)
        except FileNotFoundError:
            yield Finding(level, "keys.file", name, f"is missing{rest}", mend or _anew(account, name))
        except FormatError as error:
            yield Finding(level, "keys.file", name, f"is damaged: {error.reason}{rest}", mend or "restore it from a backup")
        except (UnsafeFileError, OSError) as error:
            reason = error.reason if isinstance(error, UnsafeFileError) else error.strerror
            yield Finding(level, "keys.file", name, f"does not count: it {reason}{rest}", mend or "restore it from a backup")
        else:
            yield Finding(OK, "keys.file", name, "is there and reads well")
    yield from _about_secrecy(account)


def _anew(account: Account, name: str) -> str:
    """Where there is no copy: what makes the file again, or has it."""
    if name == layout.WRAPPED:
        return f"pyhome passwd --home-only {quoted(account.name)}  # with the recovery key"
    return "restore it from a backup"


def _about_secrecy(account: Account) -> Iterator[Finding]:
    """The wrapped passphrase is all that somebody who guesses passwords needs."""
    with rights_of(account.uid, account.gid):
        directory = store.locate(account, store.CONFIG)
        try:
            mode = os.lstat(f"{directory}/{layout.WRAPPED}").st_mode if directory else 0
            shut = directory is not None and not os.lstat(directory).st_mode & 0o077
        except OSError:
            return
    if mode & 0o044 and not shut:
        path = f"{directory}/{layout.WRAPPED}"
        mend = f"runuser -u {quoted(account.name)} -- chmod 0600 {quoted(path)}"  # with no more rights than the user has
        yield Finding(WARN, "keys.secrecy", path, f"can be read by others (mode {mode & 0o7777:04o})", mend)


def _about_wishes(account: Account, backend: Backend) -> Iterator[Finding]:
    wishes = backend.wishes(account)
    for wanted, option, what in (
        (wishes.open_at_login, "--open-at-login", "opened at login"),
        (wishes.lock_at_logout, "--lock-at-logout", "closed at logout"),
    ):
        if not wanted:
            mend = f"pyhome update {option} {quoted(account.name)}"
            yield Finding(WARN, "keys.wishes", account.name, f"does not want the home {what}", mend)


def _about_storage(account: Account) -> Iterator[Finding]:
    if not store.has_lower(account):
        path = store.shared_path(account, store.LOWER)
        yield Finding(FAIL, "keys.storage", path, "is missing: the ciphertext of the home", "restore it from a backup")
        return
    place = os.fsdecode(ecryptfs_mount.mountpoint(account))
    try:
        status = os.stat(place)
    except OSError as error:
        mend = _about_place(account, place, f"install -d -o {quoted(account.name)} -m 0500")
        yield Finding(FAIL, "keys.mountpoint", place, f"cannot be mounted on: {error.strerror}", mend)
        return
    if status.st_uid != account.uid:
        text = f"belongs to uid {status.st_uid}, so nothing is mounted on it"
        mend = _about_place(account, place, f"chown --no-dereference {quoted(account.name)}:")
        yield Finding(FAIL, "keys.mountpoint", place, text, mend)
    room = os.statvfs(os.path.dirname(store.SHARED))
    if room.f_bavail * room.f_frsize < _ROOM:
        yield Finding(WARN, "keys.room", "/home", "has no room left, so no password can be changed", "df -h /home")


def _about_place(account: Account, place: str, command: str) -> str:
    """What mends a mount point: `command`, if it is the home. The user may have named any other, which is not ours to change."""
    if place == account.home.rstrip("/"):
        return f"{command} {quoted(place)}"
    return f"pyhome recovery backups {quoted(account.name)}"


# The login shell


def check_shell(user: str | None) -> Iterator[Finding]:
    """Those who have pyhome-shell as their login shell can log in."""
    entries = [entry for entry in pwd.getpwall() if entry.pw_shell == login_shell.STUB and user in {None, entry.pw_name}]
    if not entries:
        subject = user or "pyhome-shell"
        yield Finding(SKIP, "shell", subject, "has another login shell" if user else "is nobody's login shell")
        return
    if login_shell.STUB not in _listed():
        text = f"is not in {login_shell.LISTED}, so some programs refuse its users"
        yield Finding(WARN, "shell.listed", login_shell.STUB, text, f"add-shell {login_shell.STUB}")
    try:
        status = os.stat(shells.PATH)
    except FileNotFoundError:
        status = None
    if status is not None and (status.st_uid != 0 or status.st_mode & 0o022):
        text = f"belongs to uid {status.st_uid} with mode {status.st_mode & 0o7777:04o}, so it does not count"
        yield Finding(FAIL, "shell.real", shells.PATH, text, f"chown root: {shells.PATH} && chmod 0644 {shells.PATH}")
        return
    for entry in entries:
        yield _about_real(entry.pw_name)


def _listed() -> set[str]:
    try:
        with open(login_shell.LISTED, encoding="utf-8", errors="replace") as file:
            return {line.strip() for line in file}
    except OSError:
        return set()


def _about_real(name: str) -> Finding:
    mend = f"chsh -s /bin/bash {quoted(name)} && pyhome shell enable {quoted(name)}"
    try:
        real = login_shell.show(name).real_shell
    except (OSError, PyhomeError) as error:
        return Finding(FAIL, "shell.real", shells.PATH, str(error), f"editor {shells.PATH}")
    if real is None:
        return Finding(FAIL, "shell.real", name, f"has pyhome-shell, but no real shell in {shells.PATH}", mend)
    if not os.access(real, os.X_OK):
        return Finding(FAIL, "shell.real", name, f"has the real shell {real}, which cannot be run", mend)
    return Finding(OK, "shell", name, f"has pyhome-shell, and then {real}")


# Leases, and what lingers


def check_leases(account: Account | None) -> Iterator[Finding]:
    """Who holds homes open, and whether the records are true."""
    try:
        uids = sorted(int(name) for name in os.listdir(leases.RUN) if name.isdigit())
    except FileNotFoundError:
        uids = []
    chosen = [uid for uid in uids if account is None or uid == account.uid]
    findings = [finding for uid in chosen for finding in _about_state(uid)]
    yield from findings
    if not findings:
        yield Finding(OK, "leases", account.name if account else leases.RUN, "no home is open and none is held")


def _about_state(uid: int) -> Iterator[Finding]:
    directory = files.open_directory(f"{leases.RUN}/{uid}", owners=(0,))
    try:
        held = _held_locks(directory)
        names = [name for name in os.listdir(directory) if name.startswith(leases.LEASE_PREFIX)]
        on_hold = files.exists(directory, leases.HOLD)
        alive = sum(os.stat(name, dir_fd=directory).st_ino in held for name in names)
        content = files.read_file(directory, leases.OPEN, owners=(0,), limit=_RECORD_MAX)
        record = parse_open(content)
    except FileNotFoundError:
        return
    except (FormatError, UnsafeFileError) as error:
        text = f"cannot be understood ({error.reason}), so the home counts as locked"
        yield Finding(WARN, "leases.record", f"{leases.RUN}/{uid}/{leases.OPEN}", text, f"rm {leases.RUN}/{uid}/{leases.OPEN}")
        return
    finally:
        os.close(directory)
    path, state = os.fsdecode(record.mountpoint), _state(record)
    if state == LOCKED:
        text = f"is on record as open at {path}, but is open nowhere; the next login opens it again"
        yield Finding(WARN, "leases.record", record.user, text, f"rm {leases.RUN}/{uid}/{leases.OPEN}")
    elif state == PARTLY:
        text = "has a home that is only partly locked: files that are in use stay readable"
        yield Finding(WARN, "leases.partly", record.user, text, f"pyhome inspect {quoted(record.user)}")
    elif on_hold and not alive:
        yield Finding(OK, "leases", record.user, "has an open home, opened by hand, until 'pyhome lock'")
    elif not alive:
        yield Finding(WARN, "leases.held", record.user, "has an open home, but no session", "systemctl restart pyhomed.service")
    else:
        yield Finding(OK, "leases", record.user, f"has an open home, held by {alive} sessions")


def _state(record: OpenRecord) -> str:
    """How the home that is on record as open is, wherever its path leads by now."""
    try:
        status = os.stat(record.mountpoint)
        if record.backend == "ecryptfs" and f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}" == record.device:
            return OPEN
    except OSError:
        pass
    try:
        return registry.named(record.backend).state_of(record)[0]
    except (OSError, PyhomeError):
        return OPEN


def _held_locks(directory: int) -> set[int]:
    """The inodes of the file system of `directory` that somebody has locked with flock, as /proc/locks has them.

    Asking the kernel leaves the locks alone; whoever tried one could be in the way of a session that is just beginning.
    """
    device = os.fstat(directory).st_dev
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}"
    with open("/proc/locks", encoding="ascii", errors="replace") as file:
        fields = [line.split() for line in file if " FLOCK " in line and " -> " not in line]
    places = [each[5].rpartition(":") for each in fields if len(each) > 5]
    return {int(inode) for where, _, inode in places if where == wanted and inode.isdigit()}


def check_lingering(account: Account | None) -> Iterator[Finding]:
    """Users whose manager runs on after their last session, and with it what keeps a home busy."""
    try:
        names = sorted(os.listdir(LINGER))
    except FileNotFoundError:
        names = []
    found = [name for name in names if (account is None or name == account.name) and _is_encrypted(name)]
    for name in found:
        text = "lingers: services of the user run without a session, which find a locked home, or keep an open one busy"
        yield Finding(WARN, "lingering", name, text, f"loginctl disable-linger {quoted(name)}")
    if not found:
        yield Finding(OK, "lingering", account.name if account else LINGER, "nobody with an encrypted home lingers")


def _is_encrypted(name: str) -> bool:
    account = look_up(name)
    try:
        return account is not None and registry.find(account) is not None
    except (OSError, PyhomeError):
        return True
