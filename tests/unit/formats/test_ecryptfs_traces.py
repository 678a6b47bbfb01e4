"""Signatures in the ciphertext: found where the kernel puts them, and nothing strange ever raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.formats.ecryptfs_traces import PREFIX, parse_header, parse_name

ALPHABET = b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def encoded(packet: bytes) -> bytes:
    """A name with this packet, of a multiple of 3 bytes, in it."""
    bits = "".join(f"{byte:08b}" for byte in packet)
    return PREFIX + bytes(ALPHABET[int(bits[start : start + 6], 2)] for start in range(0, len(bits), 6))


SIGNATURE = "9487d0e1beb5be83"
NAME = encoded(b"\x46\x39" + bytes.fromhex(SIGNATURE) + bytes(8))


def test_a_name() -> None:
    assert NAME.startswith(PREFIX + b"FX")  # as all such names that one meets, or FW
    assert parse_name(NAME) == SIGNATURE
    # The length has two bytes from 192 on.
    assert parse_name(encoded(b"\x46\xc0\x05" + bytes.fromhex(SIGNATURE) + b"\x07")) == SIGNATURE


@pytest.mark.parametrize("name", [b"", b"letter", PREFIX, NAME[:-9], PREFIX + b"A" * 40, PREFIX + b"F/" * 20, b"x" + NAME])
def test_names_that_tell_nothing(name: bytes) -> None:
    assert parse_name(name) is None


def test_a_header() -> None:
    packet = b"\xed\x16b\x08_CONSOLE" + bytes(4)
    assert parse_header(bytes(58) + packet + bytes.fromhex("849d6b79848a0296") + bytes(100)) == "849d6b79848a0296"
    for data in (b"", bytes(8192), packet, packet + bytes(7), bytes(1020) + packet + bytes(8)):
        assert parse_header(data) is None


@given(st.binary(max_size=300))
def test_anything(data: bytes) -> None:
    for found in (parse_name(data), parse_name(PREFIX + data), parse_header(data)):
        assert found is None or len(found) == 16
