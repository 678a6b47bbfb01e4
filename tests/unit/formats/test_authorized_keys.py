"""authorized_keys: what sshd takes is taken, byte for byte; what it does not is named; nothing makes the parser fail."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.formats.authorized_keys import parse_authorized_keys


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def number(bits: int) -> bytes:
    return string(b"\0" + (1 << bits - 1).to_bytes(bits // 8, "big"))


POINTS = {"nistp256": 64, "nistp384": 96, "nistp521": 132}
APPLICATION = string(b"ssh:")
BODIES = {
    "ssh-rsa": string(b"\1\0\1") + number(2048),
    "ssh-dss": number(1024) + number(160) + number(1024) + number(1024),
    "ssh-ed25519": string(bytes(32)),
    "sk-ssh-ed25519@openssh.com": string(bytes(32)) + APPLICATION,
    "sk-ecdsa-sha2-nistp256@openssh.com": string(b"nistp256") + string(b"\4" + bytes(64)) + APPLICATION,
} | {f"ecdsa-sha2-{curve}": string(curve.encode()) + string(b"\4" + bytes(size)) for curve, size in POINTS.items()}
CERTIFIED = bytes(8) + bytes(4) + string(b"id") + string(b"") + bytes(16) + 5 * string(b"")


def certificate_of(name: str) -> tuple[str, bytes]:
    return name.removesuffix("@openssh.com") + "-cert-v01@openssh.com", string(b"nonce") + BODIES[name] + CERTIFIED


ALL = BODIES | dict(certificate_of(name) for name in BODIES)


def line(name: str, body: bytes | None = None, inner: str | None = None) -> bytes:
    blob = string((inner or name).encode()) + (ALL[name] if body is None else body)
    return name.encode() + b" " + base64.b64encode(blob)


ED25519 = line("ssh-ed25519")


@pytest.mark.parametrize("name", ALL)
def test_every_type_is_read(name: str) -> None:
    text = line(name) + b" some comment\n"
    parsed = parse_authorized_keys(text)
    (key,) = parsed.keys
    assert (key.number, key.key_type, key.options, key.comment) == (1, name, b"", b"some comment")
    assert base64.b64encode(key.blob) in text
    assert parsed.kept == text
    assert parsed.bad == ()


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("rsa-sha2-512", "ssh-rsa"),
        ("webauthn-sk-ecdsa-sha2-nistp256@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
        ("ssh-of-the-future", "ssh-of-the-future"),
    ],
)
def test_other_names_that_sshd_may_know(name: str, inner: str) -> None:
    text = line(name, ALL.get(inner, b"whatever"), inner)
    assert [key.key_type for key in parse_authorized_keys(text).keys] == [name]


@pytest.mark.parametrize(
    "options",
    [
        b"no-pty",
        b"No-PTY,X11-Forwarding,no-touch-required,verify-required",
        b"restrict,",
        b'cert-authority,principals="ada,bob"',
        b'command="echo \\"a b\\" # c, d",no-user-rc',
        b'command="a",environment="A=b c",environment="B=",from="*.example,!bad",expiry-time="20300101"',
        b'permitopen="[::1]:80",permitopen="localhost:*",permitlisten="8080",tunnel="0"',
        b'command="\xff\xfe ssh-ed25519 AAAA"',
        b'command=""',
    ],
)
def test_options_survive(options: bytes) -> None:
    text = b"\t " + options + b" \t" + ED25519 + b"  comment \xff with  blanks \r\n"
    parsed = parse_authorized_keys(text)
    assert [key.options for key in parsed.keys] == [options]
    assert parsed.kept == text


def test_what_is_no_key_line_is_kept() -> None:
    text = b"\n  # a comment\r\n\r\n \t\n#\n"
    assert parse_authorized_keys(text).kept == text
    assert parse_authorized_keys(text).keys == ()


BAD = {
    b"ssh-ed25519": "no key after ssh-ed25519",
    b"hello world": "world",
    b"ssh-ed25519 AAA": "base64",
    b"ssh-ed25519 A!AA comment": "base64",
    ED25519[:-4]: "cut off",
    ED25519[:12] + base64.b64encode(string(b"ssh-ed25519") + string(bytes(32)) + b"x"): "1 bytes too many",
    line("ssh-ed25519", string(bytes(31))): "31 bytes",
    line("ssh-ed25519", inner="ssh-rsa"): "inside is of type ssh-rsa",
    line("ssh-rsa", string(b"\1\0\1") + number(768)): "768 bits",
    line("ssh-rsa", string(b"\x81") + number(2048)): "negative",
    line("ecdsa-sha2-nistp256", string(b"nistp384") + string(b"\4" + bytes(96))): "curve nistp384",
    line("ecdsa-sha2-nistp256", string(b"nistp256") + string(b"\2" + bytes(32))): "no point",
    b"sudo " + ED25519: "sudo: unknown option",
    b"no-restrict " + ED25519: "no-restrict: unknown option",
    b'pty="yes" ' + ED25519: "pty: unknown option with a value",
    b"command " + ED25519: "command: a value is missing",
    b"command=ls " + ED25519: "not in quotation marks",
    b'command="ls ' + ED25519: "not closed",
    b'command="ls"pty ' + ED25519: "no comma",
    b'command="a",Command="b" ' + ED25519: "given twice",
    b'from="a",from="b" ' + ED25519: "given twice",
    b"no-pty, no-x11-forwarding " + ED25519: "no-x11-forwarding",
    b"no-pty": "no key",
    ED25519 + b" c\0mment": "NUL",
    b"1024 65537 1234567890 ssh1": "65537",
}


@pytest.mark.parametrize(("text", "reason"), BAD.items())
def test_a_bad_line_is_named_and_kept_out(text: bytes, reason: str) -> None:
    parsed = parse_authorized_keys(b"# first\n" + text + b"\n" + ED25519)
    assert [bad.number for bad in parsed.bad] == [2]
    assert reason in parsed.bad[0].reason
    assert parsed.bad[0].reason.isprintable()
    assert parsed.kept == b"# first\n" + ED25519
    assert [key.number for key in parsed.keys] == [3]


def test_ten_thousand_keys() -> None:
    text = b"".join(ED25519 + b" %d\n" % at for at in range(10_000))
    parsed = parse_authorized_keys(text)
    assert len(parsed.keys) == 10_000
    assert parsed.kept == text


PIECES = st.sampled_from(
    [*map(line, ALL), b'command="', b'"', b"\\", b",", b"=", b" ", b"\t", b"\n", b"\r", b"#", b"\0", b"restrict", b"from=", b"AAAA"]
)


@given(st.one_of(st.binary(), st.lists(PIECES | st.binary(max_size=3)).map(b"".join)))
def test_anything_can_be_read(data: bytes) -> None:
    """Lines are kept or bad; what was kept is good, and says the same again."""
    parsed = parse_authorized_keys(data)
    lines = data.split(b"\n")
    bad = {each.number for each in parsed.bad}
    kept = [each for at, each in enumerate(lines, 1) if at not in bad]
    assert parsed.kept.rstrip(b"\n") == b"\n".join(kept).rstrip(b"\n")
    again = parse_authorized_keys(parsed.kept)
    assert again.bad == ()
    assert [(key.options, key.blob, key.comment) for key in again.keys] == [
        (key.options, key.blob, key.comment) for key in parsed.keys
    ]
    assert all(each.reason.isprintable() for each in parsed.bad)
