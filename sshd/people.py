"""The users of this machine and their own key files, read with their rights.

sshd believes a key file only if nobody but root and the user can change it or a directory on the way. What sshd would not
believe in a home is not carried out of it either.
"""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import pwd
import stat
from typing import TYPE_CHECKING, NamedTuple, Self

from pam_pyhome.admin.accounts import unlisted
from pam_pyhome.backends import ecryptfs_store, registry
from pam_pyhome.backends.base import Account
from pam_pyhome.errors import PyhomeError, UnsafeFileError
from pam_pyhome.kernel import files, fscrypt
from pam_pyhome.kernel.process import rights_of
from pam_pyhome.policy.users import uid_min
from pam_pyhome.sshd.layout import Origin, Problem, Source, User

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KEY_FILE_MAX = 8 * 1024 * 1024
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOBODY = 65534
_SOME = 5
_PATTERN = set(" \t,\"'!*?#\\")
_NO_HOMES = {"/", "/nonexistent", "/dev/null"}


class Own(NamedTuple):
    """What was found in a home. `complete`: these are all the keys that the user has, as far as the files can tell.

    `bare`: there is nothing at all, or nothing is shown, so that the directory may only stand in for a home that is not there now.
    """

    sources: tuple[Source, ...]
    complete: bool
    problems: tuple[Problem, ...]
    bare: bool


def everybody() -> dict[str, User]:
    """All ordinary users, by name: whom the password database lists, and whom it knows and who have a home here."""
    minimum = uid_min()
    found: dict[str, User] = {}
    entries = [(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir) for entry in pwd.getpwall()]
    others = unlisted([Account(*entry) for entry in entries])
    for name, uid, gid, home in (*entries, *((each.name, each.uid, each.gid, each.home) for each in others)):
        if minimum <= uid != _NOBODY and home.startswith("/") and home not in _NO_HOMES:
            found.setdefault(name, User(name, uid, gid, home))
    return found


def roots() -> list[str]:
    """The names of uid 0 that sshd_config(5) can spell."""
    names = dict.fromkeys(entry.pw_name for entry in pwd.getpwall() if entry.pw_uid == 0)
    return [name for name in names if not set(name) & _PATTERN]


def members(groups: Iterable[str]) -> list[str]:
    """Some users who are in these groups."""
    found: list[str] = []
    for name in groups:
        with contextlib.suppress(KeyError, ValueError):
            found += grp.getgrnam(name).gr_mem[:_SOME]
    return found


def look_up(name: str) -> User | None:
    """One user, who need not be listed by `everybody`, or None."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def has_encrypted_home(user: User) -> bool:
    """Whether the user has a home that pyhome opens."""
    try:
        return registry.find(Account(*user)) is not None
    except (OSError, PyhomeError):
        return True


def may_be_locked(user: User, own: Own | None) -> bool:
    """Whether it is worth asking, which is slow: a home with keys in it is seldom locked, and shows it then."""
    places = (f"{user.home}/.ecryptfs", f"{ecryptfs_store.SHARED}/{user.name}")
    return own is None or not own.sources or any(map(os.path.lexists, places))


def is_locked(user: User) -> bool:
    """Whether the user has an encrypted home that is locked, or in a state that cannot be told."""
    account = Account(*user)
    try:
        backend = registry.find(account)
        return _is_ciphertext(user) if backend is None else backend.mounted(account) is None
    except (OSError, PyhomeError):
        return True


def _is_ciphertext(user: User) -> bool:
    """Whether the file system shows the user's home encrypted, by whatever tool it was made."""
    with rights_of(user.uid, user.gid):
        try:
            home = os.open(user.home, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            policy = fscrypt.policy_of(home)
            if policy is None:
                return False
            return policy.version == 1 or fscrypt.key_status(home, policy.identifier).state != fscrypt.PRESENT
        finally:
            os.close(home)


def expand(file: str, user: User) -> str | None:
    """An entry of AuthorizedKeysFile as a path below the user's home, or None if it lies elsewhere."""
    home = user.home.rstrip("/")
    path = expand_absolute(file, user)
    return path.removeprefix(f"{home}/") if path.startswith(f"{home}/") else None


def expand_absolute(file: str, user: User) -> str:
    """An entry of AuthorizedKeysFile as the path that sshd opens."""
    values = {"%%": "%", "%h": user.home, "%u": user.name, "%U": str(user.uid)}
    out, rest = "", file
    while rest:
        size = 2 if rest[:2] in values else 1
        out, rest = out + values.get(rest[:size], rest[:size]), rest[size:]
    return out if out.startswith("/") else f"{user.home}/{out}"


def read(user: User, names: Sequence[str]) -> Own | None:
    """Read the user's own key files, `names` below the home, with the user's rights. None if there is no home to look into."""
    with rights_of(user.uid, user.gid):
        try:
            home = os.open(user.home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None
        with _Home(user, home) as look:
            for name in names:
                look.at(name)
            bare = not (look.sources or look.problems or look.surroundings) and _is_bare(home)
    return Own(tuple(look.sources), not look.problems, tuple(look.problems), bare)


def _is_bare(home: int) -> bool:
    """Whether a directory shows nothing."""
    try:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=home)
    except OSError:
        return True
    try:
        with os.scandir(fd) as entries:
            return next(entries, None) is None
    finally:
        os.close(fd)


def origin(user: User) -> Origin:
    """Which directory the user's home is now, and in which other one it is."""
    home = os.path.realpath(user.home)
    return Origin(user.uid, _identity(home), _identity(os.path.dirname(home)))


def _identity(path: str) -> str:
    """A directory, as `Origin` writes it."""
    try:
        status = os.stat(path)
    except OSError:
        return "-"
    return f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}/{status.st_ino}"


