"""`pyhome recover` with eCryptfs, whose mounts only a real machine has; and what is said where there are no QR codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pam_pyhome.formats.recovery import emit_recovery
from tests.vm.people import LETTER, PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.people import Person
    from tests.vm.vm import VM

pytestmark = pytest.mark.one_release("bookworm")

OLD, STRANGER = "/mnt/old", 54321
HOME = f"{OLD}/home/.ecryptfs/eve"
CONFIG, COPIES = f"{HOME}/.ecryptfs", f"{OLD}/var/lib/pyhome/{STRANGER}.eve"
NEW_PASSWORD, RECOVERY = "Since-Then-8", emit_recovery(bytes(range(20)))
PLACE = "/run/pyhome-recover/eve"


@pytest.fixture
def passphrase(vm: VM, ada: Person) -> Iterator[str]:
    """A home on a foreign disk, of somebody unknown here, whose password was changed; its mount passphrase."""
    vm.run(f"mkdir -p {OLD}/home/.ecryptfs {COPIES}; cp -a /home/.ecryptfs/{ada.name} {HOME}")
    secret = vm.run(f"ecryptfs-unwrap-passphrase {ada.wrapped} -", stdin=PASSWORD).out.split()[-1]
    vm.run(f"cp {CONFIG}/wrapped-passphrase {COPIES}/wrapped-passphrase.previous")
    vm.run(f"pyhome ecryptfs rewrap {CONFIG}/wrapped-passphrase -", stdin=f"{PASSWORD}\n{NEW_PASSWORD}\n")
    vm.run(f"pyhome ecryptfs wrap {CONFIG}/recovery-wrapped-passphrase -", stdin=f"{secret}\n{RECOVERY}\n")
    vm.run(f"chown -R {STRANGER}:{STRANGER} {HOME}")
    yield secret
    vm.run(f"pyhome recover --close {PLACE}; rm -rf {OLD}", check=False)


def opened(vm: VM, secret: str, *options: str) -> None:
    """Open the one home of the disk, and see its letter."""
    said = vm.run(f"pyhome recover --json --password-file - {' '.join(options)} {OLD}", stdin=f"{secret}\n").out
    assert json.loads(said)["opened"] == {"directory": PLACE, "writable": "--writable" in options}
    assert vm.out(f"cat {PLACE}/letter") == LETTER


def closed(vm: VM, ada: Person) -> None:
    """Close it, and see that there is no mount, no record and no key of it."""
    vm.run(f"pyhome recover --close {PLACE}")
    assert PLACE not in vm.out("cat /proc/mounts")
    assert vm.out("ls -A /run/pyhome-recover /run/pyhome-recover/.open").split() == [
        "/run/pyhome-recover:", ".open", "/run/pyhome-recover/.open:", "lock",
    ]  # fmt: skip
    assert not [name for name in ada.signatures() if vm.ok(f"grep -q {name} /proc/keys")]


@pytest.mark.guarantee(17)
def test_an_ecryptfs_home_opens_with_what_somebody_has_at_hand(vm: VM, ada: Person, passphrase: str) -> None:
    for secret in (passphrase, RECOVERY.upper().replace("-", " "), PASSWORD):
        opened(vm, secret)
        for attempt in (f"touch {PLACE}/new", f"rm {PLACE}/letter"):
            assert "Read-only file system" in vm.run(attempt, check=False).err
        closed(vm, ada)
    wrong = vm.run(f"pyhome recover --password-file - {OLD}", stdin="wrong\n", check=False)
    assert wrong.code == 13
    assert "this opens nothing there; give the recovery key" in wrong.err
    opened(vm, NEW_PASSWORD, "--writable")
    vm.run(f"echo more > {PLACE}/added; cp /bin/true {PLACE}/program")
    assert "Permission denied" in vm.run(f"{PLACE}/program", check=False).err
    assert vm.out(f"cat {PLACE}/added") == "more"
    stay = f"cd {PLACE}; sleep 600 >/dev/null 2>&1 & cd /"
    busy = vm.run(f"{stay}; pyhome recover --close {PLACE}; code=$?; kill $!; exit $code", check=False)
    assert busy.code == 16
    assert f"{PLACE} stays open while it is used by pid " in busy.err
    closed(vm, ada)


def test_without_signatures_the_ciphertext_names_its_keys(vm: VM, ada: Person, passphrase: str) -> None:
    vm.run(f"rm -r {CONFIG}/Private.sig {OLD}/var")
    opened(vm, passphrase)
    closed(vm, ada)


def test_a_home_that_its_owner_has_open_is_left_alone(vm: VM, ada: Person) -> None:
    vm.run(f"pyhome unlock --password-file - {ada.name}", stdin=f"{PASSWORD}\n")
    said = vm.run("pyhome recover --password-file - /home/.ecryptfs/ada", stdin=f"{PASSWORD}\n", check=False)
    vm.run(f"pyhome lock {ada.name}")
    assert said.code == 91
    assert f"is open already: {ada.home}; look there, or close it there first" in said.err


def test_without_the_package_for_qr_codes(vm: VM) -> None:
    assert not vm.ok("python3 -c 'import qrcode'")
    for option in ("--qr", "--recovery-file /root/page"):
        said = vm.run(f"pyhome create --password-file - {option} nobody-new", stdin=f"{PASSWORD}\n", check=False)
        assert said.code == 93
        assert "python3-qrcode is not installed; 'apt install python3-qrcode'" in said.err
    assert not vm.ok("id nobody-new")


@pytest.mark.parametrize(
    "options",
    [
        "ecryptfs_cipher=aes,ecryptfs_key_bytes=24",
        "ecryptfs_cipher=aes,ecryptfs_key_bytes=32",
        "ecryptfs_cipher=aes,ecryptfs_key_bytes=32,ecryptfs_fn_cipher=aes,ecryptfs_fn_key_bytes=16",
        "ecryptfs_cipher=blowfish,ecryptfs_key_bytes=16",
    ],
)
def test_a_container_is_mounted_with_the_ciphers_that_it_was_made_with(vm: VM, options: str) -> None:
    secret, where = "0123456789abcdef0123456789abcdef", "/mnt/strange/home/.ecryptfs/eve"
    added = vm.run("ecryptfs-add-passphrase --fnek -", stdin=secret).out.split("sig [")
    contents, names = (each.split("]")[0] for each in added[1:])
    vm.run(f"mkdir -p {where}/.Private /mnt/plain")
    keys = f"ecryptfs_sig={contents},ecryptfs_fnek_sig={names}"
    vm.run(
        "keyctl link @u @s; ecryptfs-add-passphrase --fnek - >/dev/null; "
        f"mount -i -t ecryptfs -o {options},{keys} {where}/.Private /mnt/plain && "
        f"mkdir /mnt/plain/papers && echo {LETTER!r} > '/mnt/plain/papers/a letter' && umount /mnt/plain",
        stdin=secret,
    )
    try:
        said = vm.run("pyhome recover --json --password-file - /mnt/strange", stdin=f"{secret}\n").out
        place = json.loads(said)["opened"]["directory"]
        assert vm.out(f"cat '{place}/papers/a letter'") == LETTER
        vm.run(f"pyhome recover --close {place}")
    finally:
        vm.run("rm -rf /mnt/strange", check=False)
