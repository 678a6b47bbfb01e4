"""The whole story, as somebody new to it lives it: install, set up, encrypt, log in, forget the password, go back, remove."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.vm import fscrypt_people, people, shell
from tests.vm.installed import install, package
from tests.vm.test_doctor import ETC

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.vm.vm import VM

NAME, HOME = "lovelace", "/home/lovelace"
FIRST, SECOND, THIRD = "Analytical-1", "Difference-2", "Bernoulli-3"
LETTER = f"cat letter; pwd; echo {people.LETTER!r} | cmp - letter"
LETTER_SHOWN = f"{people.LETTER}\n{HOME}"
QUESTION = r"\[y/N\]: ?$"
ASKED = r"is locked\.\r\n.*Password: ?$"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@pytest.fixture
def newcomer(vm: VM, key: Path) -> Iterator[VM]:
    """A machine that has never seen pyhome, and a user with a plain home."""
    fscrypt_people.prepare(vm)
    vm.run("apt-get purge -y pyhome", timeout=300)
    people.add_user(vm, NAME, FIRST)
    vm.run(f"mkdir -m 700 {HOME}/.ssh; echo {people.LETTER!r} > {HOME}/letter")
    vm.put(key.with_suffix(".pub"), f"{HOME}/.ssh/authorized_keys")
    vm.run(f"chown -R {NAME}: {HOME}")
    yield vm
    vm.run(f"pkill -KILL -u {NAME}; userdel -rf {NAME}", check=False)
    install(vm)


def etc(vm: VM) -> str:
    """All files of the configuration, but for what is the user's."""
    return vm.out(ETC.replace("find /etc ", "find /etc ! -name 'shadow*' ! -name 'passwd*' ! -name ld.so.cache "))


def kept(vm: VM) -> str:
    """What pyhome has besides its package and its settings; good copies of the key files of other people's homes stay."""
    return vm.out("find /run/pyhome* /var/lib/pyhome /etc/pyhome* /home/.pyhome* 2>/dev/null | sort")


class Administrator(shell.Shell):
    """Root at a terminal."""

    def __init__(self, vm: VM) -> None:
        super().__init__(vm, shell.ssh_by_key(vm, "root", vm.image / "key").terminal)

    def converse(self, command: str, *talk: tuple[str, str]) -> str:
        """Run a command that asks; what it has shown by its end."""
        self.terminal.sendline(f"{command}; echo '<'$?'>'")
        shown = ""
        for question, answer in talk:
            self.expect(question)
            shown += str(self.terminal.before) + str(self.terminal.after)
            self.terminal.sendline(answer)
        self.expect(r"<(\d+)>\r?\n")
        shown = shell.plain(shown + str(self.terminal.before))
        assert self.terminal.match[1] == "0", shown
        return shown


def by_key(vm: VM, key: Path, answer: str) -> shell.Shell:
    """A login by key at which the login shell asks for the password."""
    session = shell.Shell(vm, shell.spawn(vm.ssh(NAME, "-tt", "-i", str(key), "-o", "PasswordAuthentication=no")))
    session.expect(ASKED)
    session.terminal.sendline(answer)
    session.expect(shell.SHELL_PROMPT)
    session.settle()
    return session


def change_password(session: shell.Shell, old: str, new: str) -> None:
    """`passwd`, as its owner types it."""
    session.terminal.sendline("passwd; echo '<'$?'>'")
    for question, answer in ((r"[Cc]urrent password: ?$", old), (r"New password: ?$", new), (r"[Rr]etype new password: ?$", new)):
        session.expect(question)
        session.terminal.sendline(answer)
    session.expect(r"<0>\r?\n")


def wait_until_locked(vm: VM) -> None:
    vm.wait_until(f"! pgrep -u {NAME} && pyhome status {NAME} | grep -q locked", 60)


@pytest.mark.one_release("trixie")
def test_from_the_first_day_to_the_last(newcomer: VM, key: Path) -> None:
    vm = newcomer
    before, others = etc(vm), kept(vm)
    vm.put(package(), "/root/pyhome.deb")
    vm.run("DEBIAN_FRONTEND=noninteractive apt-get install -y /root/pyhome.deb", timeout=300)
    with Administrator(vm) as root:
        root.do("pyhome setup --yes")
        root.do("pyhome sshd apply --yes")
        vm.wait_until(f"! pgrep -u {NAME}", 60)
        said = root.converse(f"pyhome encrypt {NAME}", (QUESTION, "y"), (r"Login password of lovelace: ?$", FIRST))
        recovery = fscrypt_people.recovery_key(said)
        assert f"{HOME} is encrypted with fscrypt" in said
        root.do(f"pyhome shell enable --yes {NAME}")

        with shell.ssh(vm, NAME, FIRST) as session:
            assert session.do(LETTER) == LETTER_SHOWN
            session.logout()
        wait_until_locked(vm)
        assert f"pyhome confirm {NAME}" in root.do(f"pyhome status {NAME}")
        root.converse(f"pyhome confirm {NAME}", (QUESTION, "y"))

        with by_key(vm, key, FIRST) as session:
            assert session.do(LETTER) == LETTER_SHOWN
            change_password(session, FIRST, SECOND)
            session.logout()
        wait_until_locked(vm)
        with shell.ssh(vm, NAME, SECOND) as session:
            assert session.do(LETTER) == LETTER_SHOWN
            session.logout()
        wait_until_locked(vm)

        # The password is lost: the administrator sets another one, which does not open the home; the recovery key does.
        vm.run("chpasswd", stdin=f"{NAME}:{THIRD}\n")
        with by_key(vm, key, recovery.upper().replace("-", " ")) as session:
            assert session.do(LETTER) == LETTER_SHOWN
            session.logout()
        wait_until_locked(vm)
        answers = ((r"[Pp]assword.*: ?$", recovery), (r"[Nn]ew password.*: ?$", THIRD), (r"again.*: ?$", THIRD))
        root.converse(f"pyhome passwd --home-only {NAME}", *answers)
        with shell.ssh(vm, NAME, THIRD) as session:
            assert session.do(LETTER) == LETTER_SHOWN
            session.logout()
        wait_until_locked(vm)
        assert "opens the home" in root.converse(f"pyhome recovery test {NAME}", (r"[Rr]ecovery key.*: ?$", recovery))

        root.converse(f"pyhome decrypt {NAME}", (QUESTION, "y"), (r"Password of the home of lovelace: ?$", THIRD))
        root.do(f"pyhome confirm --yes {NAME} && pyhome shell disable --yes {NAME} && pyhome sshd revert --yes")
        root.do("apt-get purge -y pyhome", 300)

    assert etc(vm) == before
    assert kept(vm) == others
    for session in (shell.ssh(vm, NAME, THIRD), shell.ssh_by_key(vm, NAME, key)):
        with session:
            assert session.do(LETTER) == LETTER_SHOWN
            session.logout()
