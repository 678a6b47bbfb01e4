"""/etc/fscrypt.conf and links."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.fscrypt_conf import Link, emit_config, emit_link, parse_costs, parse_link
from pam_pyhome.formats.fscrypt_meta import Costs

lines = st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(lines | st.none(), lines.map("/".__add__))
def test_links_are_read_back(uuid: str | None, path: str) -> None:
    assert parse_link(emit_link(Link(uuid, path))) == Link(uuid, path)


def test_links_of_the_real_tool() -> None:
    assert parse_link(b"PATH=/\n") == Link(None, "/")
    assert parse_link(b"UUID=3a6d9a76-47f0-4f13-81bf-3332fbe984fb") == Link("3a6d9a76-47f0-4f13-81bf-3332fbe984fb", None)
    assert parse_link(b"UUID=3a6d\nPATH=/mnt\n") == Link("3a6d", "/mnt")


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"PATH=\n", b"PATH=x\n", b"DEVICE=/dev/sda\n", b"PATH=/\nPATH=/\n", b"PATH=/" + b"x" * 5000]
)
def test_what_is_no_link(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_link(data)


@given(st.binary(max_size=60))
def test_arbitrary_links(data: bytes) -> None:
    try:
        parse_link(data)
    except FormatError:
        return


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 40), st.integers(1, 255))
def test_the_costs_of_a_new_file(time: int, memory: int, parallelism: int) -> None:
    costs = Costs(time, memory, parallelism)
    assert parse_costs(emit_config(costs)) == costs
    assert json.loads(emit_config(costs))["hash_costs"]["memory"] == str(memory)


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=8), trees, max_size=4), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_whatever_else_is_in_it(other: dict[str, object], indent: int | str | None, ascii_only: bool) -> None:
    conf = other | {"hash_costs": {"time": "3", "memory": 4096, "parallelism": "2"}}
    assert parse_costs(json.dumps(conf, indent=indent, ensure_ascii=ascii_only).encode()) == Costs(3, 4096, 2)


@given(st.one_of(st.binary(max_size=80), st.text(alphabet='{}[]",:\\ 0eu-tnf', max_size=60).map(str.encode)))
def test_arbitrary_bytes_raise_nothing_but_format_errors(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_costs(data)


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{}", '{"hash_costs": 3}', '{"hash_costs": {"time": "1", "memory": "8"}}',
        '{"hash_costs": {"time": "0", "memory": "8", "parallelism": "1"}}',
        '{"hash_costs": {"time": "x", "memory": "8", "parallelism": "1"}}',
        '{"hash_costs": {"time": "1", "memory": "8", "parallelism": "1"}} x',
        '{"a": 1, "a": 2}', r'{"\u001b[2J": 1, "\u001b[2J": 2}', '{"a": "\x01"}', "[" * 40 + "]" * 40,
        '{"hash_costs": {"time": 1.5, "memory": "8", "parallelism": "1"}}',
    ],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    with pytest.raises(FormatError) as refused:
        parse_costs(text.encode())
    assert str(refused.value).isprintable()
