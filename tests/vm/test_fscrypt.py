"""Homes that the file system encrypts, on booted machines: with the release's own fscrypt and pam_fscrypt, in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.vm import fscrypt_people, people, shell
from tests.vm.fscrypt_people import MAKERS, FscryptPerson
from tests.vm.image import SUITES
from tests.vm.installed import set_profiles
from tests.vm.test_passwords import NEW, OTHER, passwd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.vm import VM


@pytest.fixture
def eve(request: pytest.FixtureRequest, vm: VM) -> Iterator[FscryptPerson]:
    """A user with a home that pyhome made, or the maker that a test names."""
    person = fscrypt_people.make(vm, getattr(request, "param", "pyhome"))
    yield person
    person.discard()


@pytest.fixture(autouse=True)
def profiles_as_before(vm: VM) -> Iterator[None]:
    """Leave the machine with pyhome alone, as other tests expect it."""
    yield
    set_profiles(vm, "pyhome")


def visit(eve: FscryptPerson, password: str, *commands: str) -> list[str]:
    """Log in over ssh, run commands in the open home, log out; what pam_fscrypt leaves open is closed."""
    with shell.ssh(eve.vm, eve.name, password) as session:
        said = [session.do(command) for command in commands]
        session.logout()
    eve.vm.run(f"loginctl terminate-user {eve.name}; pkill -KILL -u {eve.uid}", check=False)
    eve.wait_until_locked()
    return said


@pytest.mark.parametrize(
    "eve",
    [pytest.param(maker, marks=pytest.mark.one_release(suite)) for maker, suite in zip(MAKERS, SUITES)],
    indirect=True,
)
def test_each_opens_what_the_other_made_and_changed(vm: VM, eve: FscryptPerson) -> None:
    """Our module, theirs and the tool, before and after a password change by either module."""
    visit(eve, eve.password, "echo by pyhome > exchange")
    assert eve.opens_with(eve.password)
    set_profiles(vm, "fscrypt")
    assert visit(eve, eve.password, "cat letter", "cat exchange") == [people.LETTER, "by pyhome"]
    with shell.ssh(vm, eve.name, eve.password) as session:
        assert passwd(session, eve.password, NEW)[0] == 0
        session.do("echo by pam_fscrypt >> exchange")
        session.logout()
    vm.run(f"loginctl terminate-user {eve.name}", check=False)
    set_profiles(vm, "pyhome")
    eve.wait_until_locked()
    with shell.ssh(vm, eve.name, NEW) as session:
        assert session.do("cat exchange") == "by pyhome\nby pam_fscrypt"
        assert passwd(session, NEW, OTHER)[0] == 0
        session.logout()
    eve.wait_until_locked()
    assert eve.opens_with(OTHER)
    assert not eve.opens_with(NEW)
    set_profiles(vm, "fscrypt")
    assert visit(eve, OTHER, "cat letter") == [people.LETTER]


@pytest.mark.one_release("trixie")
def test_status_shows_our_home_as_its_own(vm: VM, eve: FscryptPerson) -> None:
    said = eve.status()
    assert f'"{eve.home}" is encrypted with fscrypt.' in said
    assert "Unlocked: No" in said
    assert f"login protector for {eve.name}" in vm.out("fscrypt status /")


@pytest.mark.one_release("bookworm")
def test_the_tool_changes_the_passphrase(vm: VM, eve: FscryptPerson) -> None:
    """The login password and the protector's, changed apart from each other to the same."""
    vm.run("chpasswd --crypt-method SHA512", stdin=f"{eve.name}:{NEW}\n")
    change = f"fscrypt metadata change-passphrase --protector=/:{eve.protector} --quiet"
    vm.run(change, stdin=f"{eve.password}\n{NEW}\n")
    assert visit(eve, NEW, "cat letter") == [people.LETTER]


@pytest.mark.parametrize(
    "way",
    [
        pytest.param("console", marks=pytest.mark.one_release("trixie")),
        pytest.param("su", marks=pytest.mark.one_release("bookworm")),
    ],
)
def test_opens_at_the_console_and_with_su(vm: VM, eve: FscryptPerson, way: str) -> None:
    if way == "console":
        with shell.Console(vm) as console:
            console.login(eve.name, eve.password)
            assert console.do("cat letter") == people.LETTER
            console.logout()
    else:
        with shell.ssh(vm, people.neighbour(vm), people.PASSWORD) as outer:
            inner = shell.su(outer, eve.name, eve.password)
            assert inner.do("cat letter") == people.LETTER
            inner.logout()
            outer.logout()
    eve.wait_until_locked()
    assert "letter" not in vm.out(f"ls -A {eve.home}")


@pytest.mark.one_release("bookworm")
def test_beside_pam_fscrypt(vm: VM, eve: FscryptPerson) -> None:
    """Both modules in the stack: the home opens, and is locked when the last session ends."""
    set_profiles(vm, "pyhome", "fscrypt")
    assert visit(eve, eve.password, "cat letter") == [people.LETTER]


@pytest.mark.one_release("trixie")
def test_a_count_that_pam_fscrypt_leaked_does_not_keep_the_home_open(vm: VM, eve: FscryptPerson) -> None:
    """A session that was killed under pam_fscrypt is counted for ever; it says nothing to us."""
    vm.run(f"mkdir -p /run/fscrypt; echo 7 > /run/fscrypt/{eve.uid}.count")
    assert visit(eve, eve.password, "cat letter") == [people.LETTER]


@pytest.mark.one_release("trixie")
def test_a_busy_home_stays_open_until_its_holder_ends(vm: VM, eve: FscryptPerson) -> None:
    mark = vm.cursor()
    with shell.ssh(vm, eve.name, eve.password) as session:
        session.do(f"cd /; setsid sh -c 'exec 7>>{eve.home}/held; sleep 15' >/dev/null 2>&1 </dev/null &")
        session.do("sleep 1")
        session.logout()
    vm.wait_for(lambda: f"{eve.home}/held" in vm.journal(mark), "the log names the file that is held")
    assert "Unlocked: Yes" in eve.status()
    eve.wait_until_locked(60)
    assert "locked the home" in vm.journal(mark)


@pytest.mark.one_release("bookworm")
@pytest.mark.parametrize("damage", ["truncate -s 30", "truncate -s 0", "cp /etc/hostname"])
@pytest.mark.guarantee(9)
def test_a_damaged_protector_lets_in_and_says_so(vm: VM, eve: FscryptPerson, damage: str) -> None:
    """Without a good copy, as where the home was never opened with pyhome."""
    file = f"/.fscrypt/protectors/{eve.protector}"
    vm.run(f"rm -rf /var/lib/pyhome/*.{eve.name}; cp -a {file} /root/protector; {damage} {file}; sha256sum {file} > /root/damaged")
    mark = vm.cursor()
    with shell.ssh(vm, eve.name, eve.password) as session:
        assert len([line for line in session.greeting.splitlines() if "encrypted home" in line]) == 1
        session.logout()
    vm.run("sha256sum --quiet -c /root/damaged && cp -a /root/protector " + file)
    assert "Traceback" not in vm.journal(mark)
    assert visit(eve, eve.password, "cat letter") == [people.LETTER]
