"""Targets: what programs say to each other: the module and its worker, pyhomed and the command line or the login shell."""

from __future__ import annotations

from pam_pyhome.formats import broker, facts, wire
from tests.fuzz.target import parsed, target

_START = wire.emit_start(
    wire.Start(wire.PHASE_OPEN_SESSION, 0x8000, 1000, 1001, 4711, "ada", "sshd", "/home/ada", (b"debug", b"\xff"))
)
_FACTS = facts.emit_facts(
    facts.HomeFacts(
        "ada", 1000, "/home/ada", "fscrypt", facts.OPEN, "", b"/home/ada", b"/dev/vda", 1700000000, held=True,
        slots=(facts.Slot("0123456789abcdef", facts.RECOVERY),), sessions=(facts.Session(1, 2, "sshd", "", "host"),),
        holders=("1 sleep",),
    )
)  # fmt: skip
_FAILURE = facts.emit_failure(facts.Failure(22, "HomeBusyError", "/home/ada", "is in use", ("1 sleep",)))


@target(
    "wire",
    seeds=[
        _START,
        wire.emit_answer(0, b"\3\0\0\0abc\xff\xff\xff\xff"),
        wire.emit_answer(7),
        wire.emit_converse([(1, "Password: ")]),
    ],
)
def frames(data: bytes) -> None:
    """What is read is written again byte for byte."""
    head = parsed(wire.parse_header, data[: wire.HEADER_SIZE])
    body = data[wire.HEADER_SIZE :]
    if head is not None and head[1] == len(body):
        assert wire.frame(head[0], body) == data
    start = parsed(wire.parse_start, body)
    assert start is None or wire.emit_start(start) == wire.frame(wire.START, body)
    answer = parsed(wire.parse_answer, body)
    assert answer is None or wire.emit_answer(*answer) == wire.frame(wire.ANSWER, body)
    for parse in (wire.parse_blob, wire.parse_serial, wire.parse_empty):
        parsed(parse, body)
    blobs = parsed(wire.parse_blobs, body[1:], body[0] if body else 0)
    assert blobs is None or sum(4 + len(blob or b"") for blob in blobs) == len(body[1:])


@target(
    "broker",
    seeds=[
        broker.packet(broker.ASK), broker.packet(broker.ANSWER, b"secret"), broker.text_packet(broker.PROMPT, "Password: "),
        broker.request_packet(broker.Request(broker.LOCK, force=True, seconds=30)),
        broker.request_packet(broker.Request(broker.UPDATE, changes=broker.OPEN_AT_LOGIN | broker.RENEW_COSTS)),
        broker.request_packet(broker.Request(broker.SYNC)), broker.packet(broker.SYNCED, b"\1"),
        broker.packet(broker.FACTS, b"\1" + _FACTS), broker.packet(broker.FAILED, _FAILURE),
    ],
)  # fmt: skip
def packets(data: bytes) -> None:
    """What is read is written again byte for byte; a text is one line."""
    found = parsed(broker.parse_packet, data)
    if found is None:
        return
    kind, body = found
    assert broker.packet(kind, body) == data
    if kind == broker.REQUEST:
        assert broker.request_packet(broker.parse_request(body)) == data
    elif kind in {broker.PROMPT, broker.SAY, broker.REFUSED, broker.ASK_NEW, broker.SHOW_KEY}:
        text = broker.parse_text(body)
        assert text.isprintable()
        assert broker.text_packet(kind, text) == data


@target("broker-text", seeds=["Passwort für ada: ".encode(), b"\x1b[2J", b"a" * 5000], longest=6000)
def text(data: bytes) -> None:
    """Whatever is to be said, it becomes a packet that is read."""
    said = data.decode("utf-8", "surrogateescape")
    if said:
        assert broker.parse_packet(broker.text_packet(broker.SAY, said))[0] == broker.SAY


@target("facts", seeds=[_FACTS, _FAILURE], longest=8192)
def home_facts(data: bytes) -> None:
    """What is read can be written, and after the first time is the same for ever; it never becomes too long to be sent."""
    found = parsed(facts.parse_facts, data)
    if found is not None:
        written = facts.emit_facts(found)
        assert len(written) < facts.MAX_FACTS
        assert facts.emit_facts(facts.parse_facts(written)) == written
    failure = parsed(facts.parse_failure, data)
    if failure is not None:
        sent = facts.emit_failure(failure)
        assert facts.emit_failure(facts.parse_failure(sent)) == sent
