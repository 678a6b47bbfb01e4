"""The packets between the login shell and the broker: what fits comes back, what does not is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import WireError
from pam_pyhome.formats import broker
from pam_pyhome.formats.broker import Request

TEXTS = (broker.PROMPT, broker.SAY, broker.REFUSED)


@pytest.mark.parametrize(
    ("data", "kind", "body"),
    [
        (b"\x01", broker.ASK, b""),
        (b"\x02secret", broker.ANSWER, b"secret"),
        (b"\x02\xff\x00", broker.ANSWER, b"\xff\x00"),
        (b"\x02" + bytes(512), broker.ANSWER, bytes(512)),
        (b"\x10", broker.OPEN, b""),
        (b"\x11Passphrase: ", broker.PROMPT, b"Passphrase: "),
        (b"\x12gr\xc3\xbcn", broker.SAY, b"gr\xc3\xbcn"),
        (b"\x13" + b"x" * 4095, broker.REFUSED, b"x" * 4095),
        (b"\x14", broker.NONE, b""),
        (b"\x19\x01", broker.SYNCED, b"\1"),
        (b"\x03\x08\0\0\0", broker.REQUEST, b"\x08\0\0\0"),
    ],
)
def test_packets_that_are_right(data: bytes, kind: int, body: bytes) -> None:
    assert broker.parse_packet(data) == (kind, body)
    assert broker.packet(kind, body) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x03",
        b"\x15",
        b"\xff",
        b"\x01x",
        b"\x10x",
        b"\x14\n",
        b"\x19",
        b"\x19\x02",
        b"\x03\x08\x01\0\0",
        b"\x02",
        b"\x02" + bytes(513),
        b"\x11",
        b"\x12" + b"x" * 4096,
        b"\x12\xff",
        b"\x12two\nlines",
        b"\x11\x1b[2J",
        b"\x13\xc2\x9b2J",
    ],
)
def test_packets_that_are_wrong(data: bytes) -> None:
    with pytest.raises(WireError):
        broker.parse_packet(data)


@given(st.binary(max_size=600))
def test_arbitrary_bytes_are_a_packet_or_a_wire_error(data: bytes) -> None:
    try:
        kind, body = broker.parse_packet(data)
    except WireError:
        return
    assert broker.packet(kind, body) == data


@given(st.sampled_from(TEXTS), st.text(min_size=1, max_size=2000))
def test_any_text_can_be_sent_and_what_arrives_is_one_printable_line(kind: int, text: str) -> None:
    data = broker.text_packet(kind, text)
    received = broker.parse_text(broker.parse_packet(data)[1])
    assert len(data) <= broker.MAX_PACKET
    assert received == text or not text.isprintable()


def test_a_text_that_is_too_long_is_cut_between_characters() -> None:
    received = broker.parse_text(broker.parse_packet(broker.text_packet(broker.SAY, "ü" * 4000))[1])
    assert received == "ü" * 2047


def contradicts(changes: int) -> bool:
    return any(changes & pair == pair for pair in (0b11, 0b1100, 0b110000))


@pytest.mark.parametrize("changes", range(256))
def test_changes_that_can_be_made(changes: int) -> None:
    body = bytes((broker.UPDATE, changes, 0, 0))
    if 0 < changes < 128 and not contradicts(changes):
        request = broker.parse_request(body)
        assert request == Request(broker.UPDATE, changes=changes)
        assert broker.request_packet(request) == bytes((broker.REQUEST,)) + body
    else:
        with pytest.raises(WireError):
            broker.parse_request(body)


@pytest.mark.parametrize(
    "request_",
    [
        Request(broker.SHOW, changes=1), Request(broker.LOCK, changes=1), Request(broker.LOCK, force=True, changes=2),
        Request(broker.UPDATE, force=True, changes=1), Request(broker.UPDATE, seconds=1, changes=1), Request(broker.UPDATE),
        Request(broker.UPDATE, changes=256),
    ],
)  # fmt: skip
def test_requests_that_their_verb_cannot_have(request_: Request) -> None:
    with pytest.raises(WireError):
        broker.request_packet(request_)
