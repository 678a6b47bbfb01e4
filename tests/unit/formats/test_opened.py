"""The opened home that travels from the auth phase to the session phase."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import FormatError, UnknownVersionError
from pam_pyhome.formats.opened import OpenedHome, Rewrite, emit_opened, parse_opened

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
homes = st.builds(
    OpenedHome,
    names,
    names,
    st.lists(st.tuples(names, st.binary(max_size=40)), max_size=4).map(tuple),
    st.none() | st.builds(Rewrite, st.binary(max_size=90), st.binary(max_size=90)),
    used=st.binary(max_size=90),
    vouched=st.booleans(),
) | st.builds(OpenedHome, names, names, st.just(()), st.none(), by_key=st.booleans())
HOME = OpenedHome("ada", "ecryptfs", (("849d6b79848a0296", b"PAYLOAD"),), Rewrite(b"OLD", b"NEW"))


@given(homes)
def test_round_trip(home: OpenedHome) -> None:
    assert parse_opened(emit_opened(home)) == home


def test_names_that_are_not_utf8_survive() -> None:
    home = OpenedHome("ad\udcff", "ecryptfs", (), None)
    assert parse_opened(emit_opened(home)) == home


def test_every_truncation_and_every_addition_is_refused() -> None:
    data = emit_opened(HOME)
    for cut in range(len(data)):
        with pytest.raises(FormatError):
            parse_opened(data[:cut])
    with pytest.raises(FormatError):
        parse_opened(data + b"\0")


def test_what_an_earlier_version_of_pyhome_left_is_read() -> None:
    data = emit_opened(HOME)
    assert parse_opened(data[:7] + b"\1" + data[8 : -len(b"\0\0\0\0" + b"\0")]) == HOME


def test_another_version_is_its_own_error() -> None:
    data = emit_opened(HOME)
    with pytest.raises(UnknownVersionError):
        parse_opened(data[:7] + b"\3" + data[8:])


@given(st.one_of(st.binary(max_size=100), st.binary(max_size=100).map(lambda rest: b"PYHOPEN\2" + rest)))
def test_arbitrary_bytes_raise_nothing_but_format_errors(data: bytes) -> None:
    try:
        home = parse_opened(data)
    except FormatError:
        return
    assert data[7:8] == b"\1" or emit_opened(home) == data


@pytest.mark.parametrize(
    "home",
    [
        OpenedHome("a\0b", "ecryptfs", (), None),
        OpenedHome("ada", "\ud800", (), None),
        OpenedHome("ada", "ecryptfs", (("x", b""),) * 65, None),
        OpenedHome("ada", "ecryptfs", (), Rewrite(b"", b""), by_key=True),
    ],
)
def test_what_cannot_be_read_back_is_not_written(home: OpenedHome) -> None:
    with pytest.raises(FormatError):
        emit_opened(home)


def test_nothing_secret_is_shown() -> None:
    assert "PAYLOAD" not in repr(HOME)
    assert "OLD" not in repr(HOME)
    assert "849d6b79848a0296" in repr(HOME)
