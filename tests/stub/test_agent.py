"""A forwarded agent whose socket is in the locked home, as OpenSSH from 10.1 on makes it: it works before and after."""

from __future__ import annotations

import os
import socket

import pytest

from tests.stub.place import ADA, RIGHT, STUB, Place, ended

SOCKET = "/home/ada/.ssh/agent/s.x1y2z3.sshd.abc"
LISTED = r"256 SHA256:\S+ .*\(ED25519\)"


@pytest.fixture
def agent(place: Place) -> Place:
    """Ada's agent with one key, at that place in the locked home."""
    directory = place.machine.path("/home/ada/.ssh/agent")
    directory.mkdir(parents=True)
    for path in (directory.parent, directory):
        path.chmod(0o700)
        os.chown(path, ADA, ADA)
    as_ada = ["/usr/bin/setpriv", f"--reuid={ADA}", f"--regid={ADA}", "--clear-groups"]
    place.start(*as_ada, "/bin/sh", "-c", f"echo ready; exec ssh-agent -D -a {SOCKET} >/dev/null")
    key = place.machine.path("/run/key")
    key.write_bytes((place.base / "key").read_bytes())
    key.chmod(0o600)
    os.chown(key, ADA, ADA)
    place.machine.run([*as_ada, "/bin/sh", "-c", f"sleep 1; SSH_AUTH_SOCK={SOCKET} ssh-add -q /run/key"])
    place.broker()
    return place


def test_it_is_reached_after_the_unlock_by_the_shell_and_what_it_starts(agent: Place) -> None:
    terminal = agent.terminal(f"ssh-add -l; exec {STUB}", {"SSH_AUTH_SOCK": SOCKET})
    terminal.expect(LISTED)
    terminal.expect("Passphrase.*: ")
    terminal.sendline(RIGHT)
    terminal.expect(r"\$ ")
    terminal.sendline("echo $SSH_AUTH_SOCK; sh -c 'setsid ssh-add -l'; setsid -w python3 -c 'import os; os.system(\"ssh-add -l\")'")
    terminal.expect(r"/proc/\d+/fd/\d+/s\.x1y2z3\.sshd\.abc\r\n")
    terminal.expect(LISTED)
    terminal.expect(LISTED)
    terminal.sendline("exec bash --norc")
    terminal.sendline("ssh-add -l; exit 3")
    terminal.expect(LISTED)
    assert ended(terminal) == 3


def test_it_keeps_nothing_busy(agent: Place) -> None:
    terminal = agent.terminal(f"exec {STUB}", {"SSH_AUTH_SOCK": SOCKET})
    terminal.expect("Passphrase.*: ")
    terminal.sendline(RIGHT)
    terminal.expect(r"\$ ")
    terminal.sendline("cd /; ssh-add -l")
    terminal.expect(LISTED)
    agent.machine.run(["umount", "/home/ada"])
    terminal.sendline("exit 0")
    ended(terminal)


def test_an_agent_elsewhere_is_left_alone(agent: Place) -> None:
    terminal = agent.terminal(f"exec {STUB} -c 'echo =$SSH_AUTH_SOCK=; ls /proc/self/fd'", {"SSH_AUTH_SOCK": "/tmp/elsewhere"})
    terminal.expect("Passphrase.*: ")
    terminal.sendline(RIGHT)
    terminal.expect("=/tmp/elsewhere=")
    assert ended(terminal) == 0
    assert "100" not in terminal.before


def test_a_login_that_finds_the_home_opened_meanwhile_reaches_it_too(agent: Place) -> None:
    """The home opens between sshd's steps and the shell: its working directory is the one below."""
    as_ada = f"exec setpriv --reuid={ADA} --regid={ADA} --clear-groups"
    script = f"cd /home/ada; mount -t tmpfs home .; SSH_AUTH_SOCK={SOCKET} {as_ada} /usr/bin/python3 -ISB /run/check"
    check = (
        "import os, sys\nsys.path[:0] = ['/usr/lib/pyhome']\n"
        "from pam_pyhome.shell_stub.agent import hold\n"
        "environment = {b'SSH_AUTH_SOCK': os.environb[b'SSH_AUTH_SOCK']}\n"
        "agent = hold(environment, b'/home/ada')\nos.chdir('/home/ada')\n"
        "os.environb[b'SSH_AUTH_SOCK'] = agent.reach(environment)[b'SSH_AUTH_SOCK']\n"
        "os.execv('/usr/bin/ssh-add', ['ssh-add', '-l'])\n"
    )
    agent.machine.path("/run/check").write_text(check, encoding="ascii")
    assert "(ED25519)" in agent.machine.run(["unshare", "--mount", "/bin/sh", "-c", script])


def test_sockets_that_sessions_left_behind_are_removed(agent: Place) -> None:
    """Only those on which nobody listens, and not those that may be in the making."""
    directory = agent.machine.path("/home/ada/.ssh/agent")
    os.utime(directory / os.path.basename(SOCKET), (1, 1))
    (directory / "file").touch()
    for name in ("stale", "new"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(directory / name))
    for name in ("stale", "file"):
        os.utime(directory / name, (1, 1))
    agent.machine.run(["chown", "-R", f"{ADA}:{ADA}", "/home/ada/.ssh"])
    terminal = agent.terminal(f"exec {STUB}", {"SSH_AUTH_SOCK": SOCKET})
    terminal.expect("Passphrase.*: ")
    assert sorted(path.name for path in directory.iterdir()) == ["file", "new", os.path.basename(SOCKET)]
    terminal.sendcontrol("c")
    assert ended(terminal) == 130
