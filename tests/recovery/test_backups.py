"""The copies of key files and metadata: what `pyhome recovery backups` says of them, and what `restore` does with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.fscrypt.homes import OPENED, READ
from tests.login.homes import ADA, LoginMachine, answers, unwrap, wrap
from tests.recovery.conftest import KEY, PASSWORD
from tests.verbs.command import ROOT, pyhome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fscrypt.homes import FscryptMachine

pytestmark = pytest.mark.root

NEW = b"battery staple"


def listed(machine: LoginMachine) -> dict[str, tuple[str, str, str]]:
    """What each copy is, of which file, and how it compares."""
    ran = pyhome(machine, ROOT, "recovery", "backups", "--json")
    assert ran.code == 0, ran
    found = json.loads(ran.out)["backups"]
    assert {each["user"] for each in found} <= {"ada"}
    return {each["name"]: (each["what"], each["path"], each["state"]) for each in found}


def restore(machine: LoginMachine, name: str, code: int = 0) -> str:
    ran = pyhome(machine, ROOT, "recovery", "restore", "ada", name, "--yes")
    assert ran.code == code, ran
    return ran.out + ran.err


def contents(directory: Path) -> set[bytes]:
    return {path.read_bytes() for path in directory.iterdir()}


def test_key_files_of_ecryptfs(ecryptfs: LoginMachine) -> None:
    ecryptfs.keep_copies()
    config = "/home/.ecryptfs/ada/.ecryptfs"
    (ecryptfs.config("ada") / "Private.sig").unlink()
    wrap_again(ecryptfs, NEW)
    live = ecryptfs.wrapped().read_bytes()
    (ecryptfs.kept() / "something").write_bytes(b"else")
    assert listed(ecryptfs) == {
        "Private.mnt": ("where the home is mounted", f"{config}/Private.mnt", "as the file"),
        "Private.sig": ("signatures of the keys", f"{config}/Private.sig", "the file is missing"),
        "something": ("unknown", "", "the copy is damaged"),
        "wrapped-passphrase": ("key file", f"{config}/wrapped-passphrase", "another than the file"),
    }
    assert restore(ecryptfs, "Private.sig") == f"{config}/Private.sig is the copy now.\n"
    assert (ecryptfs.config("ada") / "Private.sig").stat().st_uid == ADA
    assert restore(ecryptfs, "wrapped-passphrase") == f"{config}/wrapped-passphrase is the copy now.\n"
    assert ecryptfs.opens(PASSWORD)
    assert restore(ecryptfs, "wrapped-passphrase") == f"{config}/wrapped-passphrase is as the copy already.\n"
    # It can be put back in turn, and nothing gets lost on the way.
    wrap_again(ecryptfs, b"a third one")
    third = ecryptfs.wrapped().read_bytes()
    assert (ecryptfs.kept() / "wrapped-passphrase.previous").read_bytes() == live
    restore(ecryptfs, "wrapped-passphrase.previous")
    assert ecryptfs.opens(NEW)
    assert {live, third} < contents(ecryptfs.kept())
    # What was put back is what the copy has from then on.
    assert unwrap(ecryptfs.kept() / "wrapped-passphrase", NEW) is not None
    assert any(unwrap(path, PASSWORD) for path in ecryptfs.kept().glob("wrapped-passphrase.previous*"))
    assert listed(ecryptfs)["wrapped-passphrase.previous.2"][0] == "key file, an older one"


def wrap_again(machine: LoginMachine, password: bytes) -> None:
    machine.wrapped().unlink()
    wrap(machine.wrapped(), password)


def test_refusals(ecryptfs: LoginMachine) -> None:
    ecryptfs.keep_copies()
    (ecryptfs.kept() / "wrapped-passphrase").write_bytes(b"damaged")
    (ecryptfs.kept() / "something").write_bytes(b"else")
    before = ecryptfs.wrapped().read_bytes()
    assert restore(ecryptfs, "wrapped-passphrase", 82) == (
        "pyhome recovery restore: wrapped-passphrase was not put back: the copy is damaged: no signature of 16 hexadecimal digits; "
        "'pyhome recovery backups ada' lists what there is\n"
    )
    assert "it is not known where it belongs" in restore(ecryptfs, "something", 82)
    for name in ("nothing", "../61001.ada/Private.sig", ".", ""):
        assert restore(ecryptfs, name, 82).startswith(f"pyhome recovery restore: {name} was not put back: there is no such copy; ")
    unasked = pyhome(ecryptfs, ROOT, "recovery", "restore", "ada", "Private.sig")
    assert (unasked.code, unasked.out) == (2, "")
    for verb in (("backups",), ("restore", "ada", "Private.sig", "--yes")):
        ran = pyhome(ecryptfs, ADA, "recovery", *verb)
        assert (ran.code, ran.out, ran.err) == (42, "", f"pyhome recovery {verb[0]}: copies are root's; run it as root\n")
    assert pyhome(ecryptfs, ROOT, "recovery", "backups", "nobodyhere").code == 41
    # What ada puts in the place of her directory leads nowhere: that where the link led before is hers.
    link = ecryptfs.path("/home/ada/.ecryptfs")
    link.unlink()
    link.symlink_to("/etc")
    ran = pyhome(ecryptfs, ROOT, "recovery", "restore", "ada", "Private.sig", "--yes")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("/home/.ecryptfs/ada/.ecryptfs/Private.sig ")
    assert not ecryptfs.path("/etc/Private.sig").exists()
    assert ecryptfs.wrapped().read_bytes() == before


def test_metadata_of_fscrypt(place: FscryptMachine) -> None:
    place.log_in(PASSWORD)
    protector, policy = place.protector(), place.policy()
    kinds = {each[0] for each in listed(place).values()}
    assert kinds == {"policy", "login protector", "protector of a passphrase or recovery key"}
    assert {each[2] for each in listed(place).values()} == {"as the file"}
    content = policy.read_bytes()
    policy.unlink()
    assert restore(place, f"fscrypt-policy-{policy.name}") == f"/home/.fscrypt/policies/{policy.name} is the copy now.\n"
    assert policy.read_bytes() == content
    (recovery,) = [path for path in place.path("/home/.fscrypt/protectors").iterdir() if path.suffix != ".link"]
    recovery.unlink()
    restore(place, f"fscrypt-protector-{recovery.name}")
    assert place.inside("verify", KEY) == "ok"
    protector.unlink()
    restore(place, f"fscrypt-protector-{protector.name}")
    assert place.opens(PASSWORD)
    assert place.log_in(PASSWORD, READ) == OPENED


def test_a_second_login_protector_is_none(place: FscryptMachine) -> None:
    """The one that a recovery key has replaced is put back as a custom one: pam_fscrypt would take either."""
    place.log_in(PASSWORD)
    assert place.pam("unix", "ada", *answers(NEW, NEW), "chauthtok")[-1] == "chauthtok 0"
    old = place.protector().name
    lines = KEY + b"\n" + NEW + b"\n"
    assert pyhome(place, ROOT, "passwd", "ada", "--home-only", "--password-file", "-", stdin=lines).code == 0
    restore(place, f"fscrypt-protector-{old}.previous")
    status = place.fscrypt("status", "/")
    assert status.count("login protector for ada") == 1
    assert 'custom protector "Former login passphrase of ada"' in status
    assert place.log_in(NEW, READ, service="pam_fscrypt") == OPENED
