"""fscrypt's protectors and policies, as the real tool wrote them and as nobody should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import FormatError, WrongPassphraseError
from pam_pyhome.formats import fscrypt_key as key
from pam_pyhome.formats import fscrypt_meta as meta
from pam_pyhome.formats.fscrypt_renewal import Renewal, emit_renewal, is_renewal, parse_renewal
from pam_pyhome.formats.protobuf import bytes_field, integer_field
from pam_pyhome.kernel.argon2 import argon2id
from pam_pyhome.kernel.cipher import aes256_ctr

REAL: dict[str, Any] = json.loads((Path(__file__).parent.parent.parent / "vectors/fscrypt.json").read_text())
LOGIN, CUSTOM, POLICY = (bytes.fromhex(REAL[name]["hex"]) for name in ("login", "custom", "policy"))
LOGIN_NAME, CUSTOM_NAME, POLICY_NAME = (
    REAL["login"]["descriptor"], REAL["custom"]["descriptor"], REAL["policy"]["identifier"],
)  # fmt: skip
COSTS = meta.Costs(1, 64, 2)
WRAPPED = meta.WrappedKey(bytes(16), bytes(32), bytes(32))


def stretch(passphrase: str, protector: meta.Protector) -> bytes:
    costs = protector.costs
    assert costs is not None
    return argon2id(
        passphrase.encode(), protector.salt, time=costs.time, memory=costs.memory, parallelism=costs.parallelism, size=32
    )


@pytest.mark.parametrize(
    ("data", "name", "passphrase"),
    [(LOGIN, LOGIN_NAME, REAL["password"]), (CUSTOM, CUSTOM_NAME, REAL["recovery"])],
    ids=["login", "recovery"],
)
def test_what_the_real_tool_wrote_opens(data: bytes, name: str, passphrase: str) -> None:
    protector = meta.parse_protector(data, name)
    secret = key.unwrap(stretch(passphrase, protector), protector.wrapped, aes256_ctr)
    assert key.protector_name(secret) == name
    policy = meta.parse_policy(POLICY, POLICY_NAME)
    slot = policy.slot(name)
    assert slot is not None
    assert key.policy_name(key.unwrap(secret, slot, aes256_ctr)) == POLICY_NAME


def test_what_the_real_tool_wrote_says_what_it_is() -> None:
    login, custom = meta.parse_protector(LOGIN, LOGIN_NAME), meta.parse_protector(CUSTOM, CUSTOM_NAME)
    assert (login.source, login.uid, login.costs, login.name) == (meta.LOGIN, REAL["uid"], COSTS, "")
    assert (custom.source, custom.uid, custom.name) == (meta.CUSTOM, 0, "Recovery passphrase for ada")
    policy = meta.parse_policy(POLICY, POLICY_NAME)
    assert policy.version == 2
    assert [name for name, _ in policy.slots] == [LOGIN_NAME, CUSTOM_NAME]


@pytest.mark.guarantee(15)
def test_a_wrong_passphrase_and_a_flipped_bit_are_the_same_to_the_code() -> None:
    protector = meta.parse_protector(LOGIN, LOGIN_NAME)
    with pytest.raises(WrongPassphraseError):
        key.unwrap(stretch("wrong", protector), protector.wrapped, aes256_ctr)
    right = stretch(REAL["password"], protector)
    for index in range(16 + 32 + 32):
        joined = bytearray(protector.wrapped.iv + protector.wrapped.ciphertext + protector.wrapped.mac)
        joined[index] ^= 1
        damaged = meta.WrappedKey(bytes(joined[:16]), bytes(joined[16:48]), bytes(joined[48:]))
        with pytest.raises(WrongPassphraseError):
            key.unwrap(right, damaged, aes256_ctr)


def test_every_truncation_is_refused_and_damage_is_nothing_but_a_format_error() -> None:
    for data, parse, name in ((LOGIN, meta.parse_protector, LOGIN_NAME), (POLICY, meta.parse_policy, POLICY_NAME)):
        assert parse(data, name).message.emit() == data
        for cut in range(len(data)):
            if data is POLICY and cut == len(data) - 141:
                continue  # the end of the first of two slots: one slot is a policy as well
            with pytest.raises(FormatError):
                parse(data[:cut], name)
        for index in range(len(data)):
            for flip in (0x01, 0x80, 0xFF):
                damaged = bytearray(data)
                damaged[index] ^= flip
                try:
                    parse(bytes(damaged), name)
                except FormatError:
                    continue


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_but_format_errors(data: bytes) -> None:
    for parse, name in ((meta.parse_protector, LOGIN_NAME), (meta.parse_policy, POLICY_NAME)):
        with pytest.raises(FormatError):
            parse(data, name)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32), st.lists(st.binary(max_size=20), max_size=3))
def test_a_rewrap_changes_salt_and_key_only(salt: bytes, mac: bytes, unknown: list[bytes]) -> None:
    extra = b"".join(bytes_field(1000 + number, value).raw for number, value in enumerate(unknown))
    protector = meta.parse_protector(CUSTOM + extra, CUSTOM_NAME)
    wrapped = meta.WrappedKey(salt, mac, mac)
    again = meta.parse_protector(meta.rewrapped(protector, salt, wrapped), CUSTOM_NAME)
    assert (again.salt, again.wrapped) == (salt, wrapped)
    assert again.message.emit().endswith(extra)
    assert len(again.message.emit()) == len(CUSTOM + extra)
    assert (again.name, again.costs, again.source) == (protector.name, protector.costs, protector.source)


def test_new_files_are_read_back() -> None:
    data = meta.emit_protector("0123456789abcdef", meta.CUSTOM, "näme", COSTS, bytes(16), 0, WRAPPED)
    protector = meta.parse_protector(data, "0123456789abcdef")
    assert (protector.name, protector.costs, protector.wrapped) == ("näme", COSTS, WRAPPED)
    slot = meta.WrappedKey(bytes(16), bytes(64), bytes(32))
    policy = meta.parse_policy(meta.emit_policy("ab" * 16, (("0123456789abcdef", slot),)), "ab" * 16)
    assert policy.slots == (("0123456789abcdef", slot),)


def costs(time: int, memory: int, parallelism: int, *, fixed: bool) -> bytes:
    inner = b"".join(integer_field(number, value).raw for number, value in ((2, time), (3, memory), (4, parallelism)))
    inner += integer_field(5, 1).raw if fixed else b""
    message = meta.parse_protector(LOGIN, LOGIN_NAME).message
    return message.replaced(4, inner).emit()


@pytest.mark.parametrize(
    ("time", "memory", "parallelism"),
    [(0, 64, 2), (1, 64, 0), (1, 15, 2), (1, 8192, 256), (1 << 63, 64, 2), (1, 1 << 63, 2), (1, 0, 1), (1, 1 << 20, 1 << 63)],
)
def test_costs_that_argon2_does_not_take_are_refused(time: int, memory: int, parallelism: int) -> None:
    with pytest.raises(FormatError):
        meta.parse_protector(costs(time, memory, parallelism, fixed=True), LOGIN_NAME)


def test_a_parallelism_that_early_versions_truncated() -> None:
    found = meta.parse_protector(costs(1, 8192, 258, fixed=False), LOGIN_NAME).costs
    assert found == meta.Costs(1, 8192, 2)
    with pytest.raises(FormatError):
        meta.parse_protector(costs(1, 8192, 256, fixed=False), LOGIN_NAME)


def test_a_file_of_another_name_is_refused() -> None:
    for name in ("0123456789abcdef", "", LOGIN_NAME.upper(), POLICY_NAME):
        with pytest.raises(FormatError):
            meta.parse_protector(LOGIN, name)
        if name != POLICY_NAME:
            with pytest.raises(FormatError):
                meta.parse_policy(POLICY, name)


def test_sizes_are_limited() -> None:
    padded = LOGIN + bytes_field(1000, bytes(meta.MAX_SIZE - len(LOGIN) - 5)).raw
    assert len(padded) <= meta.MAX_SIZE
    meta.parse_protector(padded, LOGIN_NAME)
    with pytest.raises(FormatError, match="more than 16384"):
        meta.parse_protector(padded + bytes_field(1001, bytes(16)).raw, LOGIN_NAME)


def test_a_negative_uid_and_an_unknown_source_are_refused() -> None:
    message = LOGIN.replace(integer_field(6, REAL["uid"]).raw, integer_field(6, (1 << 64) - 1).raw)
    assert message != LOGIN
    with pytest.raises(FormatError, match="negative"):
        meta.parse_protector(message, LOGIN_NAME)
    assert LOGIN.count(b"\x10\x01\x22") == 1
    with pytest.raises(FormatError, match="source"):
        meta.parse_protector(LOGIN.replace(b"\x10\x01\x22", b"\x10\x04\x22"), LOGIN_NAME)



@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@given(data=st.data())
def test_hmac_is_that_of_the_standard_library(algorithm: str, data: st.DataObject) -> None:
    import hmac  # noqa: PLC0415 - what it is compared with

    secret = data.draw(st.binary(max_size=64))
    text = data.draw(st.binary(max_size=200))
    assert key.hmac(algorithm, secret, text) == hmac.new(secret, text, algorithm).digest()


def test_hkdf_known_answer() -> None:
    """RFC 5869, A.3: SHA-256, no salt, no info."""
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert key.hkdf("sha256", b"\x0b" * 22, b"", 42).hex() == expected


def test_argon2_known_answer() -> None:
    """`printf x | argon2 yyyyyyyyyyyyyyyy -id -t 1 -k 8 -p 1 -l 32 -r`, of Debian's argon2 0~20171227."""
    expected = "550d8b285cbc5fb129b71de8320b5fd8ff01c7460750f5e6abba80f35ce5490e"
    assert argon2id(b"x", b"y" * 16, time=1, memory=8, parallelism=1, size=32).hex() == expected


