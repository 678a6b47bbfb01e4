"""The fast derivation and the cipher against implementations that share no code with them."""

from __future__ import annotations

import pytest

from pam_pyhome.formats.ecryptfs_key import stretch_reference
from pam_pyhome.kernel.cipher import aes128_ecb_decrypt, aes128_ecb_encrypt
from pam_pyhome.kernel.digest import stretch, stretch_both


@pytest.mark.parametrize("data", [b"12345678x", b"\xff" * 72, bytes(9)])
def test_the_fast_stretch_is_the_slow_one(data: bytes) -> None:
    assert stretch(data) == stretch_reference(data)


def test_two_at_a_time() -> None:
    assert stretch_both(b"saltsalta", b"saltsaltb") == (stretch(b"saltsalta"), stretch(b"saltsaltb"))


def test_aes_128_by_the_standards_own_example() -> None:
    """FIPS 197, appendix C.1."""
    key, plain = bytes(range(16)), bytes.fromhex("00112233445566778899aabbccddeeff")
    cipher = bytes.fromhex("69c4e0d86a7b0430d8cdb78070b4c55a")
    assert aes128_ecb_encrypt(key, plain * 4) == cipher * 4
    assert aes128_ecb_decrypt(key, cipher * 4) == plain * 4


@pytest.mark.parametrize(("key", "data"), [(bytes(15), bytes(16)), (bytes(32), bytes(16)), (bytes(16), bytes(15))])
def test_other_sizes_are_refused(key: bytes, data: bytes) -> None:
    with pytest.raises(ValueError, match="whole blocks"):
        aes128_ecb_encrypt(key, data)
