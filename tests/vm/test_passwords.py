"""The home's password follows the login password, or neither changes; and after a reset by root one question repairs it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell
from tests.vm.installed import sshd_setting

if TYPE_CHECKING:
    from tests.vm.people import Person
    from tests.vm.shell import Shell
    from tests.vm.vm import VM

NEW = "Battery-Staple-8"
OTHER = "Quite-Another-9"


def passwd(session: Shell, old: str, new: str, home_password: str = "") -> tuple[int, str]:
    """Run ``passwd`` as its user does; give back its exit code and what it said."""
    session.terminal.sendline('passwd; echo "ended $?"')
    said = []
    asked = ["[Cc]urrent password: ", "Old password: ", "New password: ", "[Rr]etype new password: "]
    answers = [old, home_password, new, new]
    while (which := session.expect([*asked, r"ended (\d+)"])) < len(answers):
        said.append(str(session.terminal.before))
        session.terminal.sendline(answers[which])
    said.append(str(session.terminal.before))
    return int(session.terminal.match[1]), shell.plain("\n".join(said))


def state(vm: VM, person: Person) -> str:
    """Everything that a password change may change: the shadow entry and the key files."""
    return vm.out(f"grep ^{person.name}: /etc/shadow; cd {person.keyfiles}; find . -type f | sort | xargs sha256sum")


def set_by_root(vm: VM, person: Person, password: str) -> str:
    """Reset a password as root does, and give back what root was told."""
    done = vm.run("chpasswd", stdin=f"{person.name}:{password}\n")
    return done.out + done.err


@pytest.mark.both_backends
@pytest.mark.guarantee(12)
def test_a2_passwd_while_the_home_is_open(vm: VM, ada: Person) -> None:
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert passwd(session, ada.password, NEW)[0] == 0
        assert session.do("cat letter") == people.LETTER
        session.logout()
    ada.wait_until_locked()
    assert ada.opens_with(NEW)
    assert not ada.opens_with(ada.password)
    with pytest.raises(shell.LoginRefusedError):
        shell.ssh(vm, ada.name, ada.password)
    assert not ada.is_open()
    with shell.ssh(vm, ada.name, NEW) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()


@pytest.mark.both_backends
@pytest.mark.guarantee(12)
def test_a2_passwd_while_the_home_is_locked(vm: VM, ada: Person) -> None:
    with shell.ssh(vm, people.neighbour(vm), people.PASSWORD) as outer:
        outer.do("cd /")
        vm.write("/etc/sudoers.d/neighbour", f"neighbour ALL=({ada.name}) NOPASSWD: ALL\n")
        inner = shell.su(outer, "", command=f"sudo -u {ada.name} bash")
        assert not ada.is_open()
        assert passwd(inner, ada.password, NEW)[0] == 0
        assert not ada.is_open()
        inner.logout()
        outer.logout()
    assert ada.opens_with(NEW)
    with shell.Console(vm) as console:
        console.login(ada.name, NEW)
        assert console.do("cat letter") == people.LETTER
        console.logout()


@pytest.mark.both_backends
def test_a_wrong_old_password_changes_nothing_anywhere(vm: VM, ada: Person) -> None:
    with shell.ssh(vm, ada.name, ada.password) as session:
        before = state(vm, ada)
        assert passwd(session, "not-the-password-1", NEW)[0] != 0
        assert state(vm, ada) == before
        session.logout()


@pytest.mark.one_release("trixie")
def test_a_password_longer_than_ecryptfs_can_take(vm: VM, ada: Person) -> None:
    """ECryptfs takes 64 bytes at most; a longer login password opens the home with pyhome all the same."""
    longer = "Long-" * 13 + "Tail"
    with shell.ssh(vm, ada.name, ada.password) as session:
        code, said = passwd(session, ada.password, longer)
        assert code == 0, said
        session.logout()
    ada.wait_until_locked()
    with shell.ssh(vm, ada.name, longer) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()
    ada.wait_until_locked()
    assert ada.opens_with(hashlib.sha256(longer.encode()).hexdigest())


@pytest.mark.both_backends
def test_a_reset_by_root_costs_one_question(vm: VM, ada: Person) -> None:
    """Root is told at once; the next login that can ask, asks for the old password; the one after that asks nothing."""
    told = set_by_root(vm, ada, NEW)
    assert f"the encrypted home of {ada.name} still opens with the old password only" in told
    with shell.Console(vm) as console:
        said = console.login(ada.name, NEW, old_password=ada.password)
        assert f"The login password of {ada.name} was changed" in said
        assert console.do("cat letter") == people.LETTER
        console.logout()
    ada.wait_until_locked()
    assert ada.opens_with(NEW)
    with shell.ssh(vm, ada.name, NEW) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()


@pytest.mark.both_backends
def test_after_a_reset_a_wrong_old_password_lets_in_and_leaves_everything(vm: VM, ada: Person) -> None:
    set_by_root(vm, ada, NEW)
    before = state(vm, ada)
    with shell.Console(vm) as console:
        said = console.login(ada.name, NEW, old_password=OTHER)
        assert f"That does not open the encrypted home of {ada.name}" in said
        assert not ada.is_open()
        console.logout()
    assert state(vm, ada) == before
    with shell.Console(vm) as console:
        console.login(ada.name, NEW, old_password=ada.password)
        assert console.do("cat letter") == people.LETTER
        console.logout()


@pytest.mark.both_backends
def test_after_a_reset_ssh_says_where_the_old_password_can_be_given(vm: VM, ada: Person) -> None:
    """Sshd's password method cannot ask. The login works, says what to do, and doing it repairs the home."""
    set_by_root(vm, ada, NEW)
    with shell.ssh(vm, ada.name, NEW) as session:
        assert "log in on the console or with su" in session.greeting
        assert not ada.is_open()
        inner = shell.su(session, ada.name, NEW, old_password=ada.password)
        assert inner.do("cat letter") == people.LETTER
        inner.logout()
        session.logout()
    ada.wait_until_locked()
    assert ada.opens_with(NEW)


