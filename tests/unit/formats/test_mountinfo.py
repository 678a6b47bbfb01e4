"""The kernel's list of mounts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.escape import to_octal, undo_octal
from pam_pyhome.formats.mountinfo import Mount, parse_mountinfo

LINE = (
    b"611 98 0:44 / /home/ada\\040b rw,nosuid shared:1 master:2 - ecryptfs /home/.ecryptfs/ada/.Private "
    b"rw,ecryptfs_sig=849d6b79848a0296\n"
)


def test_one_line() -> None:
    assert parse_mountinfo(LINE) == [
        Mount(
            611,
            98,
            "0:44",
            b"/",
            b"/home/ada b",
            b"rw,nosuid",
            "ecryptfs",
            b"/home/.ecryptfs/ada/.Private",
            b"rw,ecryptfs_sig=849d6b79848a0296",
        )
    ]


def test_no_optional_fields_and_an_empty_source() -> None:
    (mount,) = parse_mountinfo(b"22 27 0:21 / /proc rw - proc  rw\n")
    assert (mount.source, mount.super_options) == (b"", b"rw")


def test_this_machines_own_list() -> None:
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_bytes())
    assert any(mount.mountpoint == b"/" for mount in mounts)
    assert any(mount.mountpoint == b"/proc" and mount.fstype == "proc" for mount in mounts)


@pytest.mark.parametrize(
    "data",
    [
        LINE[:-1],
        LINE + b"\n",
        LINE.replace(b" - ", b" "),
        LINE.replace(b"0:44", b"44"),
        LINE.replace(b"0:44", b"0:x"),
        LINE.replace(b"611", b"-1"),
        LINE.replace(b"611", b""),
        LINE.replace(b"\\040", b"\\04"),
        LINE.replace(b"\\040", b"\\0x0"),
        LINE.replace(b"\\040", b"\\777"),
        b"22 27 0:21 / /proc - proc proc rw\n",
        b"22 27 0:21 / /proc rw - proc proc\n",
    ],
)
def test_lines_of_another_form(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_mountinfo(data)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_format_errors(data: bytes) -> None:
    try:
        parse_mountinfo(data)
    except FormatError:
        pass


@given(st.binary(max_size=60))
def test_any_mountpoint_is_read_back(path: bytes) -> None:
    line = b"1 0 8:1 / %s rw - ext4 /dev/sda1 rw\n" % to_octal(path).replace(b" ", b"\\040")
    assert parse_mountinfo(line)[0].mountpoint == path


@given(st.binary(max_size=60))
def test_escapes_round_trip(data: bytes) -> None:
    escaped = to_octal(data)
    assert undo_octal(escaped, "test") == data
    assert escaped.isascii()
    assert all(0x20 <= byte < 0x7F for byte in escaped)
