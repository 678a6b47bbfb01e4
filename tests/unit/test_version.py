"""The version stands in several files, and is the same in all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pam_pyhome import __version__

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("packaging/debian/changelog", r"\Apyhome \((.+?)\)"),
        ("packaging/arch/PKGBUILD", r"(?m)^pkgver=(.+)$"),
        ("NEWS.md", r"(?m)^## (.+)$"),
    ],
)
def test_the_newest_version_is_the_same_everywhere(file: str, pattern: str) -> None:
    found = re.search(pattern, (REPOSITORY / file).read_text())
    assert found is not None
    assert found[1] == __version__
