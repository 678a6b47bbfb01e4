"""Key derivation: the known answers, the limits of a passphrase, long passwords."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import PassphraseLengthError
from pam_pyhome.formats.ecryptfs_key import (
    ITERATIONS,
    SALT_DEFAULT,
    SALT_FNEK,
    DerivedKey,
    derive_key,
    is_signature,
    signature_of,
    wrapping_passphrase,
)
from tests.unit import known


def quick(data: bytes) -> bytes:
    """Stand in for the stretch where only its input matters."""
    return hashlib.sha512(data).digest()


def test_the_constants_are_those_of_the_binaries() -> None:
    meta = known.ecryptfs()["meta"]
    assert bytes.fromhex(meta["salt_default_hex"]) == SALT_DEFAULT
    assert bytes.fromhex(meta["salt_fnek_bytes_hex"]) == SALT_FNEK
    assert meta["iterations"] == ITERATIONS


@pytest.mark.parametrize("vector", known.version2(), ids=known.name)
@pytest.mark.parametrize(("kind", "salt"), [("fekek", SALT_DEFAULT), ("fnek", SALT_FNEK)])
def test_both_keys_of_a_mount_passphrase(vector: dict[str, Any], kind: str, salt: bytes) -> None:
    key = derive_key(known.raw(vector, "mount_passphrase"), salt)
    assert key.key == known.raw(vector[kind], "key")
    assert key.signature == vector[kind]["sig"]


def test_the_anchor() -> None:
    passphrase = b"0123456789abcdef0123456789abcdef"
    assert derive_key(passphrase, SALT_DEFAULT).signature == "849d6b79848a0296"
    assert derive_key(passphrase, SALT_FNEK).signature == "9487d0e1beb5be83"


@pytest.mark.parametrize("passphrase", [b"", b"x" * 65, b"a\0b", b"\0"])
def test_a_passphrase_out_of_limits_is_refused_before_any_work(passphrase: bytes) -> None:
    def never(data: bytes) -> bytes:
        raise AssertionError(data)

    with pytest.raises(PassphraseLengthError) as caught:
        derive_key(passphrase, SALT_DEFAULT, never, role="login password")
    assert caught.value.role == "login password"
    assert caught.value.length == len(passphrase)


@given(st.binary(min_size=1, max_size=64).filter(lambda value: b"\0" not in value), st.binary(min_size=8, max_size=8))
def test_salt_comes_first_and_the_stretch_is_the_callers(passphrase: bytes, salt: bytes) -> None:
    assert derive_key(passphrase, salt, quick) == DerivedKey(
        quick(salt + passphrase), signature_of(quick(salt + passphrase))
    )


def test_a_key_is_not_shown() -> None:
    key = derive_key(b"secret", SALT_DEFAULT, quick)
    assert key.key.hex() not in repr(key)
    assert repr(key.key) not in repr(key)
    assert key.signature in repr(key)


def test_long_passwords_become_64_hexadecimal_digits() -> None:
    assert wrapping_passphrase(b"p" * 64) == b"p" * 64
    long = wrapping_passphrase(b"p" * 65)
    assert long == hashlib.sha256(b"p" * 65).hexdigest().encode()
    assert len(long) == 64
    assert wrapping_passphrase(b"p" * 66) != long


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"849d6b79848a0296", True),
        (b"849D6B79848A0296", False),
        (b"849d6b79848a029", False),
        (b"849d6b79848a02966", False),
        (b"849d6b7 848a0296", False),
        (b"", False),
    ],
)
def test_what_a_signature_looks_like(text: bytes, expected: bool) -> None:
    assert is_signature(text) is expected
