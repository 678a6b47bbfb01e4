"""What has to hold before a home is converted, and how much there is to do."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin import (
    account_tools,
    conversion_kinds,
    conversion_progress,
    creation,
    creation_choice,
    creation_facts,
    in_use,
    tree,
)
from pam_pyhome.admin import conversion_facts as facts
from pam_pyhome.admin.accounts import find as find_account
from pam_pyhome.admin.conversion_record import find, is_swapped, other_home
from pam_pyhome.admin.homes import be_root
from pam_pyhome.backends import ecryptfs_store, registry
from pam_pyhome.errors import (
    ConversionError,
    CreateError,
    HomeBusyError,
    LoginPasswordError,
    NoHomeError,
    PyhomeError,
    SpaceError,
    UnfitHomeError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pam_pyhome.admin.conversion_kinds import Kind
    from pam_pyhome.admin.conversion_record import Record
    from pam_pyhome.admin.tree import Obstacle, Survey
    from pam_pyhome.backends.base import Account

_MEBIBYTE = 1 << 20
#: eCryptfs puts a header before each file, and rounds its size up.
_PER_FILE = {creation_choice.ECRYPTFS: 12288, creation_choice.FSCRYPT: 256}
_SAMPLE = 16 * _MEBIBYTE
_USUAL_RATE = 100e6
_PER_ENTRY_SECONDS = 0.0005


class Outlook(NamedTuple):
    """What is to be done: whose home becomes what, what it is like, how much room a copy needs and has, and what is in the way.

    `goes_on`: an earlier run has begun it. `record` is that run's. `storage`: where the files lie then; `elsewhere`: on another
    file system than the home.
    """

    account: Account
    direction: str
    backend: str
    survey: Survey
    needed: int
    free: int
    problems: tuple[PyhomeError, ...]
    record: Record | None
    storage: str = ""
    elsewhere: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether there is something to go on with."""
        return self.record is not None


def look(user: str, direction: str, backend: str | None, *, resume: bool) -> Outlook:
    """Look at all, change nothing. PyhomeError if it cannot be at all; OSError."""
    account = find_account(user)
    be_root()
    creation.check_user(account)
    conversion_progress.refuse(user)
    record = find(user)
    check_state(user, record, direction, resume=resume)
    if record is not None and record.direction == direction and is_swapped(record):
        return Outlook(account, direction, record.backend, tree.Survey(0, 0, 0, ()), 0, 0, (), record)
    if direction == facts.DECRYPT:
        kind_name, survey = _encrypted(account)
        kind = conversion_kinds.named(kind_name)
        where = os.path.dirname(account.home)
    else:
        kind_name = record.backend if record is not None else _choose(account, backend)
        if backend not in (None, kind_name):
            raise ConversionError(user, facts.OTHER_BACKEND, kind_name)
        kind = conversion_kinds.named(kind_name)
        where = kind.where(account)
        survey = tree.survey(account.home, longest=kind.longest, reserved=kind.own_names)
    # eCryptfs has no holes in files.
    data = survey.on_disk if kind_name == creation_choice.FSCRYPT else max(survey.on_disk, survey.size)
    needed = data + survey.entries * _PER_FILE[kind_name] + data // 100 + _MEBIBYTE
    have = _present(account, kind, record)
    free = _free(where)
    problems = [*_problems(account, survey), *_space(where, needed - have, free, survey.entries if not have else 0)]
    storage = ecryptfs_store.storage_of(account) if direction == facts.ENCRYPT and kind.has_storage else account.home
    elsewhere = os.stat(where).st_dev != os.stat(os.path.dirname(account.home)).st_dev
    return Outlook(account, direction, kind_name, survey, needed, free, tuple(problems), record, storage, elsewhere)


def check_state(user: str, record: Record | None, direction: str, *, resume: bool) -> None:
    """ConversionError if what was begun does not go with what is asked for. Each verb takes back what the other has begun."""
    swapped = record is not None and is_swapped(record)  # whether that can be seen comes before anything else
    if record is None or (record.direction != direction and not swapped):
        if resume:
            raise ConversionError(user, facts.NOTHING_BEGUN)
    elif record.direction != direction:
        if direction == facts.ENCRYPT or record.phase == facts.REMOVING:
            raise ConversionError(user, facts.UNCONFIRMED, record.direction)
        if resume:
            raise ConversionError(user, facts.NOTHING_BEGUN)
    elif record.phase in (facts.REMOVING, facts.SWAPPED) or (swapped and not resume):
        raise ConversionError(user, facts.UNCONFIRMED, direction)
    elif not resume:
        raise ConversionError(user, facts.BEGUN, direction)