def test_aes_ctr_known_answer() -> None:
    """NIST SP 800-38A, F.5.5."""
    secret = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    counter = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    plain = bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
    assert aes256_ctr(secret, counter, plain).hex() == "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
    assert aes256_ctr(secret, counter, plain[:21]) == aes256_ctr(secret, counter, plain)[:21]


UNKNOWN = bytes_field(1000, b"later"), integer_field(1001, 0)


def test_a_policy_with_other_slots_keeps_all_else() -> None:
    policy = meta.parse_policy(POLICY + b"".join(field.raw for field in UNKNOWN), POLICY_NAME)
    added = ("0123456789abcdef", meta.WrappedKey(bytes(16), bytes(64), bytes(32)))
    changed = meta.parse_policy(meta.with_slots(policy, [CUSTOM_NAME], [added]), POLICY_NAME)
    assert [name for name, _ in changed.slots] == [LOGIN_NAME, added[0]]
    assert changed.slot(LOGIN_NAME) == policy.slot(LOGIN_NAME)
    assert changed.slot(added[0]) == added[1]
    others = [field for field in policy.message.fields if field.number != 3]
    assert [field for field in changed.message.fields if field.number != 3] == others
    with pytest.raises(FormatError):
        meta.with_slots(policy, [LOGIN_NAME, CUSTOM_NAME], [])


def test_a_login_protector_becomes_a_custom_one_that_opens_alike() -> None:
    login = meta.parse_protector(LOGIN + UNKNOWN[0].raw, LOGIN_NAME)
    custom = meta.parse_protector(meta.as_custom(login, "Former"), LOGIN_NAME)
    assert (custom.source, custom.name, custom.uid) == (meta.CUSTOM, "Former", 0)
    assert (custom.wrapped, custom.salt, custom.costs) == (login.wrapped, login.salt, login.costs)
    assert UNKNOWN[0].raw in custom.message.emit()


RENEWAL = Renewal("0123456789abcdef", b"protector", b"policy")


def test_a_prepared_login_protector_travels() -> None:
    data = emit_renewal(RENEWAL)
    assert is_renewal(data)
    assert parse_renewal(data) == RENEWAL
    assert not is_renewal(LOGIN)
    for wrong in (LOGIN, data[:-1], data + b"x", data[:8] + b"\2" + data[9:]):
        with pytest.raises(FormatError):
            parse_renewal(wrong)
