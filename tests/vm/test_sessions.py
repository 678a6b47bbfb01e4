"""The home is open as long as a session of its owner is, whatever becomes of sessions, daemons and bystanders."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell

if TYPE_CHECKING:
    from tests.vm.people import Person
    from tests.vm.shell import Shell
    from tests.vm.vm import VM


UNIT = """\
[Service]
ExecStart=/bin/sh -c 'echo began > %h/began'
[Install]
WantedBy=default.target
"""


def privileged_process(session: Shell) -> int:
    """The pid of the process that holds the PAM handle of an ssh session: the ancestor of the shell that runs as root."""
    return int(session.do("ps -o ppid= -p $(ps -o ppid= -p $$)"))


def stays_open(person: Person, seconds: float = 3) -> bool:
    """Whether the home is open now and still is after a while."""
    if not person.is_open():
        return False
    time.sleep(seconds)
    return person.is_open()


@pytest.mark.both_backends
@pytest.mark.guarantee(2)
def test_a1_unlock_lock_relock(vm: VM, ada: Person) -> None:
    for turn in range(3):
        with shell.ssh(vm, ada.name, ada.password) as session:
            session.do(f"echo {turn} >> turns")
            session.logout()
        ada.wait_until_locked()
        assert vm.run(f"cat {ada.home}/turns", check=False).code != 0
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat turns").split() == ["0", "1", "2"]
        session.logout()


@pytest.mark.both_backends
@pytest.mark.parametrize("first_out", [0, 1])
@pytest.mark.guarantee(13)
def test_two_sessions_ended_in_either_order(vm: VM, ada: Person, first_out: int) -> None:
    sessions = [shell.ssh(vm, ada.name, ada.password) for _ in range(2)]
    assert len(ada.leases()) == 2
    sessions[first_out].logout()
    assert stays_open(ada)
    sessions[1 - first_out].do("cat letter")
    sessions[1 - first_out].logout()
    ada.wait_until_locked()
    assert ada.leases() == []


@pytest.mark.one_release("bookworm")
def test_console_and_ssh_share_one_home(vm: VM, ada: Person) -> None:
    with shell.Console(vm) as console:
        console.login(ada.name, ada.password)
        with shell.ssh(vm, ada.name, ada.password) as session:
            session.do("echo from ssh > note")
            assert console.do("cat note") == "from ssh"
            session.logout()
        assert stays_open(ada)
        console.do("cat note")
        console.logout()
    ada.wait_until_locked()


@pytest.mark.both_backends
def test_b17_a_killed_session_releases_the_home(vm: VM, ada: Person, cursor: str) -> None:
    """SIGKILL takes the process that would have closed the PAM session; the home is locked all the same, and the log says so."""
    with shell.ssh(vm, ada.name, ada.password) as session:
        vm.run(f"kill -KILL {privileged_process(session)}; pkill -KILL -u {ada.uid}")
        ada.wait_until_locked()
    assert "locked the home: the last session has ended" in vm.journal(cursor)
    assert ada.leases() == []


@pytest.mark.both_backends
def test_a_killed_session_leaves_the_home_to_the_other(vm: VM, ada: Person) -> None:
    with shell.ssh(vm, ada.name, ada.password) as victim, shell.ssh(vm, ada.name, ada.password) as survivor:
        vm.run(f"kill -KILL {privileged_process(victim)} {victim.do('echo $PPID $$')}")
        assert stays_open(ada)
        assert survivor.do("cat letter") == people.LETTER
        survivor.logout()
        ada.wait_until_locked()


@pytest.mark.both_backends
def test_a_dropped_connection_releases_the_home(vm: VM, ada: Person) -> None:
    session = shell.ssh(vm, ada.name, ada.password)
    session.hang_up()
    ada.wait_until_locked()


@pytest.mark.both_backends
@pytest.mark.parametrize("blow", ["restart", "kill -s KILL", "stop"])
@pytest.mark.guarantee(13)
def test_b3_pyhomed_struck_with_two_sessions_open(vm: VM, ada: Person, blow: str) -> None:
    """Closing one session keeps the home, closing both locks it, whatever happened to pyhomed between."""
    first, second = (shell.ssh(vm, ada.name, ada.password) for _ in range(2))
    vm.run(f"systemctl {blow} pyhomed.service")
    first.logout()
    assert stays_open(ada)
    assert second.do("cat letter") == people.LETTER
    second.logout()
    ada.wait_until_locked()


@pytest.mark.both_backends
def test_b3_pyhomed_killed_and_then_all_sessions(vm: VM, ada: Person) -> None:
    """Pyhomed comes back by itself and finds what it has to watch, so that even sessions that cannot close are noticed."""
    with shell.ssh(vm, ada.name, ada.password) as session:
        vm.run("systemctl kill -s KILL pyhomed.service")
        vm.wait_until("systemctl is-active pyhomed.service")
        vm.run(f"kill -KILL {privileged_process(session)}; pkill -KILL -u {ada.uid}")
        ada.wait_until_locked()


@pytest.mark.both_backends
@pytest.mark.guarantee(9)
def test_logging_in_needs_no_pyhomed(vm: VM, ada: Person) -> None:
    vm.run("systemctl stop pyhomed.socket pyhomed.service")
    try:
        with shell.ssh(vm, ada.name, ada.password) as session:
            assert session.do("cat letter") == people.LETTER
            session.logout()
        ada.wait_until_locked()
    finally:
        vm.run("systemctl start pyhomed.socket")


@pytest.mark.both_backends
def test_a_lingering_user_manager_does_not_keep_the_home_open(vm: VM, ada: Person) -> None:
    with shell.ssh(vm, ada.name, ada.password) as session:
        vm.run(f"loginctl enable-linger {ada.name}")
        session.logout()
    ada.wait_until_locked()
    assert vm.ok(f"systemctl is-active user@{ada.uid}.service")


@pytest.mark.both_backends
def test_sudo_and_cron_meanwhile_neither_keep_nor_take_the_home(vm: VM, ada: Person) -> None:
    vm.write(f"/etc/sudoers.d/{ada.name}", f"{ada.name} ALL=(ALL) NOPASSWD: ALL\n")
    with shell.ssh(vm, ada.name, ada.password) as session:
        for service in ("sudo true", "sudo -i true", f"sudo -u {ada.name} -i cat letter"):
            session.do(service)
            assert len(ada.leases()) == 1
        vm.run(f"pamtester cron {ada.name} open_session close_session")
        assert stays_open(ada, 1)
        session.do("sudo sh -c 'nohup sleep 1000 >/dev/null 2>&1 </dev/null & cd /'")
        session.logout()
    vm.run("pkill sleep", check=False)
    ada.wait_until_locked()


@pytest.mark.one_release("trixie")
def test_a11_b13_a_busy_home_is_locked_when_its_holder_ends_and_the_log_names_it(vm: VM, ada: Person, cursor: str) -> None:
    """A process with an open file outlives the session. The home stays open and usable for it; the log says who it is."""
    with shell.ssh(vm, ada.name, ada.password) as session:
        session.do("cd /")
        session.do(f"setsid sh -c 'exec 7>>{ada.home}/held; sleep 12; echo still writable >&7' >/dev/null 2>&1 </dev/null &")
        session.do("sleep 1")
        session.logout()
    vm.wait_for(lambda: f"uid {ada.uid})" in vm.journal(cursor), "the log names the holder")
    assert ada.is_open()
    assert f"{ada.home}/held" in vm.journal(cursor)
    ada.wait_until_locked(60)
    assert "locked the home" in vm.journal(cursor)
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat held") == "still writable"
        session.logout()


@pytest.mark.one_release("trixie")
def test_b12_what_is_left_running_keeps_its_home_and_is_reported(vm: VM, ada: Person, cursor: str) -> None:
    """Nohup and tmux: the documented policy is to keep the home open for what was left running there, and to say so."""
    with shell.ssh(vm, ada.name, ada.password) as session:
        session.do("nohup sleep 600 >/dev/null 2>&1 </dev/null &")
        session.logout()
    vm.wait_for(lambda: f"(sleep, uid {ada.uid}): cwd {ada.home}" in vm.journal(cursor), "the log names what was left running")
    assert stays_open(ada)
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()
    vm.run(f"pkill -u {ada.uid} sleep")
    ada.wait_until_locked(60)


@pytest.mark.one_release("trixie")
def test_a3_account_changes_while_locked_and_while_open(vm: VM, ada: Person) -> None:
    """Users stay in /etc/passwd: name, groups and shell can be changed at any time and need no open home."""
    vm.run(f"usermod -c 'Ada Lovelace' -s /bin/sh {ada.name}; groupadd -f engineers; usermod -aG engineers {ada.name}")
    assert not ada.is_open()
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("getent passwd $(id -un) | cut -d: -f5; readlink -f /proc/$$/exe; id -nG").split("\n") == [
            "Ada Lovelace",
            "/usr/bin/dash",
            f"{ada.name} engineers",
        ]
        vm.run(f"usermod -c 'Ada King' {ada.name}")
        assert session.do("cat letter") == people.LETTER
        session.logout()
    ada.wait_until_locked()
    assert "Ada King" in vm.out(f"getent passwd {ada.name}")


@pytest.mark.both_backends
def test_the_user_manager_starts_with_the_home_open(vm: VM, ada: Person) -> None:
    """A unit in the encrypted home runs at login: the home is there before ``systemd --user`` looks for it."""
    with shell.ssh(vm, ada.name, ada.password) as session:
        session.do("mkdir -p .config/systemd/user/default.target.wants; cd .config/systemd/user")
        session.do(f"cat > first.service <<'END'\n{UNIT}END")
        session.do("ln -s ../first.service default.target.wants/; cd")
        session.logout()
    ada.wait_until_locked()
    vm.wait_until(f"! systemctl is-active user@{ada.uid}.service", 60)
    with shell.ssh(vm, ada.name, ada.password) as session:
        vm.wait_for(lambda: session.try_("cat began")[0] == 0, "the unit from the home has run")
        session.logout()
