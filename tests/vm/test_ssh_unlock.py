"""Keys outside the home, with sshd under systemd; the home's password asked for after the key; edits that come in at logout."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
import pytest

from tests.vm import people, shell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.vm.people import Person
    from tests.vm.shell import Shell
    from tests.vm.vm import VM

ASKED = "The encrypted home of ada is locked. Password: "
REFUSED = 255


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two keys of ada's client."""
    made = []
    for name in ("first", "second"):
        made.append(tmp_path_factory.mktemp("keys") / name)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(made[-1])], check=True)
    return made[0], made[1]


@pytest.fixture
def laid_out(vm: VM, ada: Person, keys: tuple[Path, Path]) -> Iterator[Person]:
    """Ada, who has put the first key into her home, and a layout that holds it."""
    with shell.ssh(vm, ada.name, ada.password) as session:
        put_keys(session, keys[0])
        said = vm.out("pyhome sshd apply --yes")
        assert "ssh.service has read its configuration again" in said
        assert "/etc/ssh/authorized_keys.d/ada answers, with 1 keys" in said
        session.logout()
    ada.wait_until_locked()
    yield ada
    ada.end_all()
    vm.run("pyhome sshd revert --yes", check=False)


def put_keys(session: Shell, *keys: Path) -> None:
    """What ssh-copy-id does, or an editor."""
    lines = "".join(key.with_suffix(".pub").read_text() for key in keys)
    session.do(f"mkdir -p -m 700 .ssh; cat > .ssh/authorized_keys <<'END'\n{lines}END")


def words(vm: VM, key: Path, *options: str) -> list[str]:
    """What ssh, scp and sftp need to get there."""
    given = vm.ssh("ada", "-i", str(key), *(word for option in options for word in ("-o", option)))[1:-1]
    given[given.index("-p") : given.index("-p") + 2] = ["-o", f"Port={vm.qemu.port}"]
    return given


