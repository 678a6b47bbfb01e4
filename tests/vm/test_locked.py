"""What pyhome says is locked is locked, for the kernel: whatever is mounted where, and whoever has a copy of the mount or hangs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell

if TYPE_CHECKING:
    from tests.vm.conftest import Maker
    from tests.vm.people import Person
    from tests.vm.vm import VM

pytestmark = [pytest.mark.guarantee(2), pytest.mark.one_release("trixie")]

LOCKED = "locked the home"
# A neighbour in name spaces of their own, who has the mount, a file open, and has read another.
SPY = """
exec 9<{home}/held
cat {home}/seen >/dev/null
echo ready >/tmp/spy.ready
while sleep 0.3; do
  test -e /tmp/spy.ask || continue
  for file in seen unseen; do cat {home}/$file; done >/tmp/spy.new 2>/dev/null
  rm -f /tmp/spy.ask; mv /tmp/spy.new /tmp/spy.said
done
"""


def spied(vm: VM) -> str:
    """What the neighbour can read now."""
    vm.run("rm -f /tmp/spy.said; install -m 666 -o neighbour /dev/null /tmp/spy.ask")
    vm.wait_until("test -e /tmp/spy.said")
    return vm.out("cat /tmp/spy.said")


def test_a_copy_of_the_mount_in_another_name_space(vm: VM, ada: Person, cursor: str) -> None:
    """It opens nothing any more, and as long as it is there, nobody says that the home is locked."""
    people.neighbour(vm)
    vm.write("/tmp/spy", SPY.format(home=ada.home))
    with shell.ssh(vm, ada.name, ada.password) as session:
        session.do("echo 1 >seen; echo 2 >unseen; echo 3 >held; chmod 644 seen unseen held; chmod 755 .; sync")
        vm.run("chmod 755 /tmp/spy; runuser -u neighbour -- setsid unshare -Urm sh /tmp/spy >/dev/null 2>&1 </dev/null &")
        vm.wait_until("test -e /tmp/spy.ready")
        assert spied(vm) == "1\n2"
        session.logout()
    ada.wait_until_locked()
    vm.wait_for(lambda: "in another mount name space" in vm.journal(cursor), "the log says who has it")
    assert spied(vm) == ""
    assert LOCKED not in vm.journal(cursor)
    assert "partly locked" in vm.out(f"pyhome inspect {ada.name}")
    assert vm.run(f"pyhome lock {ada.name}", check=False).code == 16
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat letter") == people.LETTER
        assert spied(vm) == ""
        session.logout()
    ada.wait_until_locked()
    assert LOCKED not in vm.journal(cursor)
    vm.run("pkill -KILL -u neighbour; rm -f /tmp/spy*")
    vm.wait_for(lambda: LOCKED in vm.journal(cursor), "the home is locked")
    assert vm.out(f"pyhome inspect {ada.name} --json | grep -c '\"locked\"'") == "1"
    assert not vm.ok(f"test -e /run/pyhome/{ada.uid}/open")
    assert "user      " not in vm.out(f"grep {ada.signatures()[0]} /proc/keys || true")


def test_something_is_mounted_over_the_home(vm: VM, ada: Person, cursor: str) -> None:
    with shell.ssh(vm, ada.name, ada.password) as session:
        session.do("cd /")
        vm.run(f"mount -t tmpfs tmpfs {ada.home}")
        session.logout()
    vm.wait_for(lambda: f"{ada.home} is mounted in it (tmpfs)" in vm.journal(cursor), "the log says what is in the way")
    assert ada.is_open()
    assert LOCKED not in vm.journal(cursor)
    assert "open" in vm.out(f"pyhome inspect {ada.name}")
    assert vm.run(f"pyhome lock {ada.name}", check=False).code == 16
    vm.run(f"umount {ada.home}")
    ada.wait_until_locked()
    vm.wait_for(lambda: LOCKED in vm.journal(cursor), "the home is locked")


def test_the_mount_point_has_another_path_by_now(vm: VM, new_user: Maker, cursor: str) -> None:
    bob = new_user("private")
    vm.run(f"mkdir {bob.home}/x; mv {bob.home}/Private {bob.home}/x; chown {bob.name}: {bob.home}/x")
    vm.run(f"echo {bob.home}/x/Private > {bob.home}/.ecryptfs/Private.mnt")
    with shell.ssh(vm, bob.name, bob.password) as session:
        assert session.do("cat x/Private/letter") == people.LETTER
        session.do("mv x y")
        with shell.ssh(vm, bob.name, bob.password) as second:
            assert second.do("cat y/Private/letter") == people.LETTER
            second.logout()
        assert "open" in vm.out(f"pyhome inspect {bob.name}")
        session.logout()
    vm.wait_until(f"! grep -q '{bob.home}.*ecryptfs' /proc/mounts")
    vm.wait_for(lambda: LOCKED in vm.journal(cursor), "the home is locked")


def test_a_bind_mount_by_root_and_a_home_that_was_unmounted_lazily(vm: VM, ada: Person, cursor: str) -> None:
    with shell.ssh(vm, ada.name, ada.password) as session:
        vm.run(f"mount --bind {ada.home} /mnt")
        session.do("cd /")
        session.logout()
    vm.wait_until("! grep -q ecryptfs /proc/mounts")
    with shell.ssh(vm, ada.name, ada.password) as session:
        session.do(f"cd /; setsid sh -c 'exec 5<{ada.home}/letter; sleep 8' >/dev/null 2>&1 </dev/null &")
        session.do("sleep 1")
        vm.run(f"umount -l {ada.home}")
        session.logout()
    vm.wait_for(lambda: "is only partly locked" in vm.journal(cursor), "the log says so")
    vm.wait_for(lambda: not vm.ok(f"test -e /run/pyhome/{ada.uid}/open"), "the home is locked", 60)


@pytest.mark.both_backends
def test_a_neighbour_who_hangs_keeps_nobody(vm: VM, ada: Person, cursor: str) -> None:
    """Nobody can read which files their process has mapped."""
    vm.put(Path(__file__).parents[1] / "login/hang.py", "/tmp/hang.py")
    vm.run("setsid python3 /tmp/hang.py /mnt >/tmp/hang.out 2>&1 </dev/null &")
    vm.wait_until("read pid server </tmp/hang.out && test -d /proc/$pid && ! timeout 1 cat /proc/$pid/maps")
    try:
        with shell.ssh(vm, ada.name, ada.password) as session:
            session.do(f"cd /; setsid sh -c 'exec 7>>{ada.home}/held; sleep 6' >/dev/null 2>&1 </dev/null & sleep 1")
            session.logout()
        vm.wait_for(lambda: "stays open while it is busy: pid " in vm.journal(cursor), "the log names the holder")
        with shell.ssh(vm, ada.name, ada.password) as session:
            assert len(ada.leases()) == 1
            session.logout()
        ada.wait_until_locked(60)
    finally:
        # Not by its name: whoever looks for that in all command lines waits as well.
        vm.run("read pid server </tmp/hang.out; kill -KILL $server $pid; sleep 1; umount /mnt", check=False)
