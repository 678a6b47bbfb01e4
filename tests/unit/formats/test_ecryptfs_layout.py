"""The small files of ``~/.ecryptfs`` and the mount options."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.ecryptfs_layout import (
    Signatures,
    mount_options,
    parse_mountpoint,
    parse_salt,
    parse_signatures,
)

ONE = "849d6b79848a0296"
TWO = "9487d0e1beb5be83"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (f"{ONE}\n{TWO}\n", Signatures(ONE, TWO)),
        (f"{ONE}\n{TWO}", Signatures(ONE, TWO)),
        (f"{ONE}\n", Signatures(ONE)),
        (ONE, Signatures(ONE)),
        (f"{ONE}\n\n", Signatures(ONE)),
    ],
)
def test_signatures(data: str, expected: Signatures) -> None:
    assert parse_signatures(data.encode()) == expected


@pytest.mark.parametrize(
    "data",
    [
        "",
        "\n",
        "\n\n",
        f"\n{ONE}\n",
        f"{ONE}\n{TWO}\n{ONE}\n",
        f"{ONE}\n\n\n",
        ONE[1:],
        f"{ONE} \n",
        ONE.upper(),
        f"{ONE}\r\n",
        f"{ONE},{TWO}",
        "x" * 16,
        f"{ONE}\n{TWO},x=y",
    ],
)
def test_no_signatures(data: str) -> None:
    with pytest.raises(FormatError):
        parse_signatures(data.encode())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"/home/ada\n", b"/home/ada"),
        (b"/home/ada", b"/home/ada"),
        (b"/home/ada/Private\n", b"/home/ada/Private"),
        (b"/home//ada/./\n", b"/home/ada"),
        (b"/home/\xff and space\n", b"/home/\xff and space"),
        (b"/home/..ada\n", b"/home/..ada"),
    ],
)
def test_mountpoint(data: bytes, expected: bytes) -> None:
    assert parse_mountpoint(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"home/ada\n",
        b"/home/../etc\n",
        b"/..",
        b"/",
        b"//./\n",
        b"/home/ada\n\n",
        b"/home/ada\n/etc\n",
        b"/home/a\0b",
        b"/" + b"x" * 4096,
        b" /home/ada",
    ],
)
def test_no_mountpoint(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_mountpoint(data)


SALT = bytes.fromhex("0123456789abcdef")


# What ecryptfs-add-passphrase does with the same files: see tests/unit/test_cli_ecryptfs.py.
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"salt=0123456789abcdef\n", SALT),
        (b"salt=0123456789ABCDEF", SALT),
        (b"key=passphrase,salt=0123456789abcdef\n", SALT),
        (b"a=b\n\nsalt=0123456789abcdef\nc", SALT),
        (b"salt=1111111111111111,salt=0123456789abcdef\n", b"\x11" * 8),
        (b"salt=1234\nsalt=0123456789abcdef\n", SALT),
        (b"salt=01234567\n", None),
        (b"salt=0123456789abcdef0\n", None),
        (b" salt=0123456789abcdef\n", None),
        (b"salt =0123456789abcdef\n", None),
        (b"salt= 0123456789abcdef\n", None),
        (b"salt=0123456789abcdef\r\n", None),
        (b"salt\n", None),
        (b"", None),
    ],
)
def test_salt(data: bytes, expected: bytes | None) -> None:
    assert parse_salt(data) == expected


def test_a_salt_that_is_not_hexadecimal_is_an_error() -> None:
    with pytest.raises(FormatError):
        parse_salt(b"salt=zzzzzzzzzzzzzzzz\n")


def test_mount_options() -> None:
    options = "ecryptfs_check_dev_ruid,ecryptfs_cipher=aes,ecryptfs_key_bytes=16,ecryptfs_unlink_sigs,ecryptfs_sig="
    assert mount_options(Signatures(ONE)) == options + ONE
    assert mount_options(Signatures(ONE, TWO)) == f"{options}{ONE},ecryptfs_fnek_sig={TWO}"


@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_nothing_but_format_errors(data: bytes) -> None:
    for parse in (parse_signatures, parse_mountpoint, parse_salt):
        try:
            parse(data)
        except FormatError:
            pass


@given(st.lists(st.sampled_from([b"/", b"..", b".", b"x", b"\n", b"home"]), max_size=12).map(b"".join))
def test_a_mountpoint_never_leads_upwards(data: bytes) -> None:
    try:
        path = parse_mountpoint(data)
    except FormatError:
        return
    assert path.startswith(b"/")
    assert not {b"..", b".", b""} & set(path[1:].split(b"/"))
    assert parse_mountpoint(path) == path
