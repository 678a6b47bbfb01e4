"""The shim's protocol, both directions."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import FormatError, UnknownVersionError, WireError
from pam_pyhome.formats import wire

texts = (
    st.binary(max_size=30)
    .filter(lambda data: b"\0" not in data)
    .map(lambda data: data.decode("utf-8", "surrogateescape"))
)
starts = st.builds(
    wire.Start,
    st.integers(1, 6),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    texts,
    texts,
    texts,
    st.lists(st.binary(max_size=20).filter(lambda data: b"\0" not in data), max_size=5).map(tuple),
)
START = wire.Start(wire.PHASE_OPEN_SESSION, 0x8000, 1000, 1001, 4711, "ada", "sshd", "/home/ada", (b"debug", b"\xff"))


def body_of(frame: bytes) -> bytes:
    """Check a frame's header and take it off."""
    _, size = wire.parse_header(frame[: wire.HEADER_SIZE])
    assert size == len(frame) - wire.HEADER_SIZE
    return frame[wire.HEADER_SIZE :]


def blob(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


def test_start_byte_for_byte() -> None:
    body = (
        b"\x01\x04"
        + struct.pack("<iIII", 0x8000, 1000, 1001, 4711)
        + blob(b"ada")
        + blob(b"sshd")
        + blob(b"/home/ada")
        + b"\x02\x00"
        + blob(b"debug")
        + blob(b"\xff")
    )
    assert wire.emit_start(START) == struct.pack("<IB", len(body) + 1, 1) + body
    assert wire.parse_start(body) == START


@given(starts)
def test_start_round_trip(start: wire.Start) -> None:
    assert wire.parse_start(body_of(wire.emit_start(start))) == start


def test_a_start_that_is_cut_or_longer_is_refused() -> None:
    body = body_of(wire.emit_start(START))
    for cut in range(len(body)):
        with pytest.raises(WireError):
            wire.parse_start(body[:cut])
    with pytest.raises(WireError):
        wire.parse_start(body + b"\0")


def test_another_version_and_unknown_phases() -> None:
    body = body_of(wire.emit_start(START))
    with pytest.raises(UnknownVersionError):
        wire.parse_start(b"\2" + body[1:])
    for phase in (0, 7, 255):
        with pytest.raises(WireError):
            wire.parse_start(body[:1] + bytes([phase]) + body[2:])


def test_strings_of_start_are_neither_null_nor_have_a_nul() -> None:
    body = body_of(wire.emit_start(START))
    for bad in (struct.pack("<I", 0xFFFFFFFF), blob(b"a\0a")):
        with pytest.raises(WireError):
            wire.parse_start(body.replace(blob(b"ada"), bad, 1))
        with pytest.raises(WireError):
            wire.parse_start(body.replace(blob(b"debug"), bad, 1))


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda rest: b"\1\4" + rest))
def test_arbitrary_bytes_raise_nothing_but_our_errors(data: bytes) -> None:
    parsers: tuple[Callable[[bytes], object], ...] = (
        wire.parse_start,
        wire.parse_answer,
        wire.parse_header,
        wire.parse_blob,
        wire.parse_serial,
        lambda rest: wire.parse_blobs(rest, 3),
    )
    for parse in parsers:
        try:
            parse(data)
        except (WireError, FormatError):
            pass


VERBS = [
    (wire.emit_get_item(6), 16, b"\6\0\0\0"),
    (wire.emit_set_item(6, b"pw"), 17, b"\6\0\0\0" + blob(b"pw")),
    (wire.emit_set_item(6, None), 17, b"\6\0\0\0\xff\xff\xff\xff"),
    (wire.emit_put_env("A=b\udcff"), 18, blob(b"A=b\xff")),
    (wire.emit_get_env("A"), 19, blob(b"A")),
    (wire.emit_converse([(1, "Password: "), (4, "hello")]), 20,
     b"\2\0" + b"\1\0\0\0" + blob(b"Password: ") + b"\4\0\0\0" + blob(b"hello")),
    (wire.emit_converse([]), 20, b"\0\0"),
    (wire.emit_fail_delay(2_000_000), 21, struct.pack("<I", 2_000_000)),
    (wire.emit_set_data("pyhome.x.ada", b"\0\1"), 22, blob(b"pyhome.x.ada") + blob(b"\0\1")),
    (wire.emit_set_data("pyhome.x.ada", None), 22, blob(b"pyhome.x.ada") + b"\xff\xff\xff\xff"),
    (wire.emit_get_data("pyhome.x.ada"), 23, blob(b"pyhome.x.ada")),
    (wire.emit_add_session_key("849d6b79848a0296", b"\0pay", 0x0B000000), 24,
     blob(b"849d6b79848a0296") + blob(b"\0pay") + b"\0\0\0\x0b"),
    (wire.emit_reply(25), 31, struct.pack("<i", 25)),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "kind", "body"), VERBS, ids=[f"{kind}-{n}" for n, (_, kind, _) in enumerate(VERBS)])
def test_verbs_byte_for_byte(frame: bytes, kind: int, body: bytes) -> None:
    assert frame == struct.pack("<IB", len(body) + 1, kind) + body


def test_answers() -> None:
    assert wire.parse_answer(body_of(wire.emit_answer(0, blob(b"value")))) == (0, blob(b"value"))
    assert wire.parse_answer(body_of(wire.emit_answer(-7))) == (-7, b"")
    with pytest.raises(WireError):
        wire.parse_answer(body_of(wire.emit_answer(9, b"x")))
    assert wire.parse_blob(blob(b"value")) == b"value"
    assert wire.parse_blob(b"\xff\xff\xff\xff") is None
    assert wire.parse_blobs(blob(b"a") + b"\xff\xff\xff\xff", 2) == (b"a", None)
    assert wire.parse_serial(b"\xff\xff\xff\x7f") == 2**31 - 1
    wire.parse_empty(b"")
    for parse in (wire.parse_blob, wire.parse_serial, wire.parse_empty):
        with pytest.raises(WireError):
            parse(blob(b"a") + b"x")


def test_frames_have_a_length_of_1_to_65536() -> None:
    assert wire.parse_header(struct.pack("<IB", 1, 31)) == (31, 0)
    assert wire.parse_header(struct.pack("<IB", 65536, 31)) == (31, 65535)
    for length in (0, 65537, 2**32 - 1):
        with pytest.raises(WireError):
            wire.parse_header(struct.pack("<IB", length, 31))
    assert len(wire.frame(2, bytes(65535))) == 65540
    with pytest.raises(WireError):
        wire.frame(2, bytes(65536))


@pytest.mark.parametrize(
    "emit",
    [
        lambda: wire.emit_get_item(-1),
        lambda: wire.emit_get_item(2**32),
        lambda: wire.emit_set_item(6, b"a\0b"),
        lambda: wire.emit_put_env("A=\0"),
        lambda: wire.emit_get_env("\ud800"),
        lambda: wire.emit_converse([(1, "x\0")]),
        lambda: wire.emit_converse([(1, "")] * 65536),
        lambda: wire.emit_reply(2**31),
        lambda: wire.emit_start(wire.Start(1, 0, -1, 0, 0, "", "", "", ())),
        lambda: wire.emit_start(wire.Start(1, 0, 0, 0, 0, "", "", "", (b"\0",))),
    ],
)
def test_what_does_not_fit_is_not_sent(emit: Callable[[], bytes]) -> None:
    with pytest.raises(WireError):
        emit()
