"""Recovery keys: what was printed can be typed in, and what was mistyped never goes unnoticed."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.recovery import (
    SIZE,
    TEXT_MAX,
    emit_recovery,
    parse_recovery,
    typed_fscrypt,
    typed_key,
    typed_passphrase,
)

KEYS = st.binary(min_size=SIZE, max_size=SIZE)
SYMBOLS = "0123456789abcdefghjkmnpqrstvwxyz"
#: Worked out from the definition of the check symbol, by other code.
ZEROES = "00000-00005-0000a-0000f-0000m-0000h-0000y-0000v"


@given(KEYS)
def test_there_and_back(key: bytes) -> None:
    text = emit_recovery(key)
    assert re.fullmatch(rf"([{SYMBOLS}]{{5}}-){{7}}[{SYMBOLS}]{{5}}", text)
    assert parse_recovery(text) == key


@given(KEYS)
def test_as_a_person_may_type_it(key: bytes) -> None:
    text = emit_recovery(key)
    alike = text.replace("0", "O").replace("1", "l")
    for typed in (text.upper(), text.replace("-", ""), text.replace("-", " "), alike, f" {text}\n"):
        assert parse_recovery(typed) == key


@given(KEYS, st.integers(0, 39), st.sampled_from(SYMBOLS))
def test_one_wrong_symbol_is_noticed_and_its_group_named(key: bytes, place: int, symbol: str) -> None:
    letters = emit_recovery(key).replace("-", "")
    wrong = letters[:place] + symbol + letters[place + 1 :]
    if wrong != letters:
        with pytest.raises(FormatError, match=rf"mistyped in group {place // 5 + 1}$"):
            parse_recovery(wrong)


@given(KEYS, st.integers(0, 38), st.integers(1, 39))
def test_symbols_and_groups_in_each_others_place_are_noticed(key: bytes, first: int, distance: int) -> None:
    groups = emit_recovery(key).split("-")
    one, other = first % 8, (first + distance) % 8
    swapped = list(groups)
    swapped[one], swapped[other] = groups[other], groups[one]
    if one != other:
        with pytest.raises(FormatError):
            parse_recovery("-".join(swapped))
    group = groups[one]
    left, right = sorted((first % 5, (first + distance) % 5))
    if group[left] != group[right]:
        typed = group[:left] + group[right] + group[left + 1 : right] + group[left] + group[right + 1 :]
        with pytest.raises(FormatError, match=f"mistyped in group {one + 1}$"):
            parse_recovery("-".join([*groups[:one], typed, *groups[one + 1 :]]))


@pytest.mark.parametrize(
    "text", ["", "00000", ZEROES[:-1], ZEROES + "0", "u" + ZEROES[1:], "é" + ZEROES[1:], ZEROES + " " * TEXT_MAX]
)
def test_what_is_no_recovery_key(text: str) -> None:
    with pytest.raises(FormatError):
        parse_recovery(text)


@given(st.text())
def test_nothing_else_is_raised(text: str) -> None:
    with contextlib.suppress(FormatError):
        parse_recovery(text)


def test_a_key_of_another_size() -> None:
    with pytest.raises(ValueError, match="20 bytes, not 19"):
        emit_recovery(bytes(19))


def test_a_known_answer() -> None:
    assert emit_recovery(bytes(SIZE)) == ZEROES


@given(KEYS)
def test_an_answer_that_is_a_key_becomes_its_text(key: bytes) -> None:
    text = emit_recovery(key)
    typed = text.upper().replace("-", " ").replace("0", "o").encode()
    assert typed_key(typed) == typed_passphrase(typed) == text.encode()


@pytest.mark.parametrize("answer", [b"", b"correct horse", b"\xff" * 47, b"x" * 47, ZEROES[:-1].encode() + b"0", b"0" * 5000])
def test_an_answer_that_is_none(answer: bytes) -> None:
    assert typed_key(answer) is None
    assert typed_passphrase(answer) is None


def test_the_mount_passphrase_of_other_tools() -> None:
    digits = b"0123456789abcdef" * 2
    assert typed_passphrase(b" 0123 4567 89AB CDEF-" + digits[16:] + b"\n") == digits
    assert typed_key(digits) is None
    assert typed_passphrase(digits[:-1]) is None
    assert typed_passphrase(digits[:-1] + b"g") is None


def test_the_recovery_passphrase_of_fscrypt() -> None:
    assert typed_fscrypt(b"Qwert yuiop asdfg hjklz\n") == b"qwertyuiopasdfghjklz"
    assert typed_fscrypt(ZEROES.encode()) == ZEROES.encode()
    for wrong in (b"qwertyuiopasdfghjkl", b"qwertyuiopasdfghjklzx", b"qwertyuiopasdfghjkl1", b"x" * 5000):
        assert typed_fscrypt(wrong) is None
