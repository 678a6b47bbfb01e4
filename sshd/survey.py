"""What the layout is, what it should be, and so what is to be changed.

Users whose files are as they were when they were last looked at are passed over; `index` remembers that.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin.plan import STAGING, Change, Node, observe
from pam_pyhome.errors import StorageError, UnsafeFileError
from pam_pyhome.formats.settings import Settings, config_tokens, parse_tokens
from pam_pyhome.kernel import files
from pam_pyhome.sshd import config, daemon, layout, people
from pam_pyhome.sshd.layout import Keys, Origin, Problem, User
from pam_pyhome.sshd.parallel import divided

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

STATE = "/var/lib/pyhome/sshd"
SETTINGS = "/etc/pyhome.conf"
_SETTINGS_MAX = 65536
_INDEX = "index"
_INDEX_VERSION = 3
_INDEX_MAX = 256 * 1024 * 1024
# A change within this time of the look at the file might not show in its time stamp.
_RACY_NS = 1_000_000_000
_RACY = "?"

class Site(NamedTuple):
    """How keys are laid out here: the layout, who reads which files, and what the administrator has set."""

    template: str
    blocks: tuple[config.Block, ...]
    settings: Settings

    def home_files(self, user: User) -> tuple[str, ...]:
        """The paths below the user's home that sshd reads keys from. SshdError if sshd has to be asked and cannot answer."""
        names = config.common_home_files(self.blocks)
        if names is None:
            names = self._ask(user)
        expanded = (people.expand(name, user) for name in names)
        return tuple(dict.fromkeys(path for path in expanded if path is not None))

    def _ask(self, user: User) -> tuple[str, ...]:
        if not daemon.can_ask_about(user.name):
            return ()
        value = daemon.dump(daemon.find(), user.name)["authorizedkeysfile"][0]
        block = next((each for each in self.blocks if set(value.split()) - {self.template} == set(each.files)), None)
        return config.home_files(block.files) if block else ()

    def may_sync(self, user: User) -> bool:
        """Whether the user's own keys go into the layout."""
        return self.settings.sshd_sync == "yes" and user.name not in self.settings.sshd_sync_off


class Survey(NamedTuple):
    """What is to be changed in the layout, what is wrong with the keys, how many users there are, what to remember and what was.

    `unread`: the users whose keys could not be read, because their homes are locked.
    """

    changes: tuple[Change, ...]
    problems: tuple[Problem, ...]
    unread: tuple[str, ...]
    users: int
    orphans: tuple[str, ...]
    stamps: dict[str, str]
    known: dict[str, str]


def read_settings() -> Settings:
    """The administrator's settings; the defaults if their file is missing. UnsafeFileError if others can write it."""
    directory, name = os.path.split(SETTINGS)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        data = files.read_file(fd, name, owners=(0,), limit=_SETTINGS_MAX)
        if os.stat(name, dir_fd=fd).st_mode & 0o022:
            raise UnsafeFileError(SETTINGS, "can be written by others")
    except FileNotFoundError:
        data = b""
    finally:
        os.close(fd)
    return parse_tokens(config_tokens(data))


def survey(site: Site, chosen: Sequence[User] | None = None) -> Survey:
    """Compare the layout with what it should be, for everybody or for the `chosen`. Nothing is changed."""
    listed = _listed(site.template) if chosen is None else _listed_of(site.template, chosen)
    users = _covered(site, listed) if chosen is None else {user.name: user for user in chosen}
    index = _read_index(site) if chosen is None else {}
    changes = [*_directory_change(site.template)]
    problems: list[Problem] = []
    unread: list[str] = []
    news: dict[str, str | None] = {}
    for share in divided(lambda some: _look(site, listed, index, some), list(users.values())):
        changes += share[0]
        problems += share[1]
        news |= share[2]
        unread += share[3]
    stamps = {name: stamp for name in users if (stamp := news.get(name, index.get(name))) is not None}
    orphans = sorted(listed[name] for name in listed.keys() - users.keys() if chosen is None and people.look_up(name) is None)
    return Survey(tuple(changes), tuple(problems), tuple(unread), len(users), tuple(orphans), stamps, index)


