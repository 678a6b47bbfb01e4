"""Targets: what lies in and beside the homes themselves, written by their owners or found on a disk from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pam_pyhome.formats import (
    ecryptfs_authtok,
    ecryptfs_layout,
    ecryptfs_traces,
    ecryptfs_wrapped,
    fscrypt_conf,
    fscrypt_meta,
    fstab,
    trusted,
)
from pam_pyhome.formats.ecryptfs_key import DerivedKey, is_signature
from pam_pyhome.formats.fscrypt_renewal import emit_renewal, is_renewal, parse_renewal
from pam_pyhome.formats.protobuf import Message, parse_message
from tests.fuzz.target import parsed, target

_VECTORS = Path(__file__).parent.parent / "vectors"
_ECRYPTFS: dict[str, Any] = json.loads((_VECTORS / "ecryptfs.json").read_text())
_FSCRYPT: dict[str, Any] = json.loads((_VECTORS / "fscrypt.json").read_text())
_PROTECTORS = [bytes.fromhex(_FSCRYPT[name]["hex"]) for name in ("login", "custom")]
_POLICY = bytes.fromhex(_FSCRYPT["policy"]["hex"])
_KEY = fscrypt_meta.WrappedKey(bytes(16), bytes(32), bytes(32))
_SLOT = ("0123456789abcdef", fscrypt_meta.WrappedKey(bytes(16), bytes(64), bytes(32)))


# eCryptfs


@target(
    "wrapped",
    seeds=[bytes.fromhex(vector["wrapped_v2_hex"]) for vector in _ECRYPTFS["vectors"]]
    + [bytes.fromhex(vector["wrapped_v1_hex"]) for vector in _ECRYPTFS["v1_vectors"]],
    longest=128,
)
def wrapped(data: bytes) -> None:
    """What is read is written again byte for byte; what it opens to is a passphrase, whatever the cipher makes of it."""
    found = parsed(ecryptfs_wrapped.parse_wrapped, data)
    if found is None:
        return
    assert ecryptfs_wrapped.emit_wrapped(found) == data
    opening = DerivedKey(bytes(64), found.signature)
    passphrase = parsed(ecryptfs_wrapped.unwrap, found, opening, lambda _key, ciphertext: ciphertext)
    if passphrase is not None:
        assert 1 <= len(passphrase) <= 64
        assert b"\0" not in passphrase
        again = ecryptfs_wrapped.wrap(passphrase, opening, bytes(8), lambda _key, plaintext: plaintext)
        assert again.ciphertext == found.ciphertext


@target(
    "auth-token",
    seeds=[bytes.fromhex(_ECRYPTFS["vectors"][0][key]["payload_hex"]) for key in ("fekek", "fnek")],
    longest=800,
)
def auth_token(data: bytes) -> None:
    """What is read is written again byte for byte."""
    found = parsed(ecryptfs_authtok.parse_auth_token, data)
    if found is not None:
        assert ecryptfs_authtok.emit_auth_token(DerivedKey(found.key, found.signature), found.salt) == data


@target(
    "ecryptfs-layout",
    seeds=[
        b"0123456789abcdef\nfedcba9876543210\n", b"0123456789abcdef\n\n", b"/home/ada\n",
        b"//home/./ada/", b"salt=0123456789abcdef,x=y\n",
    ],
)  # fmt: skip
def layout(data: bytes) -> None:
    """Signatures are signatures, a mount point is read as itself, a salt has eight bytes."""
    signatures = parsed(ecryptfs_layout.parse_signatures, data)
    if signatures is not None:
        assert is_signature(signatures.fekek.encode())
        assert ecryptfs_layout.mount_options(signatures).count("_sig=") == 1 + (signatures.fnek is not None)
    mountpoint = parsed(ecryptfs_layout.parse_mountpoint, data)
    if mountpoint is not None:
        assert ecryptfs_layout.parse_mountpoint(mountpoint) == mountpoint
        assert not {b"..", b"."} & set(mountpoint.split(b"/"))
    salt = parsed(ecryptfs_layout.parse_salt, data)
    assert salt is None or len(salt) == 8


@target(
    "ecryptfs-traces",
    seeds=[
        b"ECRYPTFS_FNEK_ENCRYPTED.FWbi.B1NjYc8tyJ8Z", b"ECRYPTFS_FNEK_ENCRYPTED.F---0123456789abcdef",
        bytes(20) + b"b\x08_CONSOLE\0\0\0\0\1\2\3\4\5\6\7\x08\xed",
    ],
    longest=1200,
)  # fmt: skip
def traces(data: bytes) -> None:
    """A signature, with a cipher that the kernel can be asked for, or nothing."""
    for parse in (ecryptfs_traces.parse_name, ecryptfs_traces.parse_header):
        found = parse(data)
        if found is not None:
            assert is_signature(found.signature.encode())
            assert found.cipher is None or (found.cipher.name.replace("_", "").isalnum() and 16 <= found.cipher.key_bytes <= 56)


# fscrypt


@target("protobuf", seeds=[*_PROTECTORS, _POLICY])
def protobuf(data: bytes) -> None:
    """What is read is written again byte for byte, and a field is had or refused; one that is replaced is as it was put."""
    found = parsed(parse_message, data, "message")
    if found is None:
        return
    assert found.emit() == data
    for number in {field.number for field in found.fields}:
        for get in (found.integer, found.data, found.text):
            parsed(get, number)
        parsed(found.message, number, "inner")
        parsed(found.messages, number, "inner")
        changed = parsed(found.replaced, number, b"new")
        assert changed is None or parse_message(changed.emit(), "message").data(number) == b"new"


def _own_name(data: bytes) -> str:
    """The name by which a file would be believed."""
    message = parsed(parse_message, data, "message") or Message("message", ())
    return parsed(message.text, 1) or ""


@target("protector", seeds=_PROTECTORS, longest=2048)
def protector(data: bytes) -> None:
    """What is read is written again byte for byte; a change of password changes what it should and nothing else."""
    name = _own_name(data)
    found = parsed(fscrypt_meta.parse_protector, data, name)
    if found is None:
        return
    assert found.message.emit() == data
    costs = fscrypt_meta.Costs(2, 128, 1)
    for given in (None, costs) if found.costs is not None else ():
        changed = fscrypt_meta.parse_protector(fscrypt_meta.rewrapped(found, bytes(16), _KEY, given), name)
        assert (changed.salt, changed.wrapped, changed.costs) == (bytes(16), _KEY, given or found.costs)
        assert (changed.source, changed.uid, changed.name) == (found.source, found.uid, found.name)
    if found.source == fscrypt_meta.LOGIN:
        custom = fscrypt_meta.parse_protector(fscrypt_meta.as_custom(found, "old"), name)
        assert (custom.source, custom.name, custom.uid, custom.salt, custom.wrapped) == (
            fscrypt_meta.CUSTOM, "old", 0, found.salt, found.wrapped,
        )  # fmt: skip


@target("policy", seeds=[_POLICY], longest=2048)
def policy(data: bytes) -> None:
    """What is read is written again byte for byte; slots come and go without touching the others."""
    name = _own_name(data)
    found = parsed(fscrypt_meta.parse_policy, data, name)
    if found is None:
        return
    assert found.message.emit() == data
    known = [slot for slot, _ in found.slots]
    for gone in known:
        assert found.slot(gone) is not None
        added = () if _SLOT[0] in known and _SLOT[0] != gone else (_SLOT,)
        left = parsed(fscrypt_meta.with_slots, found, {gone}, added)
        expected = (*(slot for slot in found.slots if slot[0] != gone), *added)
        assert (
            left is None
            if not expected
            else left is not None and fscrypt_meta.parse_policy(left, name).slots == expected
        )


@target(
    "fscrypt-conf",
    seeds=[
        fscrypt_conf.emit_config(fscrypt_meta.Costs(1, 65536, 4)),
        b'{"hash_costs": {"time": 1, "memory": "8", "parallelism": 1.0}}',
    ],
)
def conf(data: bytes) -> None:
    """Costs are above 0, and written again they are the same."""
    costs = parsed(fscrypt_conf.parse_costs, data)
    if costs is not None:
        assert min(costs.time, costs.memory, costs.parallelism) >= 1
        assert fscrypt_conf.parse_costs(fscrypt_conf.emit_config(costs)) == costs


@target("fscrypt-link", seeds=[bytes.fromhex(_FSCRYPT["link"]["hex"]), b"UUID=0a1b\nPATH=/srv\n", b"UUID=0a1b"])
def link(data: bytes) -> None:
    """A link that is written again is the same link."""
    found = parsed(fscrypt_conf.parse_link, data)
    if found is not None:
        assert found.path is None or found.path.startswith("/")
        assert fscrypt_conf.parse_link(fscrypt_conf.emit_link(found)) == found


@target(
    "renewal",
    seeds=[
        b"PYHRENEW\1" + b"".join(len(part).to_bytes(4, "little") + part for part in (b"0123456789abcdef", b"p", b"q"))
    ],
)
def renewal(data: bytes) -> None:
    """What is read is written again byte for byte, and is never taken for a protector."""
    found = parsed(parse_renewal, data)
    if found is not None:
        assert is_renewal(data)
        assert emit_renewal(found) == data
        assert parsed(fscrypt_meta.parse_protector, data, found.descriptor) is None


# Which file systems root has approved


@target(
    "fstab",
    seeds=[
        b"UUID=1234-ABCD /mnt/data\\040disk ext4 rw,noatime 0 2\n# comment\n/dev/sdb1 /media/stick auto user,noauto 0 0\n",
        b'LABEL="a b"\t/x\tbtrfs\tdefaults,x-systemd.automount\r\n',
    ],
)
def fstab_lines(data: bytes) -> None:
    """A mount point is one, and has a unit with a name."""
    for entry in fstab.parse_fstab(data):
        assert entry.where == b"/" or not entry.where.endswith(b"/")
        assert fstab.unit_name(entry.where).isascii()
        assert b"\n" not in entry.what.encode("utf-8", "surrogateescape") or b"\\012" in data


@target("mount-unit", seeds=[b"[Mount]\nWhat=/dev/disk/by-uuid/1234\nWhere=/srv\n", b'What = UUID="12"\nWhat='])
def mount_unit(data: bytes) -> None:
    """It says what is mounted, or nothing."""
    found = fstab.parse_unit(data, b"/srv")
    assert found is None or (found.what and found.where == b"/srv" and found.by_root_only)


@target("approval", seeds=[trusted.emit_approval(trusted.Approval("1234-ABCD", "serial X\\1", "/mnt/a b", "ada")), b"uuid=1\n"])
def approval(data: bytes) -> None:
    """What is read, written and read again is the same."""
    found = parsed(trusted.parse_approval, data)
    assert found is None or trusted.parse_approval(trusted.emit_approval(found)) == found
