"""What a check has found, and the commands that mend it on this machine."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.formats.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"
_EDITORS = ("editor", "vi", "nano", "vim", "emacs")
_REINSTALLS = {"apt-get": "apt-get install --reinstall", "dnf": "dnf reinstall", "pacman": "pacman -S"}


class Finding(NamedTuple):
    """How bad it is, which check says so (a name that stays), what it is about, the fact, and the command that mends it or ""."""

    level: str
    check: str
    subject: str
    text: str
    mend: str = ""


def verdict(findings: Iterable[Finding]) -> str:
    """``ok``, ``warn`` or ``fail``: the worst there is."""
    levels = {finding.level for finding in findings}
    return FAIL if FAIL in levels else WARN if WARN in levels else OK


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Each cause once: what is wrong with several things in the same way is one finding about all of them."""
    found: dict[tuple[str, ...], list[str]] = {}
    for each in findings:
        once = each.subject if each.level in {OK, SKIP} else ""
        subjects = found.setdefault((each.level, each.check, each.text, each.mend, once), [])
        if each.subject not in subjects:
            subjects.append(each.subject)
    return [Finding(level, check, ", ".join(names), text, mend) for (level, check, text, mend, _), names in found.items()]


def edit(path: str) -> str:
    """The command that opens a file in an editor that is installed here."""
    return f"{next(filter(shutil.which, _EDITORS), _EDITORS[0])} {quoted(path)}"


def reinstall(package: str = "pyhome") -> str:
    """The command of this machine's package manager that puts all files of a package back."""
    return next((f"{words} {package}" for tool, words in _REINSTALLS.items() if shutil.which(tool)), f"install {package} again")
