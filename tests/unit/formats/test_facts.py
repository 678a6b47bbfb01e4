"""Facts and failures on their way to the command line: what fits comes back, what does not is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import WireError
from pam_pyhome.formats import broker
from pam_pyhome.formats.broker import Request
from pam_pyhome.formats.facts import (
    LONGEST,
    MAX_FACTS,
    MOST,
    STATES,
    Failure,
    HomeFacts,
    Session,
    Slot,
    emit_facts,
    emit_failure,
    parse_facts,
    parse_failure,
)
from tests.unit.cli.known_homes import HOMES

bytes_as_text = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
slots = st.builds(Slot, bytes_as_text, bytes_as_text, bytes_as_text, st.booleans())
sessions = st.builds(
    Session, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), bytes_as_text, bytes_as_text, bytes_as_text
)
homes = st.builds(
    HomeFacts, bytes_as_text, st.integers(0, 2**32 - 1), bytes_as_text, bytes_as_text, st.sampled_from(STATES), bytes_as_text,
    st.binary(max_size=40), st.binary(max_size=40), st.integers(0, 2**64 - 1), st.booleans(), st.booleans(), st.booleans(),
    st.booleans(), st.booleans(), st.booleans(), st.lists(slots, max_size=3).map(tuple), st.lists(sessions, max_size=3).map(tuple),
    st.lists(bytes_as_text, max_size=3).map(tuple), st.lists(bytes_as_text, max_size=3).map(tuple),
)  # fmt: skip
failures = st.builds(
    Failure, st.integers(1, 255), bytes_as_text, bytes_as_text, bytes_as_text, st.lists(bytes_as_text, max_size=3).map(tuple)
)


@pytest.mark.parametrize("facts", HOMES)
def test_known_homes_travel_whole(facts: HomeFacts) -> None:
    assert parse_facts(emit_facts(facts)) == facts


@given(homes)
def test_any_home_travels_whole(facts: HomeFacts) -> None:
    data = emit_facts(facts)
    assert parse_facts(data) == facts
    assert broker.parse_packet(broker.packet(broker.FACTS, b"\1" + data)) == (broker.FACTS, b"\1" + data)


@given(failures)
def test_any_failure_travels_whole(failure: Failure) -> None:
    data = emit_failure(failure)
    assert parse_failure(data) == failure
    assert broker.parse_packet(broker.packet(broker.FAILED, data)) == (broker.FAILED, data)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_facts_or_a_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        assert emit_facts(parse_facts(data)) == data
    with contextlib.suppress(WireError):
        assert emit_failure(parse_failure(data)) == data


@given(st.sampled_from(HOMES), st.data())
def test_damaged_facts_are_facts_or_a_wire_error(facts: HomeFacts, data: st.DataObject) -> None:
    whole = bytearray(emit_facts(facts))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        parse_facts(damaged)
    except WireError:
        return
    broker.parse_packet(bytes((broker.FACTS, 0)) + damaged)


def test_what_is_too_much_is_cut() -> None:
    long = "ü" * 5000
    slot, session = Slot(long, long, long), Session(1, 1, long, long, long)
    whole = HomeFacts(
        long, 1, long, long, "open", long, b"/" * 9000, b"/" * 9000,
        slots=(slot,) * 300, sessions=(session,) * 300, holders=(long,) * 300,
    )  # fmt: skip
    data = emit_facts(whole)
    assert len(data) < MAX_FACTS
    cut = parse_facts(data)
    assert (len(cut.slots), len(cut.sessions), len(cut.holders)) == (MOST, MOST, MOST)
    assert cut.user == "ü" * (LONGEST // 2)
    assert len(emit_failure(Failure(1, long, long, long, (long,) * 300))) < MAX_FACTS


@pytest.mark.parametrize(
    "wrong",
    [HomeFacts("a", 1, "/", "x", "ajar"), HomeFacts("a", -1, "/", "x", "open"), HomeFacts("a", 1, "/", "x", "open", since=-1)],
)
def test_facts_that_cannot_be_sent(wrong: HomeFacts) -> None:
    with pytest.raises(WireError):
        emit_facts(wrong)


REQUESTS = [
    (Request(broker.SHOW), b"\x03\x01\x00\x00\x00"),
    (Request(broker.UNLOCK), b"\x03\x02\x00\x00\x00"),
    (Request(broker.LOCK), b"\x03\x03\x00\x00\x00"),
    (Request(broker.LOCK, force=True, seconds=3600), b"\x03\x03\x01\x10\x0e"),
    (Request(broker.PASSWD), b"\x03\x04\x00\x00\x00"),
    (Request(broker.TEST_KEY), b"\x03\x05\x00\x00\x00"),
    (Request(broker.NEW_KEY), b"\x03\x06\x00\x00\x00"),
]


@pytest.mark.parametrize(("request_", "packet"), REQUESTS)
def test_requests(request_: Request, packet: bytes) -> None:
    assert broker.request_packet(request_) == packet
    assert broker.parse_packet(packet) == (broker.REQUEST, packet[1:])
    assert broker.parse_request(packet[1:]) == request_


@pytest.mark.parametrize(
    "packet",
    [
        b"\x03", b"\x03\x01\x00\x00", b"\x03\x01\x00\x00\x00\x00", b"\x03\x00\x00\x00\x00", b"\x03\x07\x00\x00\x00",
        b"\x03\x03\x02\x00\x00", b"\x03\x03\x01\x11\x0e", b"\x03\x01\x01\x00\x00", b"\x03\x02\x00\x01\x00", b"\x15\x02" + b"x" * 40,
        b"\x16\x00", b"\x15\x00", b"\x17", b"\x17\x1b[2J",
    ],
)  # fmt: skip
def test_packets_of_requests_that_are_wrong(packet: bytes) -> None:
    with pytest.raises(WireError):
        broker.parse_packet(packet)


@pytest.mark.parametrize(
    "wrong",
    [Request(0), Request(256), Request(broker.SHOW, seconds=1), Request(broker.LOCK, seconds=3601), Request(broker.PASSWD, True)],
)
def test_requests_that_cannot_be_sent(wrong: Request) -> None:
    with pytest.raises(WireError):
        broker.request_packet(wrong)
