"""What is being made at the moment, on disk before it is made, so that whatever is killed in the middle can be taken back.

One file for each user in `/var/lib/pyhome/creating`: JSON, one value a line, each on disk before what it announces is done. The
first says whose home it is; then come steps, as what takes them back; last `decided`, from where on somebody may be using it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from typing import TYPE_CHECKING, NamedTuple, Self

from pam_pyhome.admin import creation_facts as facts
from pam_pyhome.admin import places, user_records
from pam_pyhome.admin.plan import sync_directory
from pam_pyhome.backends.base import Account
from pam_pyhome.backends.fscrypt_remove import take_back_all
from pam_pyhome.errors import CreateError, FormatError, HomeElsewhereError
from pam_pyhome.kernel import deleting, files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pam_pyhome.admin.places import Place
    from pam_pyhome.backends.fscrypt_create import Step

DIRECTORY = "/var/lib/pyhome/creating"
TREE, PLACE = "tree", "place"
_DECIDED = "decided"
_LOCK_SECONDS = 60.0


class Begun(NamedTuple):
    """A home that was begun: whose, of which kind, whether the account is new, how far it got.

    `places`: where all that lies, on which file systems; records of version 0.1.0 do not say.
    """

    account: Account
    backend: str
    new: bool
    steps: tuple[Step, ...]
    decided: bool
    places: tuple[Place, ...] = ()


class Records:
    """The records. Use as a context manager, which lets nobody else make homes meanwhile.

    HomeElsewhereError if that is not had in a minute. `lock` is a descriptor for programs that work for us to inherit:
    until they have ended, too, nobody else begins.
    """

    def __init__(self) -> None:
        """Nothing happens yet."""
        self.lock = -1

    def __enter__(self) -> Self:
        """Lock."""
        busy = HomeElsewhereError("another user", "making")
        self.lock = user_records.lock(DIRECTORY, user_records.LOCK, _LOCK_SECONDS, busy)
        _sweep()
        return self

    def __exit__(self, *_: object) -> None:
        """Unlock."""
        _sweep()
        os.close(self.lock)

    def begin(self, account: Account, backend: str, where: tuple[Place, ...], *, new: bool) -> None:
        """Start the record of an account's home."""
        whose = {"user": account.name, "uid": account.uid, "gid": account.gid, "home": account.home}
        head = whose | {"backend": backend, "new": new, "places": where}
        user_records.replace(DIRECTORY, account.name, _line(head))

    def note(self, user: str, step: Step) -> None:
        """Put on disk what takes the next step back."""
        self._append(user, list(step))

    def decide(self, user: str) -> None:
        """From now on somebody may be using the home."""
        self._append(user, _DECIDED)

    def _append(self, user: str, value: object) -> None:
        fd = os.open(f"{DIRECTORY}/{user}", os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.write(fd, _line(value))
            os.fsync(fd)
        finally:
            os.close(fd)

    def take_back(self, user: str) -> None:
        """Undo all steps and end the record. If one cannot be undone, the record stays. OSError, CreateError.

        First the trees go, last first, and then what opened them; of that, what may open anything else stays.
        """
        begun = find(user)
        if begun is None:
            return
        trouble = where_missing(begun)
        if trouble is not None:
            raise CreateError(user, facts.NOT_THERE, trouble)
        failed: Exception | None = None
        for step in reversed(begun.steps):
            try:
                _undo(step)
            except OSError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        take_back_all(begun.account, tuple(step for step in begun.steps if step[0] not in (TREE, PLACE)))
        self.forget(user)

    def forget(self, user: str) -> None:
        """End the record."""
        user_records.forget(DIRECTORY, user)


def find(user: str) -> Begun | None:
    """The record of a user, or None. FormatError for one that cannot be made sense of."""
    data = user_records.read(DIRECTORY, user)
    return None if data is None else _parse(data)


def _parse(data: bytes) -> Begun:
    """FormatError. What follows the last line end announces nothing that was done: its writer was killed."""
    try:
        head, *rest = (json.loads(line) for line in data.split(b"\n")[:-1])
        account = Account(head["user"], head["uid"], head["gid"], head["home"])
        steps = tuple(tuple(map(str, value)) for value in rest if value != _DECIDED)
        known = tuple(map(places.parse, head.get("places", ())))
        return Begun(account, head["backend"], head["new"], steps, _DECIDED in rest, known)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(DIRECTORY, f"a record is none: {error}") from None


def _sweep() -> None:
    """Remove records that were never begun."""
    staged = (name for name in os.listdir(DIRECTORY) if name.endswith(files.STAGED_SUFFIX))
    user_records.sweep(DIRECTORY, *(name.removesuffix(files.STAGED_SUFFIX) for name in staged))


def users() -> Iterable[str]:
    """Those of whom there is a record."""
    return user_records.users(DIRECTORY)


def _line(value: object) -> bytes:
    return json.dumps(value).encode("ascii") + b"\n"


def where_missing(begun: Begun) -> str | None:
    """What of the directories that the home was begun in is not there now, in words; None if all are."""
    if begun.places:
        return places.trouble_above(begun.account.home) or places.missing(*begun.places)
    if len(begun.steps) < 2:
        return None  # nothing but a directory can have been made
    # Version 0.1.0 noted where the tree is that it has made, and what was to be moved where.
    trees = [step[1] for step in begun.steps if step[0] == TREE] + [step[2] for step in begun.steps if step[0] == PLACE]
    return None if any(map(os.path.lexists, trees)) else f"{trees[0]} is not there"


def placing(staged: str, final: str) -> Step:
    """The step that takes back that `staged` was renamed to `final`, where nothing is or an empty directory. OSError."""
    was = ""
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(final)
        was = f"{status.st_uid}:{status.st_gid}:{stat.S_IMODE(status.st_mode)}"
    return (PLACE, staged, final, _identity(staged), was)


def _identity(path: str) -> str:
    """What tells a directory from others, as text. OSError."""
    found = places.look_below(path)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return json.dumps(found)


def _is(path: str, identity: str) -> bool:
    """Whether the directory at `path` is the one. Version 0.1.0 noted device and inode; device numbers do not last."""
    found = places.look_below(path)
    if found is None:
        return False
    if identity.startswith("["):
        return found.is_same(places.parse(json.loads(identity)))
    return str(found.inode) == identity.partition(":")[2]


def _undo(step: Step) -> None:
    kind, *rest = step
    if kind == PLACE:
        _undo_placing(*rest)
    elif kind == TREE:
        deleting.delete(rest[0])


def _undo_placing(staged: str, final: str, identity: str, was: str) -> None:
    """Move it back, if it is what was moved; anything else is somebody else's."""
    if not _is(final, identity):
        return
    os.makedirs(os.path.dirname(staged), 0o700, exist_ok=True)
    os.rename(final, staged)
    if was:
        uid, gid, mode = map(int, was.split(":"))
        os.mkdir(final)
        os.chown(final, uid, gid)
        os.chmod(final, mode)
    sync_directory(os.path.dirname(final))