def _look(
    site: Site, listed: dict[str, str], index: dict[str, str], users: Sequence[User]
) -> tuple[list[Change], list[Problem], dict[str, str | None], list[str]]:
    look = _Look(site, listed, index)
    return list(look.at(users)), look.problems, look.news, look.unread


def _covered(site: Site, listed: Iterable[str]) -> dict[str, User]:
    """All users that the layout is for; also those whom the database does not list, if they have a file in it."""
    users = people.everybody()
    for name in listed:
        user = None if name in users else people.look_up(name)
        if user is not None:
            users[name] = user
    if site.settings.sshd_users == "encrypted":
        return {name: user for name, user in users.items() if name in listed or people.has_encrypted_home(user)}
    return users


def _listed(template: str) -> dict[str, str]:
    """The key files of the layout, by the name of the user."""
    directory, pattern = os.path.split(template)
    prefix = pattern.removesuffix("%u")
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return {}
    own = {layout.directory_of(each) for each in layout.TEMPLATES}
    found = {name.removeprefix(prefix): f"{directory}/{name}" for name in names if name.startswith(prefix)}
    return {name: path for name, path in found.items() if name and name != STAGING and path not in own}


def _listed_of(template: str, users: Iterable[User]) -> dict[str, str]:
    """As `_listed`, of these users only."""
    paths = {user.name: layout.path_of(template, user.name) for user in users}
    return {name: path for name, path in paths.items() if path is not None and os.path.lexists(path)}


def _directory_change(template: str) -> Iterator[Change]:
    """The layout's own directory, if it has one and it is not as it should be."""
    for entry in layout.build(template, ()).entries:
        now = observe(entry.path)
        if now is not None and now.content is not None:
            raise StorageError(entry.path, "is no directory")
        wanted = Node(entry.uid, entry.gid, entry.mode, None)
        if now != wanted:
            yield Change(entry.path, now, wanted)


class _Look:
    """Looks at one user after the other. `listed` has the key files that there are.

    `news`: new stamps of users, None where nothing is to be remembered; others are as the index has them.
    """

    def __init__(self, site: Site, listed: dict[str, str], index: dict[str, str]) -> None:
        self._site = site
        self._listed = listed
        self._index = index
        self._common = config.common_home_files(site.blocks)
        self._deadline = time.time_ns() - _RACY_NS
        self.problems: list[Problem] = []
        self.news: dict[str, str | None] = {}
        self.unread: list[str] = []

    def at(self, users: Iterable[User]) -> Iterator[Change]:
        """The changes that these users need."""
        for user in users:
            stamp = self._stamp(user)
            if stamp is not None and self._index.get(user.name) == stamp:
                continue
            before = len(self.problems), len(self.unread)
            yield from self._change(user)
            self.news[user.name] = stamp if (len(self.problems), len(self.unread)) == before else None

    def _stamp(self, user: User) -> str | None:
        """What tells whether anything has happened to the user's files. None if that cannot be told.

        As root, for speed: nothing is opened, and whatever a link on the way leads to is read with the user's rights.
        """
        if self._common is None:
            return None
        parts = [f"{user.uid}:{user.home}"]
        for name in self._names(user):
            self._add_status(parts, f"{user.home}/{name}")
        if len(parts) == 1:
            self._add_status(parts, user.home)
        if _RACY in parts:
            return None
        return " ".join(parts) + layout_stamp(self._listed.get(user.name))

    def _add_status(self, parts: list[str], path: str) -> None:
        try:
            status = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError:
            # As where root may see less than the user, on a network or in user space.
            parts.append(_RACY)
            return
        if status.st_ctime_ns > self._deadline:
            parts.append(_RACY)
        else:
            parts.append(f"{status.st_dev}:{status.st_ino}:{status.st_ctime_ns}:{status.st_size}")

    def _names(self, user: User) -> tuple[str, ...]:
        if self._common is not None and not any("%" in name for name in self._common):
            return self._common
        return self._site.home_files(user)

    def _change(self, user: User) -> Iterator[Change]:
        path = layout.path_of(self._site.template, user.name)
        try:
            now = observe(path) if path is not None and user.name in self._listed else None
            _check_ours(path, now)
        except (UnsafeFileError, OSError) as error:
            reason = error.reason if isinstance(error, UnsafeFileError) else os.strerror(error.errno or 0)
            self.problems.append(Problem(str(path), 0, f"{reason}; it stays as it is, and {user.name} without layout"))
            return
        held = (now.content or b"") if now is not None else b""
        entry, problems = layout.build_one(self._site.template, user, self._keys(user, held))
        self.problems += problems
        wanted = None if entry is None else Node(*entry[1:])
        if path is not None and now != wanted:
            yield Change(path, now, wanted)

    def _keys(self, user: User, held: bytes) -> Keys:
        """What is known of the user's keys, given what the layout holds."""
        _, before, mine = layout.split(held)
        if before is not None and before.uid != user.uid:
            before, mine = None, b""
        unknown = before or Origin(user.uid)
        if not self._site.may_sync(user):
            return Keys(held, origin=unknown)
        own = people.read(user, self._names(user))
        if people.may_be_locked(user, own) and people.is_locked(user):
            self.unread.append(user.name)
        if own is None:
            gone = mine and people.is_absence_a_fact(user, before, own)
            return Keys(held, () if gone else None, origin=unknown)
        self.problems += own.problems
        # Only where something could be lost does it matter whether this is the whole home, which is slow to tell.
        complete = own.complete and (not mine or people.is_absence_a_fact(user, before, own))
        return Keys(held, own.sources, complete, people.origin(user) if complete else unknown)


