"""Records: frozen, compared and shown by fields."""

from __future__ import annotations

import pytest

from pam_pyhome.record import Record


class Point(Record):
    """Two fields, one with a default."""

    x: int
    y: int = 7


class Named(Point):
    """A field more."""

    name: str = "p"


def test_fields_by_position_keyword_and_default() -> None:
    assert (Point(1).x, Point(1).y) == (1, 7)
    assert Point(1, y=2) == Point(x=1, y=2) == Point(1, 2)
    assert (Named(1, 2, "q").name, Named(1).y) == ("q", 7)


def test_equality_and_hash_are_by_class_and_fields() -> None:
    assert Point(1, 2) != Point(2, 1)
    assert Point(1, 7) != Named(1, 7)
    assert {Point(1), Point(1, 7)} == {Point(1)}


def test_a_record_never_changes() -> None:
    point = Point(1)
    with pytest.raises(AttributeError):
        point.x = 2  # type: ignore[misc]  # what the checker forbids must fail at run time, too
    with pytest.raises(AttributeError):
        del point.x
    assert point == Point(1)


def test_it_shows_its_fields() -> None:
    assert repr(Named(1)) == "Named(x=1, y=7, name='p')"


@pytest.mark.parametrize(("positions", "keywords"), [((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1})])
def test_missing_unknown_and_repeated_fields(positions: tuple[int, ...], keywords: dict[str, int]) -> None:
    with pytest.raises(TypeError):
        Point(*positions, **keywords)