def _choose(account: Account, backend: str | None) -> str:
    """Which kind the home is to be. CreateError."""
    parent = creation.check_parent(account)
    found = registry.find(account)
    if found is not None:
        raise CreateError(account.name, creation_facts.ENCRYPTED, found.name)
    status = os.lstat(account.home)
    if not stat.S_ISDIR(status.st_mode):
        raise CreateError(account.name, creation_facts.NOT_A_DIRECTORY, account.home)
    if status.st_uid != account.uid:
        raise ConversionError(account.name, facts.NOT_OWN, f"uid {status.st_uid}")
    chosen = creation_choice.choose(account.name, backend, parent)
    kind = conversion_kinds.named(chosen)
    if kind.is_placed(account):
        raise CreateError(account.name, creation_facts.LEFT_OVER, os.path.dirname(kind.watched(account)))
    return chosen


def _encrypted(account: Account) -> tuple[str, Survey]:
    """Of which kind the home is, and how much is in it, as far as that can be seen while it is locked. NoHomeError."""
    found = registry.find(account)
    if found is None:
        raise NoHomeError(account.name)
    creation.check_parent(account)
    kind = conversion_kinds.named(found.name)
    kind.origin(account)
    if found.mounted(account) is not None:
        return found.name, tree.survey(account.home, leave_out=kind.own_names, encrypted=True)
    # Its names cannot be read now; what is in the way is found when it is open.
    return found.name, tree.survey(kind.watched(account), encrypted=True)._replace(obstacles=())


def _present(account: Account, kind: Kind, record: Record | None) -> int:
    """How many bytes an earlier run has copied already."""
    if record is None:
        return 0
    encrypted = kind.watched(account) if record.direction == facts.ENCRYPT and not is_swapped(record) else other_home(account)
    return tree.on_disk(encrypted) if os.path.isdir(encrypted) else 0


# What is in the way


def check_files(account: Account, kind: Kind) -> None:
    """UnfitHomeError if there is anything in the open home that cannot be copied."""
    survey = tree.survey(account.home, leave_out=kind.own_names, encrypted=True)
    if survey.obstacles:
        raise UnfitHomeError(account.name, tuple(_lines(survey.obstacles)))


def check_login(user: str, password: bytes) -> None:
    """LoginPasswordError if the account has another password, as far as that can be told here, or none."""
    if account_tools.has_password(user) is False:
        raise LoginPasswordError(user, facts.NO_PASSWORD)
    try:
        account_tools.check_password(user, password)
        account_tools.check_login(user, password)
    except CreateError:
        raise LoginPasswordError(user, facts.WRONG_PASSWORD) from None


def _problems(account: Account, survey: Survey) -> list[PyhomeError]:
    found: list[PyhomeError] = []
    try:
        in_use.check(account, account.home)
    except HomeBusyError as error:
        found.append(error)
    inside = [*map(_obstacle, in_use.mounted(account.home)), *_lines(survey.obstacles)]
    return [*found, *([UnfitHomeError(account.name, tuple(inside))] if inside else [])]


def _obstacle(path: str) -> str:
    return f"{path} {tree.MOUNTED}"


def _lines(obstacles: Iterable[Obstacle]) -> Iterator[str]:
    """A line for each of the first few, and one for the rest of a kind."""
    shown: dict[str, int] = {}
    for each in obstacles:
        shown[each.why] = shown.get(each.why, 0) + 1
        yield f"{each.path} {each.why}"
        if shown[each.why] == tree.LISTED_MAX < each.total:
            yield f"each of {each.total - tree.LISTED_MAX} more {each.why}"


def _free(where: str) -> int:
    status = os.statvfs(where)
    return status.f_bavail * status.f_frsize


def _space(where: str, needed: int, free: int, entries: int) -> list[SpaceError]:
    status = os.statvfs(where)
    if free < needed:
        return [SpaceError(where, size(needed), size(free))]
    if status.f_files and status.f_favail < entries:
        return [SpaceError(where, f"{entries} inodes", f"{status.f_favail} inodes")]
    return []


def size(count: int) -> str:
    """A number of bytes as people read it."""
    amount, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 10 else f"{amount:.1f} {unit}"


# How long


def estimate(outlook: Outlook) -> float:
    """About how many seconds it takes, from how fast this disk takes data now. Leaves nothing behind."""
    try:
        rate = _rate(os.path.dirname(outlook.account.home), outlook.free)
    except OSError:
        rate = _USUAL_RATE  # no space, or a file system that has no files without names
    # Written once; both copies are read to verify it.
    return 3 * outlook.survey.size / rate + outlook.survey.entries * _PER_ENTRY_SECONDS + 2


def _rate(where: str, free: int) -> float:
    """Bytes per second that the disk takes."""
    fd = os.open(where, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        began = time.monotonic()
        chunk = os.urandom(_MEBIBYTE)
        for _ in range(min(_SAMPLE, max(free // 4, _MEBIBYTE)) // _MEBIBYTE):
            os.write(fd, chunk)
        os.fdatasync(fd)
        return os.fstat(fd).st_size / max(time.monotonic() - began, 0.001)
    finally:
        os.close(fd)
