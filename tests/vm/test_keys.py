"""Who can get at the keys of an open home: its session, and nobody else; and afterwards nobody at all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell
from tests.vm.installed import set_setting

if TYPE_CHECKING:
    from tests.vm.people import Person
    from tests.vm.vm import VM

pytestmark = pytest.mark.one_release("bookworm")


def serials(session: shell.Shell, person: Person) -> list[str]:
    """The serials of the home's keys as ``keyctl show`` in the session shows them, in the order of ``Private.sig``."""
    tree = session.do("keyctl show @s")
    found = (re.search(rf"^ *(\d+) .* user: {signature}$", tree, re.MULTILINE) for signature in person.signatures())
    return [match[1] for match in found if match]


def keys_left(vm: VM, person: Person) -> str:
    """The lines of /proc/keys, as root sees it, that speak of the home's keys."""
    return vm.out(f"grep -E '{'|'.join(person.signatures())}' /proc/keys | grep -v ' [A-Za-z-]*R[A-Za-z-]* ' || true")


def test_the_session_has_both_keys_and_can_read_them(vm: VM, ada: Person) -> None:
    with shell.ssh(vm, ada.name, ada.password) as session:
        keys = serials(session, ada)
        assert len(keys) == 2
        for key in keys:
            assert len(bytes.fromhex("".join(session.do(f"keyctl read {key} | tail -n +2").split()))) == 740
        session.logout()


@pytest.mark.guarantee(4)
def test_nobody_else_can_read_the_keys(vm: VM, ada: Person) -> None:
    """Another session of the same user, another user, a service of root and a service of the user: all are refused."""
    people.add_user(vm, "eve")
    with shell.ssh(vm, ada.name, ada.password) as owner, shell.ssh(vm, "eve", people.PASSWORD) as eve:
        for key in serials(owner, ada):
            code, said = eve.try_(f"keyctl read {key}; keyctl link {key} @s")
            assert code != 0
            assert "Permission denied" in said
            for service in ("", f"--uid={ada.name}"):
                result = vm.run(f"systemd-run --quiet --pipe {service} keyctl read {key}", check=False)
                assert result.code != 0
                assert "Permission denied" in result.err
        with shell.ssh(vm, ada.name, ada.password) as second:
            assert second.do("cat letter") == people.LETTER
            for key in serials(owner, ada):
                assert second.try_(f"keyctl read {key}")[0] != 0
        owner.logout()
        eve.logout()


def test_the_owner_cannot_pass_the_keys_on(vm: VM, ada: Person) -> None:
    with shell.ssh(vm, ada.name, ada.password) as session:
        for key in serials(session, ada):
            assert session.try_(f"keyctl setperm {key} 0x3f3f3f3f")[0] != 0
            assert session.try_(f"keyctl link {key} @u && keyctl read {key} @u")[0] != 0
        session.logout()


@pytest.mark.guarantee(4)
def test_su_does_not_put_keys_into_the_callers_keyring(vm: VM, ada: Person) -> None:
    """``su`` without ``-l`` runs in the caller's session keyring; the caller must not find the keys there afterwards."""
    people.add_user(vm, "caller")
    with shell.ssh(vm, "caller", people.PASSWORD) as outer:
        inner = shell.su(outer, ada.name, ada.password, command="su")
        assert inner.do(f"cat {ada.home}/letter") == people.LETTER
        inside = serials(inner, ada)
        assert len(inside) == 2
        with shell.ssh(vm, "caller", people.PASSWORD) as other:
            assert all(other.try_(f"keyctl read {key}")[0] != 0 for key in inside)
        inner.logout()
        assert not any(signature in outer.do("keyctl show @s; keyctl show @u") for signature in ada.signatures())
        outer.logout()


@pytest.mark.each_release
@pytest.mark.guarantee(2)
def test_b4_after_logout_no_key_is_left_and_the_next_login_asks(vm: VM, ada: Person) -> None:
    """No usable key and no password is left, in no keyring, process or log; the next login needs the password again."""
    with shell.ssh(vm, ada.name, ada.password) as session:
        keys = serials(session, ada)
        session.logout()
    ada.wait_until_locked()
    assert keys_left(vm, ada) == ""
    assert all(not vm.ok(f"keyctl read {key}") for key in keys)
    # A login that was refused after its password leaves one for a minute; the kernel lists it, expired, a while longer.
    vm.wait_until("! grep pyhome:opened /proc/keys | grep -v ' expd '", 75)
    assert ada.password not in vm.run("cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline", check=False).out
    assert ada.password not in vm.journal()
    assert vm.out("coredumpctl list 2>/dev/null || true") == ""
    assert people.LETTER not in vm.out(f"su -l {ada.name} -c 'cat letter' 2>&1 || true")
    assert not ada.is_open()
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()


@pytest.mark.one_release("trixie")
@pytest.mark.guarantee(2)
def test_a4_keys_come_and_go_with_the_home(vm: VM, ada: Person) -> None:
    """The keys are in the session after unlocking, gone after locking, and back after the next unlocking."""
    for _ in range(2):
        with shell.ssh(vm, ada.name, ada.password) as session:
            assert len(serials(session, ada)) == 2
            session.logout()
        ada.wait_until_locked()
        assert keys_left(vm, ada) == ""


@pytest.mark.one_release("trixie")
def test_a4_keys_do_not_authorise_a_password_change(vm: VM, ada: Person) -> None:
    """With the home open and its keys at hand, passwd still wants the present password."""
    with shell.ssh(vm, ada.name, ada.password) as session:
        session.terminal.sendline("passwd; echo ended $?")
        session.expect("[Cc]urrent password: ")
        session.terminal.sendline("not-the-password-1")
        session.expect(r"ended [1-9]")
        session.logout()
    assert ada.opens_with(ada.password)


@pytest.mark.one_release("trixie")
def test_keyring_none_opens_the_home_without_keys_in_the_session(vm: VM, ada: Person) -> None:
    with set_setting(vm, "keyring = none"), shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat letter") == people.LETTER
        assert serials(session, ada) == []
        session.logout()


def test_keyring_user_puts_the_keys_where_ecryptfs_utils_looks(vm: VM, ada: Person) -> None:
    """With ``keyring = user``, tools that look into the user keyring find the keys; after logout they are gone from there."""
    with set_setting(vm, "keyring = user"), shell.ssh(vm, ada.name, ada.password) as session:
        assert all(signature in session.do("keyctl show @u") for signature in ada.signatures())
        session.logout()
        ada.wait_until_locked()
        assert keys_left(vm, ada) == ""
