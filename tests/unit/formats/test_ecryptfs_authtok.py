"""The kernel's key payload: the known answers byte for byte, and nothing else accepted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.ecryptfs_authtok import PAYLOAD_SIZE, emit_auth_token, parse_auth_token
from pam_pyhome.formats.ecryptfs_key import SALT_DEFAULT, SALT_FNEK, DerivedKey, signature_of
from tests.unit import known

KEY = DerivedKey(bytes(range(64)), signature_of(bytes(range(64))))


@pytest.mark.parametrize("vector", known.version2(), ids=known.name)
@pytest.mark.parametrize(("kind", "salt"), [("fekek", SALT_DEFAULT), ("fnek", SALT_FNEK)])
def test_payloads_are_those_the_binaries_add(vector: dict[str, Any], kind: str, salt: bytes) -> None:
    expected = vector[kind]
    payload = emit_auth_token(DerivedKey(known.raw(expected, "key"), expected["sig"]), salt)
    assert payload == known.raw(expected, "payload")
    assert len(payload) == PAYLOAD_SIZE == expected["payload_len"]
    token = parse_auth_token(payload)
    assert (token.key, token.signature, token.salt) == (known.raw(expected, "key"), expected["sig"], salt)
    assert known.raw(expected, "salt") == salt


@given(st.binary(min_size=64, max_size=64), st.binary(min_size=8, max_size=8))
def test_round_trip(key: bytes, salt: bytes) -> None:
    token = parse_auth_token(emit_auth_token(DerivedKey(key, signature_of(key)), salt))
    assert (token.key, token.salt) == (key, salt)


@pytest.mark.parametrize("offset", range(PAYLOAD_SIZE))
def test_every_byte_counts(offset: int) -> None:
    payload = bytearray(emit_auth_token(KEY, SALT_DEFAULT))
    payload[offset] ^= 0x40
    if 729 <= offset < 737:  # the salt is whatever it is
        assert parse_auth_token(bytes(payload)).salt != SALT_DEFAULT
        return
    with pytest.raises(FormatError):
        parse_auth_token(bytes(payload))


@given(st.one_of(st.binary(max_size=2000), st.binary(min_size=PAYLOAD_SIZE, max_size=PAYLOAD_SIZE)))
def test_arbitrary_bytes_are_no_token(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_auth_token(data)


@pytest.mark.parametrize(
    ("key", "salt"),
    [
        (DerivedKey(b"short", signature_of(b"short")), SALT_DEFAULT),
        (KEY, b"short"),
        (DerivedKey(KEY.key, "0" * 16), SALT_DEFAULT),
        (DerivedKey(KEY.key, "\u00e4" * 16), SALT_DEFAULT),
    ],
)
def test_fields_that_do_not_belong_together_are_not_written(key: DerivedKey, salt: bytes) -> None:
    with pytest.raises(FormatError):
        emit_auth_token(key, salt)


def test_a_token_does_not_show_its_key() -> None:
    shown = repr(parse_auth_token(emit_auth_token(KEY, SALT_DEFAULT)))
    assert repr(KEY.key)[2:-1] not in shown
    assert KEY.signature in shown
