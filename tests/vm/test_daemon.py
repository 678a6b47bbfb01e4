"""pyhomed as systemd runs it: how far it is confined, that all works so, and that nothing with a password leaves a core."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pam_pyhome import events
from tests.vm import people, shell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.people import Person
    from tests.vm.vm import VM

MOST_EXPOSED = 4.0
PASSWORD_IN_PARTS = "the-answer-that", "is-in-no-core"
CATCH = r"""#!/bin/sh
exec cat > /var/tmp/core.$1
"""
STRIKE = """
for n in $(seq 200); do
    p=$(pgrep -n "$@") && sleep 0.5 && kill -QUIT $p && echo killed && exit
    sleep 0.05
done
"""
# Dies of a signal while it has an answer in memory, before and after identities have been lent and taken back.
DIE = """
import os, sys
sys.path.insert(0, '/usr/lib/pyhome')
from pam_pyhome.kernel.process import protect_memory, real_user, rights_of, signal_as
if sys.argv[1] != 'nothing':
    protect_memory()
secret = '-'.join(sys.argv[2:])
if sys.argv[1] == 'rights_of':
    with rights_of(1000, 1000):
        os.abort()
if sys.argv[1] == 'after':
    with rights_of(1000, 1000):
        pass
    with real_user(1000):
        pass
    signal_as(65000, os.getppid(), 0)
if sys.argv[1] == 'child':
    os.execl('/bin/sh', 'sh', '-c', 'answer=$0-$1; kill -ABRT $$', *sys.argv[2:])
os.abort()
"""
HOST = """
import ctypes
libc, libpam = ctypes.CDLL(None), ctypes.CDLL('libpam.so.0')
class Conversation(ctypes.Structure):
    _fields_ = [('conv', ctypes.c_void_p), ('data', ctypes.c_void_p)]
handle = ctypes.c_void_p()
assert libpam.pam_start(b'su', b'%s', ctypes.byref(Conversation()), ctypes.byref(handle)) == 0
libc.prctl(4, 0, 0, 0, 0)
assert libpam.pam_open_session(handle, 0) == 0
print(libc.prctl(3, 0, 0, 0, 0))
libpam.pam_close_session(handle, 0)
"""


@pytest.fixture
def piped_cores(vm: VM) -> Iterator[None]:
    """As systemd-coredump sets a machine up: programs that change their user leave cores, and a program gets them."""
    before = vm.out("cat /proc/sys/fs/suid_dumpable /proc/sys/kernel/core_pattern").splitlines()
    vm.write("/usr/local/bin/catch", CATCH)
    vm.run("chmod 755 /usr/local/bin/catch; sysctl -q fs.suid_dumpable=2 kernel.core_pattern='|/usr/local/bin/catch %p'")
    yield
    vm.run(f"rm -f /var/tmp/core.*; sysctl -q fs.suid_dumpable={before[0]} kernel.core_pattern='{before[1]}'")


def cores_with(vm: VM, secret: str) -> str:
    """The cores that have a text in them."""
    return vm.out(f"sleep 1; grep -l -e '{secret}' /var/tmp/core.* 2>/dev/null || true")


@pytest.mark.guarantee(8)
@pytest.mark.one_release("bookworm")
def test_no_core_has_an_answer_in_it(vm: VM, piped_cores: None) -> None:
    secret = "-".join(PASSWORD_IN_PARTS)
    vm.write("/root/die.py", DIE)
    vm.run(f"sh -c 'python3 -IB /root/die.py nothing {' '.join(PASSWORD_IN_PARTS)}'", check=False)
    assert cores_with(vm, secret), "the way it would look"
    vm.run("rm /var/tmp/core.*")
    for place in ("plain", "rights_of", "after", "child"):
        vm.run(f"sh -c 'python3 -IB /root/die.py {place} {' '.join(PASSWORD_IN_PARTS)}'", check=False)
        assert vm.out("sleep 1; find /var/tmp -name 'core.*' -size +8k") == "", place
        assert not cores_with(vm, secret), place


@pytest.mark.guarantee(8)
@pytest.mark.one_release("bookworm")
def test_workers_and_conversations_that_are_killed_leave_no_core(vm: VM, ada: Person, piped_cores: None) -> None:
    """The worker that waits for the session, and pyhomed's child between a wrong answer and the next."""
    vm.write("/root/strike", STRIKE)
    vm.run("setsid sh /root/strike -f pyhome-worker > /run/killed 2>&1 < /dev/null &")
    code, _ = shell.ssh_run(vm, ada.name, ada.password, "true")
    assert code == 0
    assert "killed" in vm.out("cat /run/killed")
    assert not cores_with(vm, ada.password)
    vm.run(f"su {ada.name} -c 'pyhome status'")
    main = vm.out("systemctl show -p MainPID --value pyhomed")
    vm.write("/tmp/answer", f"{'-'.join(PASSWORD_IN_PARTS)}\n")
    vm.run("chmod 644 /tmp/answer")
    ask = f"su {ada.name} -c 'pyhome unlock --password-file /tmp/answer'"
    vm.run(f"sh /root/strike -P {main} > /run/killed & {ask}; wait", check=False)
    assert "killed" in vm.out("cat /run/killed")
    assert not cores_with(vm, "-".join(PASSWORD_IN_PARTS))
    assert vm.ok("systemctl is-active pyhomed.service")


