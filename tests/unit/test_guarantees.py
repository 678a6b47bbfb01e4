"""The threat model promises what tests hold."""

from __future__ import annotations

import pytest

from tests import guarantees

#: Tests that each guarantee has at least: most are about two kinds of homes, and all about more than one way to break them.
AT_LEAST = 2


@pytest.mark.parametrize("number", sorted(guarantees.guarantees()))
def test_every_guarantee_is_held_by_tests(number: int) -> None:
    assert len(guarantees.tests().get(number, [])) >= AT_LEAST


def test_every_marker_names_a_guarantee() -> None:
    assert set(guarantees.tests()) <= set(guarantees.guarantees())


def test_numbers_are_used_once_and_without_gaps() -> None:
    """Reports and tests name them, so they are never given to something else; new ones go on counting."""
    numbers = sorted(guarantees.guarantees())
    assert numbers == list(range(1, len(numbers) + 1))
