"""What the owner of an fscrypt home wishes, in two lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.wishes import MAX_SIZE, emit_wishes, parse_wishes

VECTORS = {
    (True, True): b"open_at_login=yes\nlock_at_logout=yes\n",
    (True, False): b"open_at_login=yes\nlock_at_logout=no\n",
    (False, True): b"open_at_login=no\nlock_at_logout=yes\n",
    (False, False): b"open_at_login=no\nlock_at_logout=no\n",
}
GOOD = VECTORS[True, True]


@pytest.mark.parametrize(("wishes", "text"), VECTORS.items())
def test_as_people_read_them(wishes: tuple[bool, bool], text: bytes) -> None:
    assert emit_wishes(open_at_login=wishes[0], lock_at_logout=wishes[1]) == text
    assert parse_wishes(text) == wishes
    assert len(text) <= MAX_SIZE


BAD = {
    "empty": b"",
    "one line": b"open_at_login=yes\n",
    "no end": GOOD[:-1],
    "a line too many": GOOD + b"\n",
    "twice": GOOD + GOOD,
    "other order": b"lock_at_logout=yes\nopen_at_login=yes\n",
    "another word": GOOD.replace(b"yes", b"Yes"),
    "spaces": GOOD.replace(b"=", b" = "),
    "carriage returns": GOOD.replace(b"\n", b"\r\n"),
    "a NUL": GOOD.replace(b"\n", b"\0"),
    "zeros": bytes(MAX_SIZE),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_nothing_else_is_read(text: bytes) -> None:
    with pytest.raises(FormatError):
        parse_wishes(text)


@given(st.one_of(st.binary(max_size=80), st.text("opensaltugi_=yo\n", max_size=60).map(str.encode)))
def test_whatever_is_read_is_what_is_written(data: bytes) -> None:
    try:
        opens, locks = parse_wishes(data)
    except FormatError:
        return
    assert emit_wishes(open_at_login=opens, lock_at_logout=locks) == data
