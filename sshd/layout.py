"""The layout of authorized keys outside the homes: from users and what is known of their keys to a tree of files. Pure.

A key file of the layout has two parts. What stands above the line `MARKER` is the administrator's and never changed here. What
stands below came from the user's own files, and is replaced by what they hold now whenever they can be read. Its first line says
whose files those were: names are given again to other people, and so are numbers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.formats.authorized_keys import parse_authorized_keys
from pam_pyhome.formats.escape import lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

IN_DIRECTORY = "/etc/ssh/authorized_keys.d/%u"
WITH_SUFFIX = "/etc/ssh/authorized_keys.%u"
TEMPLATES = (IN_DIRECTORY, WITH_SUFFIX)

# As sshd opens the files with the rights of the user, all must be able to read them, and nobody but root to change them.
FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
NAME_BYTES_MAX = 255

MARKER = (
    b"# The lines below come from the user's own files; \"pyhome sshd sync\" replaces them. Keys of other origin go above.\n"
)


_ORIGIN = b"# From the files of uid "
_WORDS_OF_ORIGIN = re.compile(rb"([0-9]{1,10}), home ([0-9:/]{5,64}|-) in ([0-9:/]{5,64}|-)")


class User(NamedTuple):
    """A user as the password database knows them."""

    name: str
    uid: int
    gid: int
    home: str


class Source(NamedTuple):
    """One of the user's own files and its content."""

    path: str
    content: bytes


class Origin(NamedTuple):
    """Whose files keys came from: the uid, the home directory, and the directory that it is in.

    Directories are `MAJOR:MINOR/INODE`, or `-` if that is not known.
    """

    uid: int
    home: str = "-"
    parent: str = "-"


class Keys(NamedTuple):
    """What is known of a user's keys.

    `held` is the present content of the user's file in the layout; `own` the user's own files, None if they cannot be seen
    now; `complete` says that there are no others. A locked home may show some, which are added and replace nothing. `origin` is
    what the file is to say of whose files those are; keys in `held` of another uid are not this user's, and go.
    """

    held: bytes = b""
    own: tuple[Source, ...] | None = None
    complete: bool = True
    origin: Origin | None = None


class Entry(NamedTuple):
    """A path of the tree with its owner, group and mode; the content of a file, None for a directory."""

    path: str
    uid: int
    gid: int
    mode: int
    content: bytes | None


class Problem(NamedTuple):
    """Something that an administrator should know: the file, the line in it (0: the file as such), and what is wrong."""

    path: str
    line: int
    reason: str


class Tree(NamedTuple):
    """The layout: its entries, directories first, and what is wrong with what it was made from."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]


def directory_of(template: str) -> str | None:
    """The directory that a template of the layout has for itself, None if its files lie among others."""
    return template.removesuffix("/%u") if template.endswith("/%u") else None


def path_of(template: str, name: str) -> str | None:
    """Where the keys of user `name` are, or None if no file can be named like that, or only one somewhere else."""
    before, _, after = template.rpartition("/")
    file_name = after.replace("%u", name)
    harmless = name.isprintable() and "/" not in name and file_name not in {"", ".", ".."} and not file_name.startswith(".")
    return f"{before}/{file_name}" if harmless and name and len(file_name.encode()) <= NAME_BYTES_MAX else None


def build(template: str, users: Iterable[tuple[User, Keys]]) -> Tree:
    """The whole tree. Users without keys have no file in it."""
    directory = directory_of(template)
    entries = [Entry(directory, 0, 0, DIRECTORY_MODE, None)] if directory is not None else []
    problems: list[Problem] = []
    for user, keys in users:
        entry, found = build_one(template, user, keys)
        problems += found
        if entry is not None:
            entries.append(entry)
    return Tree(tuple(entries), tuple(problems))


def build_one(template: str, user: User, keys: Keys) -> tuple[Entry | None, list[Problem]]:
    """One user's part of the tree: the file, or None without keys; and what is wrong with what it was made from."""
    path = path_of(template, user.name)
    if path is None:
        return None, [Problem(user.home, 0, f"user name {user.name!r} cannot be the name of a key file")]
    content, problems = merge(path, keys)
    return Entry(path, 0, 0, FILE_MODE, content) if content else None, problems


def merge(path: str, keys: Keys) -> tuple[bytes, list[Problem]]:
    """The content that the user's file at `path` should have, and the bad lines that were met on the way."""
    foreign, before, own = split(keys.held)
    if before is not None and keys.origin is not None and before.uid != keys.origin.uid:
        own = b""
    problems = list(_bad_lines(path, foreign))
    if keys.own is not None:
        parsed = [(source.path, parse_authorized_keys(source.content)) for source in keys.own]
        problems += [Problem(where, bad.number, bad.reason) for where, file in parsed for bad in file.bad]
        kept = [_ended(file.kept) for _, file in parsed if file.keys]
        own = b"".join(kept) if keys.complete else _ended(own) + _missing(own, b"".join(kept))
    if not own:
        return foreign, problems
    return _ended(foreign) + MARKER + _emit(keys.origin or before) + own, problems


def split(held: bytes) -> tuple[bytes, Origin | None, bytes]:
    """The administrator's part of a file of the layout, the origin of the user's, and that.

    Only the first marker divides: users may write more. Files of version 0.1.0 name no origin.
    """
    # Editors may take away the LF of a last line, also of the marker's.
    text = _ended(held)
    if text.startswith(MARKER):
        foreign, own = b"", text.removeprefix(MARKER)
    else:
        foreign, marker, own = text.partition(b"\n" + MARKER)
        if not marker:
            return held, None, b""
        foreign += b"\n"
    first, _, rest = own.partition(b"\n")
    words = _WORDS_OF_ORIGIN.fullmatch(first.removeprefix(_ORIGIN)) if first.startswith(_ORIGIN) else None
    if words is None:
        return foreign, None, own
    return foreign, Origin(int(words[1]), words[2].decode(), words[3].decode()), rest


def of_uid(held: bytes, old: int, new: int) -> bytes:
    """The same file of somebody whose uid was `old`; as it is if it says of another that the keys are theirs, or nothing."""
    foreign, origin, own = split(held)
    if origin is None or origin.uid != old:
        return held
    return foreign + MARKER + _emit(origin._replace(uid=new)) + own


def _emit(origin: Origin | None) -> bytes:
    """The line that says whose the lines below are."""
    return b"" if origin is None else _ORIGIN + f"{origin.uid}, home {origin.home} in {origin.parent}\n".encode()


def _bad_lines(path: str, foreign: bytes) -> Iterator[Problem]:
    """The administrator's bad lines stay where they are."""
    for bad in parse_authorized_keys(foreign).bad if foreign else ():
        yield Problem(path, bad.number, bad.reason)


def _missing(present: bytes, found: bytes) -> bytes:
    """The lines with keys of `found` that `present` has not got."""
    known = {(key.options, key.blob) for key in parse_authorized_keys(present).keys}
    return b"".join(
        line for line in lines(found) for key in parse_authorized_keys(line).keys if (key.options, key.blob) not in known
    )


def _ended(content: bytes) -> bytes:
    """`content` with an LF at the end of its last line."""
    return content if not content or content.endswith(b"\n") else content + b"\n"
