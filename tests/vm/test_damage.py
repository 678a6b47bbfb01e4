"""Key files that are truncated, corrupt or somebody else's: a clear sentence, a login all the same, and nothing overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.vm.people import Person
    from tests.vm.vm import VM

pytestmark = pytest.mark.one_release("bookworm")

DAMAGED = "The key file of {}'s encrypted home is damaged, so the home stays locked"

#: What is done to a good key file of version 2: header of 10 bytes, signature of 16, ciphertext.
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _good: b"",
    "truncated": lambda good: good[:30],
    "text": lambda _good: b"this is not a key file\n",
    "another version": lambda good: b":\x03" + good[2:],
    "longer": lambda good: good + bytes(16),
    "altered ciphertext": lambda good: good[:-1] + bytes([good[-1] ^ 1]),
    "altered salt": lambda good: good[:2] + bytes([good[2] ^ 1]) + good[3:],
}


@pytest.fixture(scope="module")
def victim(vm: VM) -> Iterator[Person]:
    """A user whose home pyhome has never opened, so that it has no good copy of the key file."""
    person = people.make(vm, "whole", name="victim")
    yield person
    person.end_all()


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_key_file(vm: VM, victim: Person, damage: str, cursor: str) -> None:
    good = vm.read(victim.wrapped)
    bad = DAMAGE[damage](good)
    vm.write(victim.wrapped, bad)
    try:
        with shell.ssh(vm, victim.name, victim.password) as session:
            about_home = [line for line in session.greeting.splitlines() if "encrypted home" in line]
            assert len(about_home) == 1, session.greeting
            if damage != "altered salt":
                assert about_home[0].startswith(DAMAGED.format(victim.name))
            assert not victim.is_open()
            assert session.do("pwd") == victim.home
            session.logout()
        assert vm.read(victim.wrapped) == bad
        log = vm.journal(cursor)
        assert "home" in "".join(line for line in log.splitlines() if "pam_pyhome" in line)
        assert "Traceback" not in log
        assert victim.password not in log
    finally:
        vm.write(victim.wrapped, good)


@pytest.mark.guarantee(15)
def test_a_foreign_key_file_with_the_same_password_does_not_open_the_home(vm: VM, victim: Person, ada: Person) -> None:
    """The password opens the file, but what comes out is not this home's: its signature is not the recorded one."""
    good = vm.read(victim.wrapped)
    foreign = vm.read(ada.wrapped)
    vm.write(victim.wrapped, foreign)
    try:
        with shell.ssh(vm, victim.name, victim.password) as session:
            assert DAMAGED.format(victim.name) in session.greeting
            assert not victim.is_open()
            session.logout()
        assert vm.read(victim.wrapped) == foreign
    finally:
        vm.write(victim.wrapped, good)


def test_after_all_that_the_good_file_opens_the_home(vm: VM, victim: Person) -> None:
    """Nothing of the above is remembered against the home."""
    with shell.ssh(vm, victim.name, victim.password) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()
    victim.wait_until_locked()


def test_a_home_opened_before_is_repaired_from_its_good_copy(vm: VM, ada: Person) -> None:
    shell.ssh(vm, ada.name, ada.password).logout()
    ada.wait_until_locked()
    vm.write(ada.wrapped, vm.read(ada.wrapped)[:20])
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()
    ada.wait_until_locked()
    assert ada.opens_with(ada.password)


@pytest.mark.guarantee(15)
def test_a12_tampered_metadata_gives_nothing(vm: VM, ada: Person, victim: Person, cursor: str) -> None:
    """Files of their own that users can change cannot name another's home, ciphertext or mount point."""
    tampered = {
        "Private.mnt": f"{victim.home}\n",
        "Private.sig": vm.out(f"cat {victim.keyfiles}/Private.sig") + "\n",
    }
    for name, content in tampered.items():
        good = vm.read(f"{ada.keyfiles}/{name}")
        vm.write(f"{ada.keyfiles}/{name}", content)
        with shell.ssh(vm, ada.name, ada.password) as session:
            assert not ada.is_open()
            assert not victim.is_open()
            assert "encrypted home" in session.greeting
            session.logout()
        vm.write(f"{ada.keyfiles}/{name}", good)
    for place in ("/etc", "/", "/usr/bin", "/proc/self/cwd", "/tmp", "relative", f"{ada.home}/../../etc"):
        vm.write(f"{ada.keyfiles}/Private.mnt", f"{place}\n")
        steps = "authenticate open_session close_session"
        vm.run(f"pamtester login {ada.name} {steps}", stdin=f"{ada.password}\n", check=False)
        assert "ecryptfs" not in vm.out("grep ' ecryptfs ' /proc/mounts || true")
    assert "Traceback" not in vm.journal(cursor)
