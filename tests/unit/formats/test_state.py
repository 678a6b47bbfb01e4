"""Leases and the record of an open home."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.state import Claim, LeaseInfo, OpenRecord, emit_lease, emit_open, parse_lease, parse_open

LEASE = LeaseInfo(4711, 123456, "sshd", "ssh", "203.0.113.7")
OPEN = OpenRecord("ada", "ecryptfs", b"/home/ada", b"/home/.ecryptfs/ada/.Private", "0:44", (5, 6))
numbers = st.integers(0, 2**63)
texts = st.binary(max_size=30).map(lambda data: data.decode("utf-8", "surrogateescape"))
leases = st.builds(LeaseInfo, numbers, numbers, texts, texts, texts)
devices = st.tuples(numbers, numbers).map(lambda pair: f"{pair[0]}:{pair[1]}")
serials = st.lists(st.integers(0, 2**31), max_size=3).map(tuple)
identifiers = st.text("0123456789abcdef", min_size=32, max_size=32)
paths = st.binary(max_size=20).map(b"/".__add__)
records = st.builds(
    OpenRecord,
    texts,
    texts,
    st.binary(max_size=30),
    st.binary(max_size=30),
    devices,
    serials,
    st.lists(st.builds(Claim, numbers, identifiers, paths, st.just("") | devices), max_size=3).map(tuple),
    numbers,
    st.booleans(),
    texts,
    serials,
    st.lists(devices, max_size=3).map(tuple),
)


def test_a_lease_as_people_read_it() -> None:
    text = b"pid=4711\nstart=123456\nservice=sshd\ntty=ssh\nrhost=203.0.113.7\n"
    assert emit_lease(LEASE) == text
    assert parse_lease(text) == LEASE


def test_an_open_record_as_people_read_it() -> None:
    text = b"backend=ecryptfs\nmountpoint=/home/ada\ndev=0:44\nsource=/home/.ecryptfs/ada/.Private\nuser=ada\nkey=5\nkey=6\n"
    assert emit_open(OPEN) == text
    assert parse_open(text) == OPEN


def test_claims_as_people_read_them() -> None:
    """Version 0.1.0 wrote no device."""
    claims = (Claim(61001, "0123456789abcdef" * 2, b"/home", "7:0"), Claim(61001, "f" * 32, b"/with space\n"))
    record = OpenRecord("ada", "fscrypt", b"/home/ada", b"/home", "7:0", (), claims)
    text = emit_open(record)
    first = b"claim=61001 0123456789abcdef0123456789abcdef 7:0 /home\n"
    assert text.endswith(first + b"claim=61001 " + b"f" * 32 + b" /with space\\012\n")
    assert parse_open(text) == record


def test_what_proves_an_open_home_as_people_read_it() -> None:
    record = OPEN.but(opening=True, inode=12, signature="849d6b79848a0296", mount_keys=(7, 8), left=("0:51",))
    text = emit_open(record)
    what = b"state=opening\ninode=12\nsignature=849d6b79848a0296\n"
    assert text.endswith(what + b"key=5\nkey=6\nmountkey=7\nmountkey=8\nleft=0:51\n")
    assert parse_open(text) == record


@pytest.mark.parametrize(
    "claim",
    [
        "", "1", "1 ff /", f"x {'f' * 32} /", f"1 {'F' * 32} /", f"1 {'f' * 32} ", f"1 {'f' * 32} x", f"1 {'f' * 32} 7:0 x",
        f"1 {'f' * 32} 7 /", f"01 {'f' * 32} /",
    ],
)
def test_what_is_no_claim(claim: str) -> None:
    with pytest.raises(FormatError):
        parse_open(emit_open(OPEN) + f"claim={claim}\n".encode())


def test_a_forged_line_stays_a_value() -> None:
    lease = LeaseInfo(1, 2, "x\npid=0", "a=b\\012", "\u00e4")
    text = emit_lease(lease)
    assert text.count(b"\n") == 5
    assert b"service=x\\012pid=0\ntty=a=b\\134012\nrhost=\\303\\244\n" in text
    assert parse_lease(text) == lease


@given(leases)
def test_leases_round_trip(lease: LeaseInfo) -> None:
    assert parse_lease(emit_lease(lease)) == lease


@given(records)
def test_open_records_round_trip(record: OpenRecord) -> None:
    assert parse_open(emit_open(record)) == record


@given(
    st.binary(max_size=120)
    | st.sampled_from([emit_lease(LEASE), emit_open(OPEN)]).flatmap(
        lambda text: st.tuples(st.integers(0, len(text)), st.binary(max_size=4)).map(
            lambda change: text[: change[0]] + change[1] + text[change[0] + 1 :]
        )
    )
)
def test_arbitrary_bytes_raise_nothing_but_format_errors(data: bytes) -> None:
    for parse in (parse_lease, parse_open):
        try:
            parse(data)
        except FormatError:
            pass


GOOD = emit_open(OPEN)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:-1],
        GOOD + b"\n",
        GOOD + b"more=1\n",
        GOOD + b"=1\n",
        GOOD + b"user=eve\n",
        GOOD.replace(b"user=ada\n", b""),
        GOOD.replace(b"user=ada", b"user=\xc3\xa4"),
        GOOD.replace(b"user=ada", b"user=\\9"),
        GOOD.replace(b"dev=0:44", b"dev=0:44:1"),
        GOOD.replace(b"dev=0:44", b"dev=44"),
        GOOD.replace(b"key=5", b"key=-5"),
        GOOD.replace(b"key=5", b"key=05"),
        GOOD.replace(b"key=5", b"key="),
        GOOD.replace(b"key=5", b"key=5 "),
        GOOD.replace(b"key=5", b"key=" + b"9" * 5000),
        GOOD + b"state=closing\n",
        GOOD + b"inode=1\ninode=1\n",
        GOOD + b"left=44\n",
    ],
)
def test_open_records_of_another_form(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_open(data)


@pytest.mark.parametrize(
    "record",
    [
        OpenRecord("ada", "ecryptfs", b"/a", b"/b", "0:\u0664", ()),
        OpenRecord("ada", "ecryptfs", b"/a", b"/b", "0:1\n", ()),
        OpenRecord("ada", "ecryptfs", b"/a", b"/b", "0:1", (-1,)),
        OpenRecord("\ud800", "ecryptfs", b"/a", b"/b", "0:1", ()),
    ],
)
def test_what_cannot_be_read_back_is_not_written(record: OpenRecord) -> None:
    with pytest.raises(FormatError):
        emit_open(record)