def is_absence_a_fact(user: User, before: Origin | None, own: Own | None) -> bool:
    """Whether a user has no key files because there are none, and not because the home is somewhere else just now.

    `before` is where keys were found last, `own` what is found now.
    """
    if is_locked(user):
        return False
    if own is not None and not own.bare:
        return True
    now = origin(user)
    if before is None or "-" in (before.home, before.parent):
        return False
    if own is not None and now.home == before.home:
        return True
    # A home that was an ordinary directory cannot be away while the directory that it was in is there.
    device, of_parent = (each.partition("/")[0] for each in (before.home, before.parent))
    if device != of_parent or now.parent != before.parent:
        return False
    return not os.path.lexists(user.home) if own is None else now.home.partition("/")[0] == of_parent


class _Home:
    """A look into one home. `surroundings`: some directory is there in which a key file could be."""

    def __init__(self, user: User, home: int) -> None:
        self._user = user
        self._directories = {"": home}
        self.sources: list[Source] = []
        self.problems: list[Problem] = []
        self.surroundings = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._directories.values():
            os.close(fd)

    def at(self, name: str) -> None:
        """Read one file into `sources`, or note why not."""
        path = f"{self._user.home}/{name}"
        try:
            content = self._read(name)
        except FileNotFoundError:
            return
        except UnsafeFileError as error:
            self.problems.append(Problem(path, 0, error.reason))
        except OSError as error:
            self.problems.append(Problem(path, 0, os.strerror(error.errno or 0)))
        else:
            self.sources.append(Source(path, content))

    def _read(self, name: str) -> bytes:
        way, _, last = name.rpartition("/")
        directory = self._directory(way)
        self.surroundings |= bool(way)
        return files.read_file(
            directory, last, owners=(0, self._user.uid), limit=KEY_FILE_MAX, believe=lambda status: self._check(status, last)
        )

    def _directory(self, way: str) -> int:
        """The directory `way` below the home, in which nothing on the way is a link."""
        if way not in self._directories:
            outer, _, name = way.rpartition("/")
            try:
                fd = os.open(name, _DIRECTORY, dir_fd=self._directory(outer))
            except NotADirectoryError:
                raise UnsafeFileError(way, f"{name} is a link or no directory") from None
            self._directories[way] = fd
        self._check(os.fstat(self._directories[way]), way or self._user.home)
        return self._directories[way]

    def _check(self, status: os.stat_result, name: str) -> None:
        if reason := why_unsafe(status, self._user):
            raise UnsafeFileError(name, f"{os.path.basename(name)} {reason}")


def why_unsafe(status: os.stat_result, user: User) -> str | None:
    """Why sshd would not believe a file or a directory on the way to it, or None if it would."""
    if status.st_uid not in {0, user.uid}:
        return f"is owned by uid {status.st_uid}"
    if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid, user.name)):
        return f"can be written by others: mode {stat.S_IMODE(status.st_mode):04o}"
    return None


@functools.cache
def _is_private(gid: int, name: str) -> bool:
    """Whether a group has no member but the user; Debian's sshd minds only other groups that may write."""
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    return set(group.gr_mem) <= {name} and all(each.pw_name == name for each in pwd.getpwall() if each.pw_gid == gid)
