"""Protocol Buffers: what is read is written back byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.protobuf import build, bytes_field, integer_field, parse_message, varint

numbers = st.integers(1, (1 << 29) - 1)
fields = st.one_of(
    st.builds(integer_field, numbers, st.integers(0, (1 << 64) - 1)),
    st.builds(bytes_field, numbers, st.binary(max_size=40)),
)


@given(st.lists(fields, max_size=8))
def test_round_trip(many: list) -> None:  # type: ignore[type-arg]  # fields of both kinds
    data = b"".join(field.raw for field in many)
    message = parse_message(data, "test")
    assert message.emit() == data
    assert [(field.number, field.value) for field in message.fields] == [(field.number, field.value) for field in many]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_back_or_refused(data: bytes) -> None:
    try:
        message = parse_message(data, "test")
    except FormatError:
        return
    assert message.emit() == data
    for number in {field.number for field in message.fields}:
        for read in (message.integer, message.data, message.text, lambda n: message.messages(n, "inner")):
            try:
                read(number)
            except FormatError:
                continue


@given(st.integers(0, (1 << 64) - 1))
def test_integers(value: int) -> None:
    assert parse_message(b"\x08" + varint(value), "test").integer(1) == value


@pytest.mark.parametrize(
    "data",
    [
        "08", "0880", "08ffffffffffffffffff7f", "08808080808080808080808001", "0a05616263", "0affffffffffffffffff01", "0b", "0c",
        "0f", "00", "0501", "0901020304",
    ],
)  # fmt: skip
def test_what_no_message_can_be_is_refused(data: str) -> None:
    with pytest.raises(FormatError):
        parse_message(bytes.fromhex(data), "test")


def test_unknown_fields_survive_a_replacement_in_their_places() -> None:
    before, after = bytes.fromhex("c23e0161" + "9d3f01020304"), bytes.fromhex("a9400102030405060708" + "b840ac8200")
    data = before + bytes_field(5, b"old").raw + after
    message = parse_message(data, "test")
    assert message.replaced(5, b"new!").emit() == before + bytes_field(5, b"new!").raw + after
    assert message.replaced(6, b"x").emit() == data + bytes_field(6, b"x").raw


def test_a_field_that_stands_twice_or_is_of_another_kind_is_not_guessed_at() -> None:
    twice = parse_message(bytes_field(1, b"a").raw * 2 + integer_field(2, 3).raw, "test")
    for read in (lambda: twice.data(1), lambda: twice.data(2), lambda: twice.integer(1), lambda: twice.replaced(1, b"")):
        with pytest.raises(FormatError):
            read()
    assert twice.integer(3) == 0
    assert twice.data(3) is None


def test_zeros_are_left_out_as_in_proto3() -> None:
    assert build("test", integer_field(1, 0), None, integer_field(2, 300)).emit() == bytes.fromhex("10ac02")
