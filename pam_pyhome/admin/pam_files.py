"""The PAM service files of this machine."""

from __future__ import annotations

import functools
import glob
import os
import re
from typing import TYPE_CHECKING

from pam_pyhome.formats import pam_stack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pam_pyhome.formats.pam_stack import Rule

#: libpam looks here in this order.
DIRECTORIES = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/share/pam.d")
MODULES = ("/usr/lib/security", "/usr/lib64/security", "/usr/lib/*/security", "/lib/security", "/lib/*/security")
_FILE_MAX = 1024 * 1024
#: Copies that tools and people leave beside a file: pam-config, authselect, rpm, dpkg, pacman, editors. Nothing asks for them.
_KEPT_ASIDE = (
    ".dpkg-", ".ucf-", ".pacnew", ".pacsave", ".pacorig", ".rpmnew", ".rpmsave", ".rpmorig", "~", ".bak", ".orig", ".old", ".save",
    ".backup", ".swp", ".swo", ".pyhome-staged", ".pam-old", ".pam-new", ".disabled", ".tmp", ".copy",
)  # fmt: skip
_DATED = re.compile(r"[.-]\d{6,}")  # with the day or the second

Files = dict[str, tuple["Rule", ...]]


def read_all(instead: Mapping[str, bytes | None] | None = None) -> Files:
    """The rules of every file, by the name under which includes and services find it; and under the path of those elsewhere.

    `instead` has contents for paths, None for a file that is taken for absent. OSError if a file cannot be read.
    """
    given = instead or {}
    files: Files = {}
    for directory in reversed(DIRECTORIES):
        inside = {path for path in given if os.path.dirname(path) == directory}
        for path in sorted({f"{directory}/{name}" for name in _names(directory) if not is_kept_aside(name)} | inside):
            content = given[path] if path in given else _read(path)
            if content is not None:
                files[os.path.basename(path)] = pam_stack.parse(content.decode("utf-8", "surrogateescape"), path)
    _add_elsewhere(files)
    return files


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _read(path: str) -> bytes | None:
    """The content of a file of usual size; None for anything else."""
    try:
        with open(path, "rb", opener=_open_quickly) as file:
            return file.read(_FILE_MAX)
    except (FileNotFoundError, IsADirectoryError):
        return None


def _open_quickly(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _add_elsewhere(files: Files) -> None:
    """What is included by an absolute path, or relative to a directory below these."""
    todo = [rule.target for rules in files.values() for rule in rules if rule.includes]
    while todo:
        name = todo.pop()
        if name in files:
            continue
        candidates = [name] if name.startswith("/") else [f"{directory}/{name}" for directory in DIRECTORIES]
        path = next((each for each in candidates if os.path.isfile(each)), None)
        content = None if path is None else _read(path)
        if path is not None and content is not None:
            files[name] = pam_stack.parse(content.decode("utf-8", "surrogateescape"), path)
            todo += [rule.target for rule in files[name] if rule.includes]


def services(files: Files) -> list[str]:
    """The names of files that no other file includes, which are those that programs ask for."""
    included = {rule.target for name, rules in files.items() if not is_kept_aside(name) for rule in rules if rule.includes}
    # su-l and the like include a service that is one itself.
    twins = {name for name in included if name in files and f"{name}-l" in files}
    own = [name for name in files if (name not in included or name in twins) and "/" not in name]
    return sorted(name for name in own if not is_kept_aside(name))


def is_kept_aside(name: str) -> bool:
    """Whether a file of this name is a copy that somebody keeps, and no service."""
    return name.startswith((".", "#")) or any(mark in name for mark in _KEPT_ASIDE) or _DATED.search(name) is not None


def module_path(target: str) -> str | None:
    """Where a module is installed; None if it is not."""
    if target.startswith("/"):
        return target if os.path.isfile(target) else None
    return next(iter(module_paths(target)), None)


def module_paths(target: str) -> list[str]:
    """Every place where a module of this name is installed; what is the same place under another name, once."""
    paths = (f"{directory}/{target}" for directory in reversed(_module_directories()))
    found = {os.path.realpath(path): path for path in paths if os.path.exists(path)}
    return list(reversed(found.values()))


@functools.cache
def _module_directories() -> tuple[str, ...]:
    """Looking for these takes longer than all the rest, and none appears meanwhile."""
    return tuple(path for pattern in MODULES for path in sorted(glob.glob(pattern)))