def run(vm: VM, key: Path, *options: str) -> tuple[int, str]:
    """A command over ssh where nobody can be asked; its exit status and all that was said."""
    command = ["setsid", "-w", "ssh", *words(vm, key, *options), "ada@127.0.0.1", "cat letter; echo ran"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def lets_in(vm: VM, key: Path) -> bool:
    """Whether the key is enough for a login."""
    return "ran" in run(vm, key, "BatchMode=yes")[1]


def on_terminal(vm: VM, *argv: str) -> Shell:
    """A program of the client on a terminal."""
    return shell.Shell(vm, shell.spawn(argv))


def ended(session: Shell) -> int:
    """Wait for the end; the exit status."""
    session.expect(pexpect.EOF)
    session.terminal.close()
    return int(session.terminal.exitstatus or 0)


def test_the_layout_from_apply_to_revert(vm: VM, laid_out: Person, keys: tuple[Path, Path], cursor: str) -> None:
    first, second = keys
    assert lets_in(vm, first)
    assert not laid_out.is_open()
    with shell.ssh(vm, "ada", laid_out.password) as session:
        put_keys(session, second)
        # The session lasts, and the key that was taken out is of no use any more.
        vm.wait_for(lambda: lets_in(vm, second) and not lets_in(vm, first), "the keys are carried to the layout", 60)
        # So it is pyhomed, with the few rights that systemd leaves it, which locks the home.
        vm.run("pkill -KILL -f '[s]shd.*: ada'; pkill -KILL -u ada", check=False)
        laid_out.wait_until_locked()
    journal = vm.journal(cursor)
    assert "pyhome-sync" in journal
    assert "the layout for sshd has the keys as they are now: /etc/ssh/authorized_keys.d/ada" in journal
    assert lets_in(vm, second)
    assert not lets_in(vm, first)
    assert "FAIL" not in vm.out("pyhome sshd check ada").upper()
    vm.run("pyhome sshd revert --yes")
    assert not lets_in(vm, second)
    assert not vm.ok("ls /etc/ssh/authorized_keys.d /etc/ssh/sshd_config.d/0-pyhome.conf")


@pytest.mark.guarantee(5)
@pytest.mark.one_release("trixie")
def test_keys_do_not_outlive_their_account(vm: VM, laid_out: Person, keys: tuple[Path, Path]) -> None:
    """A name, and the number that goes with it, are given to somebody else; nobody runs pyhome."""
    assert laid_out.name == "ada"
    vm.run("useradd --create-home --shell /bin/sh zoe && install -d -m 700 -o zoe -g zoe /home/zoe/.ssh")
    vm.put(keys[0].with_suffix(".pub"), "/home/zoe/.ssh/authorized_keys")
    vm.run("chown zoe: /home/zoe/.ssh/* && pyhome sshd sync --yes zoe && test -e /etc/ssh/authorized_keys.d/zoe")
    uid = vm.out("id -u zoe")
    vm.run(f"userdel --remove zoe && useradd --create-home --shell /bin/sh --uid {uid} zoe")
    vm.wait_until("! test -e /etc/ssh/authorized_keys.d/zoe", 60)
    # A home without encryption has no session of ours: a key that is taken out of it goes within a minute.
    vm.run("install -d -m 700 -o zoe -g zoe /home/zoe/.ssh")
    vm.put(keys[0].with_suffix(".pub"), "/home/zoe/.ssh/authorized_keys")
    vm.run("chown zoe: /home/zoe/.ssh/* && pyhome sshd sync --yes zoe && test -e /etc/ssh/authorized_keys.d/zoe")
    vm.run("rm -r /home/zoe/.ssh")
    vm.wait_until("! test -e /etc/ssh/authorized_keys.d/zoe", 100)
    vm.run("userdel --remove zoe", check=False)


@pytest.mark.one_release("trixie")
def test_a_busy_home_is_synced_once(vm: VM, laid_out: Person, keys: tuple[Path, Path], cursor: str) -> None:
    """What is left running keeps the home open; pyhomed tries to lock it again and again, and syncs when sessions end."""
    with shell.ssh(vm, "ada", laid_out.password) as session:
        session.do("nohup sleep 600 >/dev/null 2>&1 </dev/null &")
        put_keys(session, *keys)
        session.logout()
    vm.wait_for(lambda: lets_in(vm, keys[1]), "the second key has reached the layout", 60)
    vm.wait_until("journalctl --sync; journalctl -b -t pyhomed | grep -q 'cwd /home/ada'")
    assert laid_out.is_open()
    assert vm.journal(cursor).count("as they are now") == 1
    vm.run("pkill -u ada sleep")
    laid_out.wait_until_locked(60)


@pytest.mark.one_release("bookworm")
def test_sftp_and_scp_unlock(vm: VM, laid_out: Person, keys: tuple[Path, Path], tmp_path: Path, cursor: str) -> None:
    (tmp_path / "here").write_text("content")
    said = vm.run("pyhome sshd apply --yes --unlock-at-login")
    assert "BatchMode" in said.err
    copier = on_terminal(vm, "scp", *words(vm, keys[0]), str(tmp_path / "here"), "ada@127.0.0.1:there")
    for answer in ("wrong", laid_out.password):
        copier.expect(ASKED)
        copier.terminal.sendline(answer)
    assert ended(copier) == 0
    laid_out.wait_until_locked()
    getter = on_terminal(vm, "sftp", *words(vm, keys[0]), "ada@127.0.0.1:there", str(tmp_path / "back"))
    getter.expect(ASKED)
    getter.terminal.sendline(laid_out.password)
    assert ended(getter) == 0
    assert (tmp_path / "back").read_text() == "content"
    laid_out.wait_until_locked()
    assert laid_out.leases() == []
    assert vm.out("grep pyhome:opened: /proc/keys | grep -v expd || true") == ""
    assert laid_out.password not in vm.journal(cursor)
    code, said_to_scripts = run(vm, keys[0], "BatchMode=yes")
    assert (code, "keyboard-interactive" in said_to_scripts) == (REFUSED, True)


@pytest.mark.one_release("trixie")
@pytest.mark.guarantee(19)
def test_an_open_home_asks_nothing_and_without_a_key_nothing_is_gained(vm: VM, laid_out: Person, keys: tuple[Path, Path]) -> None:
    vm.run("pyhome sshd apply --yes --unlock-at-login; pyhome shell enable --yes ada")
    session = on_terminal(vm, "ssh", "-tt", *words(vm, keys[0]), "ada@127.0.0.1")
    session.expect(ASKED)
    session.terminal.sendline(laid_out.password)
    # The login shell finds the home open, and does not ask again.
    session.expect([shell.SHELL_PROMPT])
    session.settle()
    assert session.do("cat letter; echo $0") == f"{people.LETTER}\n-bash"
    assert run(vm, keys[0]) == (0, f"{people.LETTER}\nran\n")
    code, said = run(vm, keys[0], "PubkeyAuthentication=no", "PreferredAuthentications=keyboard-interactive")
    assert code == REFUSED
    assert "Permission denied" in said
    assert "ran" in root_by_key(vm)
    session.logout()
    laid_out.wait_until_locked()
    # What removing the package does first.
    vm.run("(sed '/pam-auth-update/,$d' /var/lib/dpkg/info/pyhome.prerm; echo fi) > /root/prerm; sh -e /root/prerm remove")
    assert vm.out("getent passwd ada").endswith(":/bin/bash")
    assert vm.run("grep ssh-unlock /etc/pam.d/sshd; ls /etc/ssh/sshd_config.d/0-pyhome.conf", check=False).out == ""
    assert not lets_in(vm, keys[0])


def root_by_key(vm: VM) -> str:
    """Root's key goes on being enough, on a connection of its own."""
    command = [*vm.ssh("root", "-i", str(vm.image / "key"), "-o", "BatchMode=yes", "-o", "ControlPath=none"), "echo ran"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120).stdout
