"""Signatures and ciphers in the ciphertext: found where the kernel puts them, and nothing strange ever raises."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.formats.ecryptfs_layout import AES_128, Cipher, Signatures, mount_options
from pam_pyhome.formats.ecryptfs_traces import PREFIX, Trace, parse_header, parse_name

ALPHABET = b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def encoded(packet: bytes) -> bytes:
    """A name with this packet, of a multiple of 3 bytes, in it."""
    bits = "".join(f"{byte:08b}" for byte in packet)
    return PREFIX + bytes(ALPHABET[int(bits[start : start + 6], 2)] for start in range(0, len(bits), 6))


SIGNATURE = "9487d0e1beb5be83"
NAME = encoded(b"\x46\x39" + bytes.fromhex(SIGNATURE) + bytes(8))


def test_a_name() -> None:
    assert NAME.startswith(PREFIX + b"FX")  # as all such names that one meets, or FW
    assert parse_name(NAME) == Trace(SIGNATURE, None)
    # The length has two bytes from 192 on.
    assert parse_name(encoded(b"\x46\xc0\x05" + bytes.fromhex(SIGNATURE) + b"\x07")) == Trace(SIGNATURE, AES_128)


@pytest.mark.parametrize("name", [b"", b"letter", PREFIX, NAME[:-9], PREFIX + b"A" * 40, PREFIX + b"F/" * 20, b"x" + NAME])
def test_names_that_tell_nothing(name: bytes) -> None:
    assert parse_name(name) is None


def test_a_header() -> None:
    packet = b"\xed\x16b\x08_CONSOLE" + bytes(4)
    assert parse_header(bytes(58) + packet + bytes.fromhex("849d6b79848a0296") + bytes(100)) == Trace("849d6b79848a0296", None)
    for data in (b"", bytes(8192), packet, packet + bytes(7), bytes(1020) + packet + bytes(8)):
        assert parse_header(data) is None


@given(st.binary(max_size=300))
def test_anything(data: bytes) -> None:
    for found in (parse_name(data), parse_name(PREFIX + data), parse_header(data)):
        assert found is None or len(found.signature) == 16


FILE_KEY, NAME_KEY = "849d6b79848a0296", "9487d0e1beb5be83"


@pytest.mark.parametrize(
    ("start", "cipher"),
    [
        ("FWaIVx1VjfKyUkSF", Cipher("aes", 16)), ("FWaIVx1VjfKyUkWl", Cipher("aes", 24)), ("FWaIVx1VjfKyUkbD", Cipher("aes", 32)),
        ("FW4IVx1VjfKyUkFb", Cipher("blowfish", 16)),
    ],
)  # fmt: skip
def test_the_cipher_of_a_name_that_the_kernel_made(start: str, cipher: Cipher) -> None:
    assert parse_name(PREFIX + start.encode() + b"lrBRUI58t38eVT2nbPu0") == Trace(NAME_KEY, cipher)


@pytest.mark.parametrize(
    ("packet", "cipher"),
    [
        ("jB0EBwMBABEiM0RVZndgXpPAoVmTlh9XCvgeln+uYg==", Cipher("aes", 16)),
        ("jC0ECAMBABEiM0RVZndgmBdKjWZqur26Kq7oRjT9E3LWoWuS+xiXvYeHKmXaILA=", Cipher("aes", 24)),
        ("jC0ECQMBABEiM0RVZndglR6OV5B8TqdINIxS8daINiV2ruG/NwrkFX2IWBKVx1I=", Cipher("aes", 32)),
        ("jEUEBAMBABEiM0RVZndg", Cipher("blowfish", 56)), ("jCUEAgMBABEiM0RVZndg", Cipher("des3_ede", 24)),
        ("jB0EAwMBABEiM0RVZndg", Cipher("cast5", 16)), ("jC0ECwMBABEiM0RVZndg", Cipher("cast6", 32)),
        ("jC0ECgMBABEiM0RVZndg", Cipher("twofish", 32)), ("jC0EBQMBABEiM0RVZndg", None), ("jQ0EBQMBABEiM0RVZndg", None),
    ],
)  # fmt: skip
def test_the_cipher_of_a_file_that_the_kernel_made(packet: str, cipher: Cipher | None) -> None:
    key = base64.b64decode(packet)
    rest = b"\xed\x16b\x08_CONSOLE" + bytes(4) + bytes.fromhex(FILE_KEY)
    for before in (26, 20):
        assert parse_header(bytes(before) + key + rest) == Trace(FILE_KEY, cipher)


def test_contents_and_names_of_two_ciphers_are_mounted_so() -> None:
    options = mount_options(Signatures(FILE_KEY, NAME_KEY), (Cipher("aes", 32), AES_128), own=False)
    assert options == (
        f"ecryptfs_cipher=aes,ecryptfs_key_bytes=32,ecryptfs_unlink_sigs,ecryptfs_sig={FILE_KEY},"
        f"ecryptfs_fn_cipher=aes,ecryptfs_fn_key_bytes=16,ecryptfs_fnek_sig={NAME_KEY}"
    )