@pytest.mark.both_backends
def test_after_a_reset_keyboard_interactive_ssh_asks(vm: VM, ada: Person) -> None:
    """With keyboard-interactive, sshd authenticates in another process than the one that opens the session, and can ask."""
    set_by_root(vm, ada, NEW)
    with sshd_setting(vm, "KbdInteractiveAuthentication yes"):
        with shell.ssh_asked(vm, ada.name, NEW, old_password=ada.password) as session:
            assert session.do("cat letter") == people.LETTER
            session.logout()
        ada.wait_until_locked()
        assert ada.opens_with(NEW)
        with shell.ssh_asked(vm, ada.name, NEW) as session:
            assert session.do("cat letter") == people.LETTER
            session.logout()


@pytest.mark.both_backends
def test_passwd_after_a_reset_wants_the_homes_password_too(vm: VM, ada: Person) -> None:
    """Between reset and repair, passwd changes both passwords or none."""
    set_by_root(vm, ada, NEW)
    with shell.ssh(vm, ada.name, NEW) as session:
        before = state(vm, ada)
        code, said = passwd(session, NEW, OTHER, home_password="nonsense-1")
        assert code != 0
        assert f"This password does not open the encrypted home of {ada.name}, so nothing was changed" in said
        assert state(vm, ada) == before
        assert passwd(session, NEW, OTHER, home_password=ada.password)[0] == 0
        session.logout()
    assert ada.opens_with(OTHER)


@pytest.mark.both_backends
def test_an_expired_password_is_changed_at_login_and_the_home_follows(vm: VM, ada: Person) -> None:
    vm.run(f"chage -d 0 {ada.name}")
    with shell.Console(vm) as console:
        console.login(ada.name, ada.password, new_password=NEW)
        assert console.do("cat letter") == people.LETTER
        console.logout()
    ada.wait_until_locked()
    assert ada.opens_with(NEW)


@pytest.mark.one_release("trixie")
def test_a_home_with_a_passphrase_of_its_own_asks_for_it_and_ignores_passwd(vm: VM, ada: Person) -> None:
    """``wrapping-independent``: the home's passphrase is asked for at login, and passwd leaves it alone."""
    vm.run(f"ecryptfs-rewrap-passphrase {ada.wrapped} -", stdin=f"{ada.password}\nOwn-Passphrase-1")
    vm.run(f"touch {ada.keyfiles}/wrapping-independent; chown {ada.name}: {ada.wrapped}")
    with shell.Console(vm) as console:
        console.login(ada.name, ada.password, own_passphrase="Own-Passphrase-1")
        assert console.do("cat letter") == people.LETTER
        assert passwd(console, ada.password, NEW)[0] == 0
        console.logout()
    ada.wait_until_locked()
    assert ada.opens_with("Own-Passphrase-1")
