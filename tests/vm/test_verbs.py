"""``pyhome`` on a home that is really mounted: what users and root see, and what unlocking and locking by hand do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell

if TYPE_CHECKING:
    from tests.vm.conftest import Maker
    from tests.vm.people import Person
    from tests.vm.vm import VM


@pytest.mark.one_release("trixie")
def test_a_user_in_a_session(vm: VM, ada: Person) -> None:
    """Status, locking from inside, unlocking again; the session that asks does not stand in its own way, its directory does."""
    with shell.ssh(vm, ada.name, ada.password) as session:
        said = session.do("pyhome status")
        assert said.startswith(f"The home of {ada.name} is open since ")
        assert said.rstrip().endswith("held by 1 session.")
        (home,) = json.loads(session.do("pyhome inspect --json"))["homes"]
        assert (home["state"], home["mountpoint"], home["storage"]) == ("open", ada.mountpoint, ada.lower)
        assert [slot["usable"] for slot in home["slots"]] == [True, True]
        assert any(f"(bash, uid {ada.uid})" in holder for holder in home["holders"])
        assert [each["service"] for each in home["sessions"]] == ["sshd"]

        code, said = session.try_("pyhome lock --wait 1")
        assert code == 16
        assert "leave it with 'cd /'" in said
        assert ada.is_open()
        assert session.do("cd /; pyhome lock").endswith(f"The home of {ada.name} is locked.")
        assert not ada.is_open()
        assert session.try_(f"cat {ada.home}/letter")[0] != 0

        code, _ = session.try_("echo wrong | pyhome unlock --password-file -")
        assert code == 13
        said = session.do(f"echo '{ada.password}' | pyhome unlock --password-file -")
        assert said.endswith("held by 1 session.")
        assert session.do("cd; cat letter") == people.LETTER
        session.logout()
    ada.wait_until_locked()


@pytest.mark.one_release("bookworm")
def test_root_opens_a_home_by_hand_and_it_stays_open(vm: VM, ada: Person) -> None:
    said = vm.run(f"pyhome unlock {ada.name} --password-file -", stdin=ada.password).out
    assert said.rstrip().endswith("until 'pyhome lock'.")
    assert vm.out(f"cat {ada.home}/letter") == people.LETTER
    vm.run("systemctl restart pyhomed.service")
    with shell.ssh(vm, ada.name, ada.password) as session:
        session.do("cat letter")
        session.logout()
    vm.wait_for(lambda: not ada.leases(), "the session is gone")
    vm.run("sleep 2")
    assert ada.is_open()
    assert "open" in vm.out("pyhome list")
    assert vm.out(f"pyhome unlock {ada.name}").startswith(f"The home of {ada.name} was open already. ")
    vm.wait_until(f"! pgrep -u {ada.uid}", 60)
    assert vm.out(f"pyhome lock {ada.name} --wait 30") == f"The home of {ada.name} is locked."
    assert not ada.is_open()
    with shell.ssh(vm, ada.name, ada.password) as session:
        session.logout()
    ada.wait_until_locked()


@pytest.mark.one_release("bookworm")
def test_a_session_without_a_password_unlocks_and_its_end_locks(vm: VM, ada: Person) -> None:
    done = vm.run(f"su -l {ada.name} -c 'pyhome unlock --password-file - && cd && cat letter && cd /'", stdin=ada.password)
    assert people.LETTER in done.out
    ada.wait_until_locked()


@pytest.mark.one_release("bookworm")
def test_force_ends_what_is_the_owners_and_nothing_else(vm: VM, ada: Person) -> None:
    with shell.ssh(vm, ada.name, ada.password) as session:
        session.do("setsid sh -c 'exec 7>>held; trap \"\" TERM; while :; do sleep 1; done' >/dev/null 2>&1 </dev/null &")
        vm.run(f"cd {ada.home} && (setsid sleep 600 >/dev/null 2>&1 </dev/null &)")
        code, said = session.try_("cd /; pyhome lock")
        assert code == 16
        assert "(sleep, uid 0)" in said
        assert f"uid {ada.uid})" in said
        code, said = session.try_("pyhome lock --force")
        assert code == 16
        assert "(sleep, uid 0)" in said
        assert f"uid {ada.uid})" not in said
        vm.run("pkill -u 0 -x sleep")
        assert session.do("pyhome lock").endswith("is locked.")
        session.logout()
    assert not ada.is_open()


@pytest.mark.one_release("trixie")
def test_root_waits_for_a_session_to_end(vm: VM, ada: Person) -> None:
    with shell.ssh(vm, ada.name, ada.password) as session:
        code = vm.run(f"pyhome lock {ada.name}", check=False)
        assert code.code == 44
        assert "(sshd)" in code.err
        vm.run(f"systemd-run --unit=locker --collect -p RemainAfterExit=yes pyhome lock {ada.name} --wait 60")
        vm.wait_until("journalctl -b -u locker | grep -q 'waiting for pid'")
        assert ada.is_open()
        session.logout()
    ada.wait_until_locked()
    vm.wait_until("systemctl show -P Result locker | grep -q success && ! systemctl show -P SubState locker | grep -q running")
    vm.run("systemctl stop locker", check=False)


@pytest.mark.one_release("trixie")
def test_nobody_sees_or_locks_the_home_of_another(vm: VM, ada: Person, new_user: Maker) -> None:
    """Not even with a file that says that one's own home is mounted where the other's is."""
    bob = new_user()
    vm.run(f"pyhome unlock {bob.name} --password-file -", stdin=bob.password)
    assert bob.is_open()
    vm.run(f"echo {bob.home} > {ada.keyfiles}/Private.mnt")
    said = vm.run(f"setpriv --reuid={ada.uid} --regid={ada.uid} --clear-groups pyhome lock --force", check=False)
    assert (said.code, said.out) == (0, f"The home of {ada.name} was locked already.\n")
    assert vm.out(f"setpriv --reuid={ada.uid} --regid={ada.uid} --clear-groups pyhome status").endswith("is locked.")
    vm.run(f"su -l {ada.name} -c true")
    assert bob.is_open()
    vm.run(f"pyhome lock {bob.name}")
    assert not bob.is_open()
