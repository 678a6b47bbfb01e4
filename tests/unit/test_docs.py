"""The examples in the documentation are true."""

from __future__ import annotations

import doctest
from pathlib import Path

FORMATS = Path(__file__).parent.parent.parent / "docs" / "formats.md"


def test_the_examples_of_the_formats_page() -> None:
    failed, tried = doctest.testfile(str(FORMATS), module_relative=False)
    assert failed == 0
    assert tried > 20
