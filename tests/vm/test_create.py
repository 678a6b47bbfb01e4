"""`pyhome create` on booted machines: the homes open at a login, and with the tools whose format they have."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest

from tests.vm import fscrypt_people, people, shell
from tests.vm.people import PASSWORD, Person

if TYPE_CHECKING:
    from tests.vm.vm import VM

pytestmark = pytest.mark.one_release("bookworm")

_numbers = itertools.count(1)


def test_an_fscrypt_home(vm: VM) -> None:
    """Its recovery key opens it with the real tool."""
    fscrypt_people.prepare(vm)
    person, recovery = fscrypt_people.create(vm, f"new-eve{next(_numbers)}")
    with shell.ssh(vm, person.name, PASSWORD) as session:
        assert session.do("cat letter; pwd") == f"{people.LETTER}\n{person.home}"
        assert session.do("stat -c '%a %U' .") == f"700 {person.name}"
        session.logout()
    person.wait_until_locked()
    (other,) = re.findall(r"(?m)^([0-9a-f]{16}) .*custom protector", person.status())
    vm.run(f"fscrypt unlock {person.home} --unlock-with=/:{other} --user={person.name} --quiet", stdin=f"{recovery}\n")
    assert vm.out(f"cat {person.home}/letter") == people.LETTER
    person.lock()
    person.discard()


@pytest.mark.parametrize("name", ["made-anew", "made-already"])
def test_an_ecryptfs_home(vm: VM, name: str) -> None:
    """The real tools find their files where they look for them; the recovery key is the mount passphrase."""
    if name == "made-already":
        people.add_user(vm, name)
        vm.run(f"rm -r /home/{name}")
    said = vm.run(f"pyhome create {name} --backend ecryptfs --password-file -", stdin=f"{PASSWORD}\n").out
    vm.run(f"usermod -s /bin/bash {name}")
    store = f"/home/.ecryptfs/{name}"
    person = Person(vm, name, PASSWORD, int(vm.out(f"id -u {name}")), f"/home/{name}", f"{store}/.Private", f"{store}/.ecryptfs")
    assert not person.is_open()
    with shell.ssh(vm, name, PASSWORD) as session:
        assert person.is_open()
        assert session.do(f"stat -c '%a %U' .; ls -A; echo {people.LETTER!r} > letter").startswith(f"700 {name}\n")
        session.logout()
    person.wait_until_locked()
    assert person.opens_with(PASSWORD)
    recovery = fscrypt_people.recovery_key(said)
    added = vm.run("keyctl session - ecryptfs-add-passphrase --fnek -", stdin=recovery).out
    assert re.findall(r"\[([0-9a-f]{16})\]", added) == person.signatures()
    vm.run(f"ecryptfs-unwrap-passphrase {person.wrapped} - | grep -qx {recovery}", stdin=PASSWORD)
    with shell.ssh(vm, name, PASSWORD) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()
    person.wait_until_locked()
    vm.run(f"pkill -KILL -u {person.uid}; userdel {name}", check=False)
