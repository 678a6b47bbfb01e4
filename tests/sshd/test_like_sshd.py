"""Our reading of authorized_keys beside OpenSSH's own: what it takes we take."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from pam_pyhome.formats.authorized_keys import parse_authorized_keys

KINDS = {
    "rsa": ("-t", "rsa", "-b", "2048"),
    "ed25519": ("-t", "ed25519"),
    "p256": ("-t", "ecdsa", "-b", "256"),
    "p384": ("-t", "ecdsa", "-b", "384"),
    "p521": ("-t", "ecdsa", "-b", "521"),
}
OPTIONS = [b"", b"no-pty ", b'command="a b \\" # c",restrict ', b'from="*",principals="x" ', b'\tenvironment="A=\xff" ']
SEED = 20


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """A public key of each kind, and a certificate of each."""
    directory = tmp_path_factory.mktemp("keys")
    found = []
    for name, options in KINDS.items():
        path = directory / name
        subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", "a comment", *options, "-f", str(path)], check=True)
        subprocess.run(["ssh-keygen", "-q", "-s", str(path), "-I", "id", "-n", "ada", f"{path}.pub"], check=True)
        found += [Path(f"{path}.pub").read_bytes(), Path(f"{path}-cert.pub").read_bytes()]
    return found


def openssh_takes(path: Path, line: bytes) -> bool:
    """Whether ssh-keygen, which reads lines of authorized_keys, sees a key."""
    path.write_bytes(line)
    return subprocess.run(["ssh-keygen", "-l", "-f", str(path)], capture_output=True, check=False).returncode == 0


def test_whatever_openssh_makes_we_take(lines: list[bytes]) -> None:
    for line in lines:
        for options in OPTIONS:
            assert len(parse_authorized_keys(options + line).keys) == 1


def test_no_damage_that_openssh_overlooks_is_refused(lines: list[bytes], tmp_path: Path) -> None:
    """The other way round, a line too many does no harm: sshd passes over it."""
    dice = random.Random(SEED)
    taken = 0
    for _ in range(400):
        line = bytearray(dice.choice(OPTIONS) + dice.choice(lines))
        for _ in range(dice.choice((1, 1, 2))):
            at = dice.randrange(len(line) - 1)
            line[at : at + dice.randrange(2)] = dice.choice([b"", b" ", b"\t", b'"', b"=", b"A", b"\r", b"#", b","])
        text = bytes(line)
        if b"\n" not in text[:-1] and openssh_takes(tmp_path / "line", text):
            taken += 1
            parsed = parse_authorized_keys(text)
            ours = {bad.reason for bad in parsed.bad}
            # ssh-keygen does not look at options.
            assert parsed.keys or any("option" in reason or "value" in reason or "quotation" in reason for reason in ours), text
    assert taken > 50