def _check_ours(path: str | None, now: Node | None) -> None:
    """UnsafeFileError for a file that somebody else than root has put in the layout."""
    if path is not None and now is not None and (now.content is None or now.uid != 0):
        raise UnsafeFileError(path, "is a directory" if now.content is None else f"is owned by uid {now.uid}")


def layout_stamp(path: str | None) -> str:
    """The part of a stamp that is about the user's file in the layout."""
    try:
        status = os.stat(path, follow_symlinks=False) if path is not None else None
    except OSError:
        status = None
    if status is None:
        return ""
    return f" = {status.st_ino}:{status.st_ctime_ns}:{status.st_size}:{status.st_mode}:{status.st_uid}"


# Remembering: a line for what the index holds for, then one per user, the name and the stamp with a tab between.


def _index_key(site: Site) -> str:
    chosen = site.settings
    off = ",".join(chosen.sshd_sync_off)
    names = config.common_home_files(site.blocks) or ()
    return repr((_INDEX_VERSION, site.template, names, chosen.sshd_sync, off, chosen.sshd_users))


def _read_index(site: Site) -> dict[str, str]:
    """The stamps of the last run; none if there are none for this site."""
    try:
        fd = files.open_directory(STATE, owners=(0,))
    except FileNotFoundError:
        return {}
    try:
        data = files.read_file(fd, _INDEX, owners=(0,), limit=_INDEX_MAX)
    except (FileNotFoundError, UnsafeFileError):
        return {}
    finally:
        os.close(fd)
    key, *lines = data.decode("utf-8", "replace").split("\n")
    return dict(line.split("\t", 1) for line in lines if "\t" in line) if key == _index_key(site) else {}


def write_index(site: Site, found: Survey) -> None:
    """Remember how the files were, now that the changes of `found` have been made. OSError if it cannot be written."""
    stamps = dict(found.stamps)
    for change in found.changes:
        name = os.path.basename(change.path).removeprefix(os.path.basename(site.template).removesuffix("%u"))
        if name in stamps:
            own = stamps[name].partition(" = ")[0]
            stamps[name] = own + layout_stamp(change.path if change.after is not None else None)
    if not found.changes and stamps == found.known:
        return
    usual = (f"{name}\t{stamp}" for name, stamp in stamps.items() if name.isprintable() and stamp.isprintable())
    content = "\n".join([_index_key(site), *usual, ""]).encode("utf-8", "surrogateescape")
    fd = files.open_directory(STATE, owners=(0,))
    try:
        files.replace_file(fd, _INDEX, content)
    finally:
        os.close(fd)
