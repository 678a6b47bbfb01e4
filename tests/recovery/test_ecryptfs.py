"""Recovery keys of eCryptfs homes, as far as no mount is needed; ecryptfs-utils open what comes out."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from pam_pyhome.formats.ecryptfs_key import SALT_DEFAULT, SALT_FNEK, derive_key
from pam_pyhome.formats.ecryptfs_wrapped import parse_wrapped
from pam_pyhome.formats.recovery import emit_recovery
from tests.login.homes import ADA, BOB, MOUNT_PASSPHRASE, LoginMachine, differences, unwrap, wrap
from tests.login.test_daemon import daemon
from tests.login.worker import Talk
from tests.recovery.conftest import KEY, PASSWORD
from tests.verbs.command import ROOT, Ran, pyhome

pytestmark = pytest.mark.root

NEW = b"battery staple"
SLOPPY_HEX = MOUNT_PASSPHRASE.upper()[:16] + b" " + MOUNT_PASSPHRASE[16:]
SLOPPY = KEY.upper().replace(b"0", b"o").replace(b"-", b"")
STAYS = "; the mount passphrase from when the home was made opens it all the same, and always will"
AUTH = 1


def said(machine: LoginMachine, uid: int, *arguments: str, lines: tuple[bytes, ...] = ()) -> Ran:
    return pyhome(machine, uid, *arguments, "--password-file", "-", stdin=b"".join(line + b"\n" for line in lines))


def recovery_file(machine: LoginMachine) -> Path:
    return machine.config("ada") / "recovery-wrapped-passphrase"


def new_key(ran: Ran) -> bytes:
    assert ran.code == 0, ran
    (key,) = re.findall(r"^    (\S{47})$", ran.out, re.MULTILINE)
    assert ran.out.endswith(f"The home of ada opens with this recovery key, and with no older one{STAYS}.\n")
    return str(key).encode()


def inside(machine: LoginMachine, verb: str, *arguments: bytes) -> str:
    script = str(Path(__file__).parents[1] / "login/inside.py")
    line = " ".join([verb, *(value.hex() for value in arguments)]) + "\n"
    command = machine.enter(["/usr/bin/python3", "-I", "-B", script], {})
    done = subprocess.run(command, input=line, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() or done.stderr


def made_by_pyhome(machine: LoginMachine) -> None:
    """The mount passphrase is the recovery key, as `pyhome create` makes it."""
    machine.wrapped().unlink()
    wrap(machine.wrapped(), PASSWORD, KEY)
    signatures = [derive_key(KEY, salt).signature for salt in (SALT_DEFAULT, SALT_FNEK)]
    (machine.config("ada") / "Private.sig").write_text("\n".join(signatures) + "\n", encoding="ascii")


def test_the_mount_passphrase_of_ecryptfs_utils_opens(ecryptfs: LoginMachine) -> None:
    before = ecryptfs.wrapped().read_bytes()
    for typed in (MOUNT_PASSPHRASE, SLOPPY_HEX):
        assert inside(ecryptfs, "verify", typed) == "ok"
        assert inside(ecryptfs, "settle", typed) == "kept"
    assert ecryptfs.wrapped().read_bytes() == before
    assert not (ecryptfs.kept() / "wrapped-passphrase").exists()  # nothing has opened it
    assert (ecryptfs.kept() / "Private.sig").exists()
    for wrong in (MOUNT_PASSPHRASE[:-1] + b"e", KEY, b"x" * 40, MOUNT_PASSPHRASE + b"0"):
        assert inside(ecryptfs, "verify", wrong) == "WrongPassphraseError"


def test_the_key_that_pyhome_create_printed_opens(ecryptfs: LoginMachine) -> None:
    made_by_pyhome(ecryptfs)
    for typed in (KEY, SLOPPY):
        assert inside(ecryptfs, "verify", typed) == "ok"
    assert inside(ecryptfs, "settle", SLOPPY, NEW) == "rewritten"
    assert unwrap(ecryptfs.wrapped(), NEW) == KEY


@pytest.mark.guarantee(3)
def test_a_weak_key_file_is_not_renewed_for_a_recovery_key(ecryptfs: LoginMachine) -> None:
    weak = b"0" * 16 + bytes(32)
    ecryptfs.wrapped().write_bytes(weak)
    assert inside(ecryptfs, "settle", MOUNT_PASSPHRASE) == "kept"
    assert ecryptfs.wrapped().read_bytes() == weak


def test_a_forgotten_password(ecryptfs: LoginMachine) -> None:
    before = ecryptfs.wrapped().read_bytes()
    with daemon(ecryptfs):
        ran = said(ecryptfs, ADA, "passwd", "ada", "--home-only", lines=(SLOPPY_HEX, NEW))
    assert ran.code == 0, ran
    assert ecryptfs.opens(NEW)
    assert not ecryptfs.opens(PASSWORD)
    assert ecryptfs.wrapped().stat().st_uid == ADA
    assert (ecryptfs.kept() / "wrapped-passphrase.previous").read_bytes() == before


def test_a_key_file_that_is_lost_altogether(ecryptfs: LoginMachine) -> None:
    ecryptfs.wrapped().unlink()
    assert said(ecryptfs, ROOT, "passwd", "ada", "--home-only", lines=(MOUNT_PASSPHRASE, NEW)).code == 0
    assert ecryptfs.opens(NEW)
    assert ecryptfs.wrapped().stat().st_uid == ADA


def test_after_a_reset_the_login_takes_it_for_the_old_password(ecryptfs: LoginMachine) -> None:
    talk = Talk(ecryptfs, answers=[MOUNT_PASSPHRASE], authtok=NEW)
    talk.phase(AUTH)
    assert "pyhome.opened.ada" in talk.data


@pytest.mark.guarantee(1)
def test_a_new_key(ecryptfs: LoginMachine) -> None:
    with daemon(ecryptfs):
        first = new_key(said(ecryptfs, ADA, "recovery", "new", "ada", lines=(PASSWORD,)))
        wrapped = recovery_file(ecryptfs)
        assert parse_wrapped(wrapped.read_bytes()).version == 2
        assert unwrap(wrapped, first) == MOUNT_PASSPHRASE
        assert (wrapped.stat().st_uid, wrapped.stat().st_mode & 0o777) == (ADA, 0o600)
        assert (ecryptfs.kept() / wrapped.name).read_bytes() == wrapped.read_bytes()
        assert ecryptfs.opens(PASSWORD)
        assert said(ecryptfs, ADA, "recovery", "test", "ada", lines=(first,)).code == 0
        second = new_key(said(ecryptfs, ADA, "recovery", "new", "ada", lines=(first,)))
        assert unwrap(wrapped, first) is None
        assert unwrap(wrapped, second) == MOUNT_PASSPHRASE
        assert said(ecryptfs, ADA, "recovery", "test", "ada", lines=(first,)).code == 81
        assert said(ecryptfs, ADA, "recovery", "test", "ada", lines=(MOUNT_PASSPHRASE,)).code == 0
        wrapped.unlink()  # the copy of it counts, and no older one
        assert said(ecryptfs, ADA, "recovery", "test", "ada", lines=(first,)).code == 81
        assert said(ecryptfs, ADA, "recovery", "test", "ada", lines=(second,)).code == 0
        assert said(ecryptfs, ADA, "passwd", "ada", "--home-only", lines=(second, NEW)).code == 0
    assert ecryptfs.opens(NEW)
    assert inside(ecryptfs, "settle", NEW) == "kept"
    assert unwrap(wrapped, second) == MOUNT_PASSPHRASE  # mended
    found = pyhome(ecryptfs, ROOT, "inspect", "ada").out
    assert "/home/.ecryptfs/ada/.ecryptfs/recovery-wrapped-passphrase: recovery key\n" in found


@pytest.mark.guarantee(1)
def test_what_a_key_opened_in_an_earlier_home_does_not_come_back(ecryptfs: LoginMachine) -> None:
    new_key(said(ecryptfs, ROOT, "recovery", "new", "ada", lines=(PASSWORD,)))
    assert inside(ecryptfs, "settle", PASSWORD) == "kept"
    recovery_file(ecryptfs).unlink()
    made_by_pyhome(ecryptfs)  # decrypted, and encrypted anew
    assert inside(ecryptfs, "settle", PASSWORD) == "kept"
    assert not recovery_file(ecryptfs).exists()
    assert not (ecryptfs.kept() / "recovery-wrapped-passphrase").exists()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def bobs(path: Path) -> None:
    path.symlink_to("/home/.ecryptfs/bob/.ecryptfs/recovery-wrapped-passphrase")


def directory(path: Path) -> None:
    path.mkdir()


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


def test_what_lies_in_the_place_of_the_file(ecryptfs: LoginMachine) -> None:
    """It is read and written with ada's rights and without following links: bob's is what it was."""
    ecryptfs.add_home("bob", BOB, b"bob's own password")
    key = new_key_of_bob(ecryptfs)
    before = ecryptfs.snapshot("/home/.ecryptfs/bob")
    for plant in (fifo, bobs, huge, directory):
        plant(recovery_file(ecryptfs))
        assert pyhome(ecryptfs, ROOT, "inspect", "ada").code == 0
        assert inside(ecryptfs, "verify", key) == "WrongPassphraseError"
        ran = said(ecryptfs, ROOT, "recovery", "new", "ada", lines=(PASSWORD,))
        if plant is directory:
            assert ran.code == 1
            continue
        assert unwrap(recovery_file(ecryptfs), new_key(ran)) == MOUNT_PASSPHRASE
        recovery_file(ecryptfs).unlink()
    assert differences(before, ecryptfs.snapshot("/home/.ecryptfs/bob")) == []
    assert ecryptfs.opens(PASSWORD)


def new_key_of_bob(machine: LoginMachine) -> bytes:
    ran = said(machine, ROOT, "recovery", "new", "bob", lines=(b"bob's own password",))
    (key,) = re.findall(r"^    (\S{47})$", ran.out, re.MULTILINE)
    return str(key).encode()


def test_of_somebody_elses_home(ecryptfs: LoginMachine) -> None:
    ecryptfs.add_home("bob", BOB, b"bob's own password")
    with daemon(ecryptfs):
        for verb in ("test", "new"):
            ran = said(ecryptfs, ADA, "recovery", verb, "bob", lines=(MOUNT_PASSPHRASE,))
            assert (ran.code, ran.out) == (42, "")
    assert said(ecryptfs, ROOT, "recovery", "test", "ada", lines=(emit_recovery(bytes(20)).encode(),)).code == 81
