"""What a check has found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"


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
