"""The recovery key on homes that are really opened: a password that is forgotten or was reset by root; a file that is deleted."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell
from tests.vm.fscrypt_people import recovery_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.vm.people import Person
    from tests.vm.vm import VM

pytestmark = pytest.mark.both_backends

NEW = "Battery-Staple-8"
CONF = "/etc/ssh/sshd_config.d/01-keys.conf"


@pytest.fixture
def stub(vm: VM, ada: Person, tmp_path: Path) -> Iterator[Path]:
    """A key that ada logs in with while her home is locked, and the login shell that asks then."""
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    vm.run("mkdir -p /etc/ssh/authorized_keys.d")
    vm.put(path.with_suffix(".pub"), f"/etc/ssh/authorized_keys.d/{ada.name}")
    vm.write(CONF, "AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u .ssh/authorized_keys\n")
    vm.run(f"systemctl restart ssh; pyhome shell enable --yes {ada.name}")
    yield path
    ada.end_all()
    vm.run(f"pyhome shell disable --yes {ada.name}; rm -r {CONF} /etc/ssh/authorized_keys.d; systemctl restart ssh", check=False)


def key_of(vm: VM, ada: Person) -> str:
    """A recovery key for a home that other tools have made."""
    said = vm.run(f"pyhome recovery new {ada.name} --password-file -", stdin=f"{ada.password}\n").out
    return recovery_key(said)


def opens_at_login(vm: VM, ada: Person, password: str) -> None:
    """A login by password opens the home and asks nothing else."""
    with shell.ssh(vm, ada.name, password) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()
    ada.wait_until_locked()


def test_a_forgotten_password(vm: VM, ada: Person, stub: Path) -> None:
    """The key opens the home at the stub's prompt, gives it a new password, and logins by that go on."""
    key = key_of(vm, ada)
    sloppy = key.upper().replace("-", " ")
    known = ("-i", str(stub), "-o", "PasswordAuthentication=no", "-o", "KbdInteractiveAuthentication=no", "-tt")
    with shell.Shell(vm, shell.spawn(vm.ssh(ada.name, *known))) as session:
        session.expect("Password: ")
        session.terminal.sendline(sloppy)
        session.expect(shell.SHELL_PROMPT)
        session.settle()
        assert session.do("cat letter") == people.LETTER
        vm.run("chpasswd", stdin=f"{ada.name}:{NEW}\n")
        said = session.do(f"printf '%s\\n' '{sloppy}' '{NEW}' | pyhome passwd --home-only --password-file -")
        assert said.endswith(f"The home of {ada.name} opens with the new password; the login password is as it was.")
        session.logout()
    ada.wait_until_locked()
    assert ada.opens_with(NEW)
    opens_at_login(vm, ada, NEW)


def test_a_password_that_root_has_reset(vm: VM, ada: Person) -> None:
    key = key_of(vm, ada)
    vm.run("chpasswd", stdin=f"{ada.name}:{NEW}\n")
    with shell.Console(vm) as console:
        console.login(ada.name, NEW, old_password=key)
        assert console.do("cat letter") == people.LETTER
        console.logout()
    ada.wait_until_locked()
    assert ada.opens_with(NEW)
    opens_at_login(vm, ada, NEW)


def test_a_file_that_is_deleted(vm: VM, ada: Person) -> None:
    """The next login opens the home and puts the file back."""
    opens_at_login(vm, ada, ada.password)
    fscrypt = vm.ok(f"test -d {ada.keyfiles}/protectors")
    path = f"{ada.keyfiles}/protectors/{ada.protector}" if fscrypt else ada.wrapped  # type: ignore[attr-defined]  # of this kind
    vm.run(f"rm {path}")
    opens_at_login(vm, ada, ada.password)
    assert vm.ok(f"test -f {path}")
    assert ada.opens_with(ada.password)
