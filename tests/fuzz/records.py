"""Targets: what root keeps between logins, and what root's programs read: records, settings, mounts, recovery keys."""

from __future__ import annotations

from pam_pyhome.formats import mountinfo, opened, recovery, settings, shells, state, wishes
from pam_pyhome.formats.escape import is_plain, to_octal, undo_octal
from tests.fuzz.target import parsed, parts, target

_LEASE = state.emit_lease(state.LeaseInfo(4711, 12345, "sshd", "pts/0", "host\\1"))
_OPEN = state.emit_open(
    state.OpenRecord("ada", "fscrypt", b"/home/ada", b"/dev/vda", "8:1", (1, 2), (state.Claim(1000, "0" * 32, b"/"),))
)
_OPENED = opened.emit_opened(
    opened.OpenedHome("ada", "ecryptfs", (("0123456789abcdef", b"k"),), opened.Rewrite(b"old", b"new"))
)
_KEY = recovery.emit_recovery(bytes(range(20)))


@target("escape", seeds=[b"a\\040b", b"\\377\\000", b"\\", bytes(range(256))], longest=512)
def escape(data: bytes) -> None:
    """What is escaped is plain, and comes back."""
    written = to_octal(data)
    assert all(is_plain(byte) or byte == ord("\\") for byte in written)
    assert undo_octal(written, "x") == data
    found = parsed(undo_octal, data, "x")
    assert found is None or len(found) == len(data) - 3 * data.count(b"\\")


@target("state", seeds=[_LEASE, _OPEN], longest=2048)
def records(data: bytes) -> None:
    """A record that is written again is the same record."""
    lease = parsed(state.parse_lease, data)
    assert lease is None or state.parse_lease(state.emit_lease(lease)) == lease
    record = parsed(state.parse_open, data)
    assert record is None or state.parse_open(state.emit_open(record)) == record


@target("opened", seeds=[_OPENED, _OPENED[:-1] + b"\2"], longest=2048)
def opened_home(data: bytes) -> None:
    """What is read is written again byte for byte, and shows no key."""
    found = parsed(opened.parse_opened, data)
    if found is not None:
        assert opened.emit_opened(found) == data
        assert not any(len(payload) > 3 and repr(payload) in repr(found) for _, payload in found.keys)


@target(
    "settings",
    seeds=[
        b"authenticate\nskip_services = cron, atd\nlocked_command=wait:30\n# x\nsshd_sync_off=a b",
        b"jobs=refuse\n\n = \n",
    ],
)
def tokens(data: bytes) -> None:
    """Never refused; trimmed tokens are their own tokens, and every one of them either means something or is named as unknown."""
    found = settings.config_tokens(data)
    assert settings.config_tokens(b"\n".join(found)) == found
    chosen = settings.parse_tokens(found)
    assert len(chosen.unknown) <= len(found)
    assert 0 <= chosen.locked_wait <= 24 * 3600
    assert chosen.locked_command in {"fail", "plain", "wait"}


@target("shells", seeds=[shells.HEAD + b"ada:/bin/zsh\nbob:/usr/bin/fish\n", b"ada:/bin/sh", b"a:b\n"], longest=1024)
def shells_file(data: bytes) -> None:
    """A file that is written again says the same, and one user is found in it as all are."""
    found = parsed(shells.parse_shells, data)
    if found is not None:
        assert shells.parse_shells(shells.emit_shells(found)) == found
        assert all(shells.find_shell(data, name) == path for name, path in found.items())
    name, content = parts(data, 2)
    path = shells.find_shell(content, name)
    assert path is None or shells.is_shell(path)


@target(
    "wishes",
    seeds=[wishes.emit_wishes(open_at_login=opens, lock_at_logout=True) for opens in (True, False)],
    longest=80,
)
def owners_wishes(data: bytes) -> None:
    """What is read is written again byte for byte."""
    found = parsed(wishes.parse_wishes, data)
    assert found is None or wishes.emit_wishes(open_at_login=found[0], lock_at_logout=found[1]) == data


@target(
    "mountinfo",
    seeds=[
        b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n",
        b"1 0 0:2 / /a\\040b rw - ecryptfs /home/.ecryptfs/ada/.Private rw,ecryptfs_sig=0123456789abcdef\n",
    ],
)
def mounts(data: bytes) -> None:
    """As many mounts as lines, and written again they are the same."""
    found = parsed(mountinfo.parse_mountinfo, data)
    if found is None:
        return
    assert len(found) == data.count(b"\n")
    lines = [
        b"%d %d %s %s - %s\n"
        % (
            each.mount_id, each.parent_id, each.device.encode(), _fields(each.root, each.mountpoint, each.options),
            _fields(each.fstype.encode("utf-8", "surrogateescape"), each.source, each.super_options),
        )
        for each in found
    ]  # fmt: skip
    assert mountinfo.parse_mountinfo(b"".join(lines)) == found


def _fields(*values: bytes) -> bytes:
    return b" ".join(to_octal(value).replace(b" ", b"\\040") for value in values)


@target(
    "recovery-key",
    seeds=[_KEY.encode(), _KEY.upper().replace("-", " ").encode(), b"0123456789abcdef" * 2, b"a" * 20],
    longest=300,
)
def recovery_key(data: bytes) -> None:
    """A key is 20 bytes and written as it is read; however it was typed, what opens a home is the same text."""
    key = parsed(recovery.parse_recovery, data.decode("utf-8", "surrogateescape"))
    if key is not None:
        text = recovery.emit_recovery(key)
        assert recovery.parse_recovery(text) == key
        assert not data.isascii() or recovery.typed_key(data) == text.encode()
    for typed in (recovery.typed_key, recovery.typed_passphrase, recovery.typed_fscrypt):
        answer = typed(data)
        assert answer is None or (len(answer) <= 64 and typed(answer) == answer)
