"""Together with pam_ecryptfs: taking turns on the same home in both directions, and both in the PAM stack at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell
from tests.vm.installed import set_profiles
from tests.vm.test_passwords import NEW, passwd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.vm.conftest import Maker
    from tests.vm.people import Person
    from tests.vm.vm import VM


# ecryptfs-utils is the same in both releases, and slow.
pytestmark = pytest.mark.one_release("bookworm")


@pytest.fixture(autouse=True)
def profiles_as_before(vm: VM) -> Iterator[None]:
    """Leave the machine with pyhome alone, as other tests expect it."""
    yield
    set_profiles(vm, "pyhome")


def visit(vm: VM, person: Person, *commands: str) -> list[str]:
    """Log in over ssh, run commands in the open home, log out; close what pam_ecryptfs leaves open."""
    with shell.ssh(vm, person.name, person.password) as session:
        assert person.is_open()
        said = [session.do(f"cd {person.mountpoint}; {command}") for command in commands]
        session.do("cd /")
        session.logout()
    vm.run(f"loginctl terminate-user {person.name}; pkill -KILL -u {person.uid}", check=False)
    vm.run(f"umount {person.mountpoint}; rm -f /dev/shm/ecryptfs-{person.name}-*", check=False)
    person.wait_until_locked()
    return said


@pytest.mark.parametrize("kind", ["migrated", "private", "plain-names"])
def test_pam_ecryptfs_opens_what_pyhome_has_used_and_back(vm: VM, household: Callable[[str], Person], kind: str) -> None:
    """A file goes back and forth between the two modules; each reads what the other wrote."""
    person = household(kind)
    visit(vm, person, "echo by pyhome > exchange")
    set_profiles(vm, "ecryptfs-utils")
    assert visit(vm, person, "cat letter", "cat exchange", "echo by pam_ecryptfs >> exchange")[:2] == [people.LETTER, "by pyhome"]
    set_profiles(vm, "pyhome")
    assert visit(vm, person, "cat exchange") == ["by pyhome\nby pam_ecryptfs"]


def test_a_password_changed_by_either_works_with_the_other(vm: VM, ada: Person) -> None:
    set_profiles(vm, "ecryptfs-utils")
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert passwd(session, ada.password, NEW)[0] == 0
        session.logout()
    vm.run(f"loginctl terminate-user {ada.name}; umount {ada.home}; rm -f /dev/shm/ecryptfs-{ada.name}-*", check=False)
    set_profiles(vm, "pyhome")
    with shell.ssh(vm, ada.name, NEW) as session:
        assert session.do("cat letter") == people.LETTER
        assert passwd(session, NEW, ada.password)[0] == 0
        session.logout()
    ada.wait_until_locked()
    set_profiles(vm, "ecryptfs-utils")
    assert visit(vm, ada, "cat letter") == [people.LETTER]


@pytest.mark.guarantee(3)
def test_a_weak_key_file_renewed_by_either_opens_with_the_other(vm: VM, new_user: Maker) -> None:
    """Both replace a version 1 file by version 2 at the first login."""
    for first, second in (("pyhome", "ecryptfs-utils"), ("ecryptfs-utils", "pyhome")):
        person = new_user("v1")
        assert not vm.read(person.wrapped).startswith(b":\x02")
        set_profiles(vm, first)
        visit(vm, person, "true")
        assert vm.read(person.wrapped).startswith(b":\x02")
        set_profiles(vm, second)
        assert visit(vm, person, "cat letter") == [people.LETTER]


def test_both_in_the_stack_open_the_home_once_and_the_last_session_closes_it(vm: VM, ada: Person) -> None:
    set_profiles(vm, "pyhome", "ecryptfs-utils")
    first, second = (shell.ssh(vm, ada.name, ada.password) for _ in range(2))
    assert len(ada.mounts()) == 1
    first.logout()
    time.sleep(3)
    assert second.do("cat letter") == people.LETTER
    second.logout()
    ada.wait_until_locked(60)
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()
    ada.wait_until_locked(60)


@pytest.mark.parametrize("kind", ["migrated", "private"])
def test_a_home_of_a_new_name_and_number_opens_with_both(vm: VM, new_user: Maker, kind: str) -> None:
    person = new_user(kind)
    visit(vm, person, "true")
    name, uid = f"{person.name}-new", person.uid + 5000
    vm.wait_until(f"! pgrep -u {person.uid}", 60)
    vm.run(f"usermod --login {name} --uid {uid} --home /home/{name} --move-home {person.name}")
    assert f"is to be {name}'s (uid {uid})" in vm.out(f"pyhome adopt --dry-run {name}")
    vm.run(f"pyhome adopt --yes {name}")
    person.mountpoint, person.lower, person.keyfiles = (
        path.replace(f"/{person.name}", f"/{name}", 1) for path in (person.mountpoint, person.lower, person.keyfiles)
    )
    person.name, person.uid = name, uid
    with shell.ssh(vm, name, person.password) as session:
        assert session.do(f"cat {person.mountpoint}/letter") == people.LETTER
        session.logout()
    person.wait_until_locked()
    assert vm.ok(f"test -f /var/lib/pyhome/{uid}.{name}/wrapped-passphrase")
    set_profiles(vm, "ecryptfs-utils")
    assert visit(vm, person, "cat letter", "echo by pam_ecryptfs > exchange")[0] == people.LETTER
    set_profiles(vm, "pyhome")
    assert visit(vm, person, "cat exchange") == ["by pam_ecryptfs"]