@pytest.mark.one_release("bookworm")
def test_a_host_that_forbids_cores_forbids_them_afterwards(vm: VM, ada: Person, piped_cores: None) -> None:
    vm.write("/root/host.py", HOST % ada.name)
    assert vm.out("python3 -IB /root/host.py").splitlines()[-1] == "0"


@pytest.mark.both_backends
@pytest.mark.each_release
def test_confined_and_everything_works(vm: VM, ada: Person) -> None:
    """Where the system's mounts are, with no more exposure than there has to be: unlocked, changed and locked by pyhomed."""
    new = "another one, 4711"
    with shell.ssh(vm, ada.name, ada.password) as session:
        session.do("cd /; pyhome lock")
        main = vm.out("systemctl show -p MainPID --value pyhomed")
        assert vm.out(f"readlink /proc/{main}/ns/mnt") == vm.out("readlink /proc/1/ns/mnt")
        assert f"{main}: 1 " in vm.out(f"echo {main}: $(awk '/^Seccomp:/ {{print $2 / 2}}' /proc/{main}/status) .")
        session.do(f"echo '{ada.password}' | pyhome unlock --password-file -")
        assert session.do("cd; cat letter") == people.LETTER
        session.do(f"printf '{ada.password}\\n{new}\\n' | pyhome passwd --home-only --password-file -")
        session.do("cd /; pyhome lock")
        session.do(f"echo '{new}' | pyhome unlock --password-file -")
        session.do(f"printf '{new}\\n{ada.password}\\n' | pyhome passwd --home-only --password-file -")
        session.do("cd; sleep 300 &")
        assert "sleep" in session.try_("cd /; pyhome lock --wait 1")[1]
        session.do("kill %1")
        session.logout()
    ada.wait_until_locked()
    exposure = vm.out("systemd-analyze security --no-pager pyhomed.service | sed -n 's/.*exposure level for [^:]*: //p'")
    assert float(exposure.split()[0]) <= MOST_EXPOSED


@pytest.mark.one_release("trixie")
def test_the_journal_has_a_record_for_each_event(vm: VM, ada: Person, cursor: str) -> None:
    """As `journalctl -o json` shows them; the catalog explains them."""
    with shell.ssh(vm, ada.name, ada.password) as session:
        session.logout()
    ada.wait_until_locked()
    vm.run(f"echo wrong | su {ada.name} -c 'pyhome unlock --password-file -'", check=False)
    lines = vm.out(f"journalctl --sync; journalctl -q -o json --after-cursor='{cursor}' USER={ada.name} _UID=0").splitlines()
    records = [record for record in map(json.loads, lines) if record["PRIORITY"] < "6"]
    found = [record["PYHOME_WHAT"] for record in records if record["PYHOME_WHAT"] != "guest-refused"]
    assert found == ["unlocked", "locked", "starts-locked", "wrong-password"], "starts-locked: root's su"
    assert [records[0]["SYSLOG_IDENTIFIER"], records[0]["PYHOME_SERVICE"]] == ["pam_pyhome", "sshd"]
    opened = records[0]
    whose = {"USER": ada.name, "UID": str(ada.uid), "HOME": ada.home}
    assert opened.items() >= whose.items() | {("MESSAGE_ID", events.UNLOCKED.id)}
    assert opened["MESSAGE"] == f"sshd: user {ada.name}: opened the home"
    assert "A home was opened" in vm.out(f"journalctl -q -x MESSAGE_ID={events.UNLOCKED.id}")
