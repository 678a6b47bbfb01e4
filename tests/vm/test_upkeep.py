"""`pyhome update` and `remove` on booted machines: logins honour what was asked for, and what is removed is gone."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.vm import fscrypt_people, people, shell

if TYPE_CHECKING:
    from tests.vm.people import Person
    from tests.vm.vm import VM

_numbers = itertools.count(1)


def honours_wishes(vm: VM, person: Person) -> None:
    """Not locked at logout, then not opened at login, then both again as at first; asked for by the user and by root."""
    with shell.ssh(vm, person.name, person.password) as session:
        said = session.do("pyhome update --no-lock-at-logout")
        assert said.endswith("opens at login, with the login password, and stays open after the last session.")
        session.logout()
    vm.wait_for(lambda: not person.leases(), "the session is gone")
    vm.run("sleep 2")
    assert person.is_open()
    assert "stays open after the last session" in vm.out(f"pyhome inspect {person.name}")
    vm.wait_until(f"! pgrep -u {person.uid}", 60)
    vm.run(f"pyhome lock {person.name} --wait 30")
    vm.run(f"pyhome update --lock-at-logout --no-open-at-login {person.name}")
    with shell.ssh(vm, person.name, person.password) as session:
        assert not person.is_open()
        assert session.do(f"cd /; echo '{person.password}' | pyhome unlock --password-file -").endswith("held by 1 session.")
        assert session.do(f"cat {person.home}/letter") == people.LETTER
        assert "opens at login" in session.do("pyhome update --open-at-login")
        session.logout()
    person.wait_until_locked()
    with shell.ssh(vm, person.name, person.password) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()
    person.wait_until_locked()


def removed(vm: VM, person: Person) -> None:
    """Refused while somebody is there; then nothing of it is left, also after the processes of the session have gone."""
    with shell.ssh(vm, person.name, person.password) as session:
        done = vm.run(f"pyhome remove --yes {person.name}", check=False)
        assert done.code in (16, 44)
        assert "(sshd" in done.err
        assert session.do("cat letter") == people.LETTER
        session.logout()
    person.wait_until_locked()
    vm.wait_until(f"! pgrep -u {person.uid}", 60)
    assert "the account is gone" in vm.out(f"pyhome remove --yes {person.name}")
    assert person.name not in vm.out("pyhome list; ls -A /home /home/.ecryptfs /var/lib/pyhome 2>/dev/null || true")
    assert not vm.ok(f"getent passwd {person.name}")


@pytest.mark.one_release("bookworm")
def test_an_fscrypt_home(vm: VM) -> None:
    person = fscrypt_people.make(vm, "pyhome", f"upkeep{next(_numbers)}")
    honours_wishes(vm, person)
    done = vm.run(f"pyhome update --costs --password-file - {person.name}", stdin=person.password)
    assert "was so already" in done.out
    vm.run("sed -i 's/\"time\": \"1\"/\"time\": \"2\"/' /etc/fscrypt.conf")
    done = vm.run(f"pyhome update --costs --password-file - {person.name}", stdin=person.password)
    vm.write("/etc/fscrypt.conf", fscrypt_people.CONF)
    assert person.opens_with(person.password)
    protector = person.protector
    removed(vm, person)
    assert not vm.ok(f"test -e /.fscrypt/protectors/{protector}")


@pytest.mark.one_release("trixie")
@pytest.mark.guarantee(18)
def test_an_ecryptfs_home(vm: VM, ada: Person) -> None:
    honours_wishes(vm, ada)
    own = "A-passphrase-of-its-own-7"
    vm.run(f"pyhome update --passphrase own --password-file - {ada.name}", stdin=f"{ada.password}\n{own}\n")
    assert ada.opens_with(own)
    vm.run(f"pyhome update --passphrase login --password-file - {ada.name}", stdin=f"{own}\n{ada.password}\n")
    assert ada.opens_with(ada.password)
    name = f"upkeep{next(_numbers)}"
    vm.run(f"pyhome create {name} --backend ecryptfs --password-file -", stdin=f"{people.PASSWORD}\n")
    vm.run(f"usermod -s /bin/bash {name}")
    store = f"/home/.ecryptfs/{name}"
    uid = int(vm.out(f"id -u {name}"))
    person = people.Person(vm, name, people.PASSWORD, uid, f"/home/{name}", f"{store}/.Private", f"{store}/.ecryptfs")
    with shell.ssh(vm, name, people.PASSWORD) as session:
        session.do(f"echo {people.LETTER!r} > letter")
        session.logout()
    person.wait_until_locked()
    removed(vm, person)
