"""Which file systems root has approved for the keys of users: by /etc/fstab or a mount unit, or by `pyhome trust`.

What a file system says of itself proves nothing: whoever has written its image has chosen its UUID, its metadata and the owners of
its files. So one is known by where root has it mounted, or by the disk it was on when root approved it; and never one that is in
a file that others than root can change.
"""

from __future__ import annotations

import os
import stat

from pam_pyhome.backends.kept import STATE
from pam_pyhome.errors import FormatError, UnsafeFileError
from pam_pyhome.formats import fstab, trusted
from pam_pyhome.kernel import files, filesystems
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.formats.fstab import Entry
    from pam_pyhome.formats.mountinfo import Mount
    from pam_pyhome.formats.trusted import Approval

PLACE = f"{STATE}/trusted"
#: How well a file system is known, best first.
HOMES_OWN, ROOTS, CONFIGURED, APPROVED, UNKNOWN = range(5)
NOT_APPROVED = "root has not approved that file system"
OTHER_DISK = "root has approved a file system with its UUID on another disk"
CHANGEABLE = "it is a file that others than root can change"

# Those of root's, and what root's own files are made into; not /run/systemd/transient, which a tool can be asked for.
_UNITS = (
    "/etc/systemd/system",
    "/run/systemd/generator.early",
    "/run/systemd/generator",
    "/run/systemd/generator.late",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
)
_LINKS = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel", "ID": "by-id"}


class Seen(Record):
    """A mounted file system: where, everywhere that it is mounted, and the UUID that the kernel knows it by."""

    mount: Mount
    places: frozenset[bytes]
    uuid: str | None


def look_at(mount: Mount, mounts: list[Mount]) -> Seen:
    """A file system of which `mounts` has all mounts. OSError if it cannot be opened, or is covered by another one."""
    fd = os.open(mount.mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}" != mount.device:
            raise FileNotFoundError(mount.mountpoint)
        same = [each for each in mounts if each.device == mount.device]
        places = frozenset(each.mountpoint for each in same if b"/" in (each.root, each.mountpoint))
        return Seen(mount, places, filesystems.uuid_of(fd))
    finally:
        os.close(fd)


class Book:
    """What root has written down, read when it is asked for."""

    def __init__(self) -> None:
        """Read the records and /etc/fstab, if they can be believed."""
        self.approvals = approvals()
        self._fstab = fstab.parse_fstab(_read_roots(fstab.FSTAB))

    def judge(self, seen: Seen, user: str) -> tuple[int, str]:
        """How well root knows the file system, for keys of `user`; and if not at all, why."""
        if b"/" in seen.places:
            return ROOTS, ""
        if any(not is_roots_file(filesystems.loop_file(loop)) for loop in filesystems.loops_below(seen.mount.device)):
            return UNKNOWN, CHANGEABLE
        if any(self.is_configured(seen, place) for place in seen.places):
            return CONFIGURED, ""
        known = [each for each in self.approvals if each.uuid == seen.uuid and each.user in ("", user)]
        if not known:
            return UNKNOWN, NOT_APPROVED
        disk = filesystems.disk_of(seen.mount.device)
        return (APPROVED, "") if disk and any(each.disk == disk for each in known) else (UNKNOWN, OTHER_DISK)

    def is_configured(self, seen: Seen, place: bytes) -> bool:
        """Whether root has it mounted there, by a line of /etc/fstab that lets nobody else do that, or else by a unit."""
        lines = [entry for entry in self._fstab if entry.where == place]
        if not lines:
            unit = next(filter(None, (_read_roots(f"{where}/{fstab.unit_name(place)}") for where in _UNITS)), b"")
            lines = list(filter(None, [fstab.parse_unit(unit, place)]))
        return any(entry.by_root_only and _is_it(entry, seen) for entry in lines)


def _is_it(entry: Entry, seen: Seen) -> bool:
    """Whether what `entry` says is the file system that was seen."""
    tag, equals, value = entry.what.partition("=")
    if equals and tag in _LINKS:
        if tag == "UUID" and seen.uuid is not None:
            return value.lower() == seen.uuid
        path = f"/dev/disk/{_LINKS[tag]}/{value}"
    else:
        path = entry.what
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return path == os.fsdecode(seen.mount.source)  # what has no device, as ubi0:home
    if stat.S_ISREG(status.st_mode):
        return filesystems.loop_file(seen.mount.device) == os.path.realpath(path)
    is_device = stat.S_ISBLK(status.st_mode)
    return is_device and f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" == seen.mount.device


def is_roots_file(path: str | None) -> bool:
    """Whether nobody but root can change the file; a name that is not known is nobody's."""
    if path is None:
        return False
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == 0 and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read_roots(path: str) -> bytes:
    """A file of root's; nothing if there is none, or it must not be believed. The last part may be a link of root's."""
    try:
        if os.lstat(path).st_uid != 0:
            return b""
        directory, _, name = os.path.realpath(path).rpartition("/")
        return _read_in(directory, lambda where: files.read_file(where, name, owners=(0,), limit=fstab.MAX_SIZE))
    except (OSError, UnsafeFileError):
        return b""


def _read_in(directory: str, read: Callable[[int], bytes]) -> bytes:
    where = files.open_directory(directory or "/", owners=(0,))
    try:
        return read(where)
    finally:
        os.close(where)


# The records of `pyhome trust`.


def record_name(approval: Approval) -> str:
    """What the record of an approval is called."""
    return f"{approval.uuid}.{approval.user}" if approval.user else approval.uuid


def approvals() -> list[Approval]:
    """What root has approved; a record that cannot be read approves nothing."""
    try:
        directory = files.open_directory(PLACE, owners=(0,))
    except (OSError, UnsafeFileError):
        return []
    found = []
    try:
        for name in sorted(os.listdir(directory)):
            try:
                approval = trusted.parse_approval(files.read_file(directory, name, owners=(0,), limit=trusted.MAX_SIZE))
            except (OSError, UnsafeFileError, FormatError):
                continue
            if record_name(approval) == name:
                found.append(approval)
    finally:
        os.close(directory)
    return found


def approve(approval: Approval) -> None:
    """Put an approval on record. OSError, UnsafeFileError."""
    for level in (STATE, PLACE):
        try:
            os.mkdir(level, 0o700)
        except FileExistsError:
            continue
    directory = files.open_directory(PLACE, owners=(0,))
    try:
        files.replace_file(directory, record_name(approval), trusted.emit_approval(approval))
    finally:
        os.close(directory)


def forget(approval: Approval) -> None:
    """Take an approval back. OSError, UnsafeFileError."""
    directory = files.open_directory(PLACE, owners=(0,))
    try:
        os.unlink(record_name(approval), dir_fd=directory)
        os.fsync(directory)
    finally:
        os.close(directory)
