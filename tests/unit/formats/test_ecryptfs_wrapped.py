"""Wrapped-passphrase files: every known answer, every refusal, and arbitrary bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import FormatError, PassphraseLengthError, UnknownVersionError, WrongPassphraseError
from pam_pyhome.formats.ecryptfs_key import SALT_DEFAULT, DerivedKey, derive_key, signature_of
from pam_pyhome.formats.ecryptfs_wrapped import (
    MAX_SIZE,
    WrappedPassphrase,
    emit_wrapped,
    parse_wrapped,
    unwrap,
    wrap,
)
from pam_pyhome.kernel.cipher import aes128_ecb_decrypt, aes128_ecb_encrypt
from pam_pyhome.kernel.digest import stretch
from tests.unit import known

GOOD = next(vector for vector in known.version2() if vector["id"] == "typical-32hex")
KEY = DerivedKey(bytes(range(64)), signature_of(bytes(range(64))))
SALT = b"8 bytes."
passphrases = st.binary(min_size=1, max_size=64).filter(lambda value: b"\0" not in value)
wrapped_files = st.builds(
    WrappedPassphrase,
    st.just(2),
    st.binary(min_size=8, max_size=8),
    st.text("0123456789abcdefABCDEF", min_size=16, max_size=16),
    st.integers(1, 4).flatmap(lambda blocks: st.binary(min_size=16 * blocks, max_size=16 * blocks)),
)


def opened(data: bytes, passphrase: bytes) -> bytes:
    """What a whole unlock does with a file."""
    wrapped = parse_wrapped(data)
    return unwrap(wrapped, derive_key(passphrase, wrapped.salt, stretch), aes128_ecb_decrypt)


@pytest.mark.parametrize("vector", known.version2(), ids=known.name)
def test_version_2_is_read(vector: dict[str, Any]) -> None:
    data = known.raw(vector, "wrapped_v2")
    wrapped = parse_wrapped(data)
    fields = vector["wrapped_fields"]
    assert wrapped == WrappedPassphrase(
        2, known.raw(fields, "salt"), fields["wrapping_sig"], known.raw(fields, "ciphertext")
    )
    passphrase = opened(data, known.raw(vector, "wrapping_passphrase"))
    assert passphrase == known.raw(vector, "mount_passphrase")
    assert passphrase + b"\n" == known.raw(vector, "unwrap_stdout")


@pytest.mark.parametrize("vector", known.version2(), ids=known.name)
def test_version_2_is_written_as_the_binaries_do(vector: dict[str, Any]) -> None:
    salt = known.raw(vector["wrapped_fields"], "salt")
    key = derive_key(known.raw(vector, "wrapping_passphrase"), salt, stretch)
    assert emit_wrapped(wrap(known.raw(vector, "mount_passphrase"), key, salt, aes128_ecb_encrypt)) == known.raw(
        vector, "wrapped_v2"
    )


@pytest.mark.parametrize("vector", known.version2(), ids=known.name)
def test_what_the_binaries_rewrapped_opens_with_the_new_passphrase_only(vector: dict[str, Any]) -> None:
    data, new = known.raw(vector, "rewrapped_v2"), known.raw(vector, "rewrap_new_passphrase")
    assert opened(data, new) == known.raw(vector, "mount_passphrase")
    with pytest.raises(WrongPassphraseError):
        opened(data, known.raw(vector, "wrapping_passphrase"))


@pytest.mark.parametrize("vector", known.version1(), ids=known.name)
def test_version_1_is_read_and_its_conversion_too(vector: dict[str, Any]) -> None:
    data, passphrase = known.raw(vector, "wrapped_v1"), known.raw(vector, "wrapping_passphrase")
    wrapped = parse_wrapped(data)
    assert wrapped.version == 1
    assert wrapped.salt == known.raw(vector, "salt") == SALT_DEFAULT
    assert emit_wrapped(wrapped) == data
    assert opened(data, passphrase) == known.raw(vector, "mount_passphrase")
    converted = known.raw(vector, "rewrap_converts_to_v2")
    assert parse_wrapped(converted).version == 2
    assert opened(converted, passphrase) == known.raw(vector, "mount_passphrase")


# What each refusal of the binaries is here. None is about the command line, not about formats: see test_cli_ecryptfs.py.
REFUSALS: dict[str, type[Exception] | None] = {
    "wrap mount pw 65 chars": PassphraseLengthError,
    "wrap wrapping pw 65 chars": PassphraseLengthError,
    "wrap empty mount pw": PassphraseLengthError,
    "wrap empty wrapping pw": PassphraseLengthError,
    "unwrap wrong pw": WrongPassphraseError,
    "unwrap 65-char pw": PassphraseLengthError,
    "unwrap empty pw": PassphraseLengthError,
    "unwrap missing file": None,
    "unwrap 1-char argv": None,
    "unwrap: v2 truncated to 15 bytes": FormatError,
    "unwrap: v2 ciphertext not multiple of 16": FormatError,
    "unwrap: version byte 3": UnknownVersionError,
    "unwrap: v1 with non-hex sig": FormatError,
    "unwrap: empty file": FormatError,
    "add empty": PassphraseLengthError,
}


def test_every_known_refusal_is_accounted_for() -> None:
    assert {reject["name"] for reject in known.rejects()} == set(REFUSALS)


def attempt(reject: dict[str, Any]) -> None:
    """Do what the binary was asked to do."""
    lines = known.raw(reject, "stdin").split(b"\n")
    if reject["name"].startswith("wrap"):
        wrap(lines[0], derive_key(lines[1], SALT, stretch), SALT, aes128_ecb_encrypt)
    else:
        opened(known.raw(reject, "file") if "file_hex" in reject else known.raw(GOOD, "wrapped_v2"), lines[0])


@pytest.mark.parametrize("reject", [each for each in known.rejects() if REFUSALS[each["name"]]], ids=known.name)
def test_what_the_binaries_refuse_is_refused(reject: dict[str, Any]) -> None:
    expected = REFUSALS[reject["name"]]
    assert expected is not None
    with pytest.raises(expected) as caught:
        attempt(reject)
    assert type(caught.value) is expected


@pytest.mark.parametrize("cut", range(58))
def test_no_prefix_of_a_file_is_a_file(cut: int) -> None:
    data = known.raw(GOOD, "wrapped_v2")[:cut]
    if cut == 42:  # one block less: well-formed, but half a passphrase; only Private.sig tells
        assert opened(data, known.raw(GOOD, "wrapping_passphrase")) == b"0123456789abcdef"
        return
    with pytest.raises(FormatError):
        parse_wrapped(data)


@pytest.mark.parametrize("extra", [1, 15, 17, 48])
def test_trailing_bytes_are_refused(extra: int) -> None:
    with pytest.raises(FormatError):
        parse_wrapped(known.raw(GOOD, "wrapped_v2") + bytes(extra))


def test_a_block_appended_to_a_good_file_is_noticed_where_the_binaries_print_garbage() -> None:
    vector = next(vector for vector in known.version2() if vector["id"] == "fifteen")
    with pytest.raises(FormatError, match="damaged"):
        opened(known.raw(vector, "wrapped_v2") + bytes(16), known.raw(vector, "wrapping_passphrase"))


def test_a_signature_in_capitals_is_another_signature() -> None:
    capital = WrappedPassphrase(2, SALT, KEY.signature.upper(), aes128_ecb_encrypt(KEY.key[:16], b"x" + bytes(15)))
    with pytest.raises(WrongPassphraseError):
        unwrap(parse_wrapped(emit_wrapped(capital)), KEY, aes128_ecb_decrypt)


@pytest.mark.parametrize(
    "plaintext",
    [bytes(16), b"\0" + b"x" * 15, b"abc\0" + b"x" * 12, b"x" * 15 + b"\0" + bytes(16), bytes(16) + b"x" * 16],
)
def test_plaintext_that_no_wrap_makes_is_refused(plaintext: bytes) -> None:
    made = WrappedPassphrase(2, SALT, KEY.signature, aes128_ecb_encrypt(KEY.key[:16], plaintext))
    with pytest.raises(FormatError, match="damaged"):
        unwrap(made, KEY, aes128_ecb_decrypt)


@given(passphrases)
def test_wrap_and_unwrap_are_inverse(passphrase: bytes) -> None:
    data = emit_wrapped(wrap(passphrase, KEY, SALT, aes128_ecb_encrypt))
    assert len(data) <= MAX_SIZE
    assert unwrap(parse_wrapped(data), KEY, aes128_ecb_decrypt) == passphrase


@given(wrapped_files)
def test_version_2_round_trip(wrapped: WrappedPassphrase) -> None:
    assert parse_wrapped(emit_wrapped(wrapped)) == wrapped


@given(st.one_of(st.binary(max_size=100), st.binary(max_size=92).map(lambda rest: b":\x02" + rest)))
def test_arbitrary_bytes_are_a_file_or_a_format_error(data: bytes) -> None:
    try:
        wrapped = parse_wrapped(data)
    except FormatError:
        return
    assert emit_wrapped(wrapped) == data


@pytest.mark.parametrize(
    "wrapped",
    [
        WrappedPassphrase(3, SALT, KEY.signature, bytes(16)),
        WrappedPassphrase(2, SALT + b"x", KEY.signature, bytes(16)),
        WrappedPassphrase(2, SALT, KEY.signature[1:], bytes(16)),
        WrappedPassphrase(2, SALT, "\u00e4" * 16, bytes(16)),
        WrappedPassphrase(2, SALT, KEY.signature, bytes(80)),
        WrappedPassphrase(1, SALT, KEY.signature, b""),
    ],
)
def test_fields_that_no_file_can_have_are_not_written(wrapped: WrappedPassphrase) -> None:
    with pytest.raises(FormatError):
        emit_wrapped(wrapped)
