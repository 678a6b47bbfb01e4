"""The forwarded agent of an OpenSSH that puts the socket into the home: from 10.1 on, here Debian unstable's with its Python."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.packaging.chroot import OPENSSH, cached_root
from tests.stub.place import BASH, RIGHT, STATUS_LOCKED, Place, ended, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pam.harness import Build

SUITE = "sid"
LISTED = r"256 SHA256:\S+ .*\(ED25519\)"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory, build: Build) -> Iterator[Place]:
    """A machine of that release; ada has the login shell as an administrator gives it."""
    with Place(tmp_path_factory.mktemp("there"), build, cached_root(SUITE, OPENSSH, "openssh")) as place:
        place.set_shell("ada", BASH)
        place.machine.run(["add-shell", "/usr/lib/pyhome/pyhome-shell"])
        place.machine.run(["/usr/bin/python3", "-I", "/usr/bin/pyhome", "shell", "enable", "--yes", "ada"])
        place.sshd()
        place.broker()
        yield place
        assert eventually(lambda: place.stubs() == [])


@pytest.fixture(scope="module")
def agent(there: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of an agent on this side, with one key in it."""
    socket = tmp_path_factory.mktemp("agent") / "socket"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as process:
        try:
            assert eventually(socket.exists)
            environment = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
            subprocess.run(["ssh-add", "-q", str(there.base / "key")], env=environment, check=True)
            yield socket
        finally:
            process.terminate()


def test_it_works_before_and_after_the_unlock_and_in_the_open_home(there: Place, agent: Path) -> None:
    """One story, because the home opens in the middle of it."""
    assert "OpenSSH_10" in there.machine.run(["/bin/sh", "-c", "ssh -V 2>&1"])
    there.machine.configure("locked_command = plain\n")
    before = there.ssh("ada", "echo $SSH_AUTH_SOCK; ssh-add -l", agent=agent)
    assert before.out.startswith(b"/home/ada/.ssh/agent/")
    assert b"ED25519" in before.out
    there.machine.configure("locked_command = fail\n")
    assert there.ssh("ada", "true").status == STATUS_LOCKED

    first = there.ssh_terminal("ada", agent=agent)
    first.expect("Passphrase.*: ")
    first.sendline(RIGHT)
    first.expect(r"\$ ")
    first.sendline("ssh-add -l; echo $SSH_AUTH_SOCK; pwd; ls -A; sh -c 'setsid -w ssh-add -l'; echo do''ne")
    first.expect(LISTED)
    first.expect(r"/proc/\d+/fd/\d+/s\.")
    first.expect(LISTED)
    first.expect("done\r\n")

    second = there.ssh_terminal("ada", "ssh-add -l; echo $SSH_AUTH_SOCK", agent=agent)
    assert ended(second) == 0
    assert "ED25519" in second.before
    assert "/home/ada/.ssh/agent/" in second.before

    first.sendline("exit 0")
    assert ended(first) == 0


def test_sockets_of_sessions_that_have_ended_do_not_pile_up(there: Place, agent: Path) -> None:
    """Sshd cannot remove the socket of a session that opened the home: its path leads elsewhere by then."""
    there.machine.run(["umount", "/home/ada"], status=None)
    directory = there.machine.path("/home/ada/.ssh/agent")
    for _ in range(3):
        there.ssh("ada", "true", agent=agent)
    time.sleep(1)
    assert len(list(directory.iterdir())) <= 1
