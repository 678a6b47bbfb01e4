"""Full, read-only and slow disks: nobody is locked out, nothing is lost."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell
from tests.vm.test_passwords import NEW, passwd, state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.people import Person
    from tests.vm.vm import VM

pytestmark = pytest.mark.one_release("bookworm")

DISK = "/root/small-disk"


@contextlib.contextmanager
def disk_of_its_own(vm: VM, person: Person, *, slow: bool = False) -> Iterator[str]:
    """Move ciphertext and key files of a person to a small file system; its device may answer each read after 300 ms."""
    place = f"/home/.ecryptfs/{person.name}"
    vm.run(f"truncate -s 24M {DISK} && mkfs.ext4 -q -m 0 {DISK} && mkdir -p /mnt/disk && mount -o loop {DISK} /mnt/disk")
    vm.run(f"rmdir /mnt/disk/lost+found; cp -a {place}/. /mnt/disk/ && umount /mnt/disk && rm -r {place}/.[a-zA-Z]*")
    loop = vm.out(f"losetup -f --show {DISK}")
    device = loop
    if slow:
        vm.run(f'modprobe dm-delay; dmsetup create slow --table "0 $(blockdev --getsz {loop}) delay {loop} 0 300"')
        device = "/dev/mapper/slow"
    try:
        vm.run(f"mount {device} {place}; echo 3 > /proc/sys/vm/drop_caches")
        yield place
    finally:
        person.end_all()
        vm.run(f"umount {place}; dmsetup remove slow; losetup -d {loop}; rm {DISK}", check=False)


@pytest.mark.guarantee(10)
def test_b16_a_full_disk_does_not_keep_anybody_out_and_passwd_changes_nothing(vm: VM, ada: Person) -> None:
    with disk_of_its_own(vm, ada) as place:
        vm.run(f"dd if=/dev/zero of={place}/filler bs=64k; dd if=/dev/zero of={place}/rest bs=1; df {place}", check=False)
        with shell.ssh(vm, ada.name, ada.password) as session:
            assert session.do("cat letter") == people.LETTER
            before = state(vm, ada)
            code, said = passwd(session, ada.password, NEW)
            assert code != 0
            assert f"The key file of {ada.name}'s encrypted home cannot be written, so nothing was changed" in said
            assert state(vm, ada) == before
            vm.run(f"rm {place}/filler {place}/rest")
            assert passwd(session, ada.password, NEW)[0] == 0
            session.logout()
        ada.wait_until_locked()
        assert ada.opens_with(NEW)


@pytest.mark.guarantee(9)
def test_b16_a_full_system_disk_does_not_keep_anybody_out(vm: VM, ada: Person) -> None:
    vm.run("dd if=/dev/zero of=/filler bs=1M; dd if=/dev/zero of=/rest bs=1k", check=False, timeout=300)
    try:
        with shell.ssh(vm, ada.name, ada.password) as session:
            assert session.do("cat letter") == people.LETTER
            session.logout()
        ada.wait_until_locked()
    finally:
        vm.run("rm /filler /rest")


def test_b16_a_read_only_disk_opens_for_reading(vm: VM, ada: Person) -> None:
    with disk_of_its_own(vm, ada) as place:
        vm.run(f"mount -o remount,ro {place}")
        with shell.ssh(vm, ada.name, ada.password) as session:
            assert session.do("cat letter") == people.LETTER
            code, said = passwd(session, ada.password, NEW)
            assert code != 0
            assert "cannot be written, so nothing was changed" in said
            session.logout()
        ada.wait_until_locked()


def test_b16_a_slow_disk_only_makes_the_login_slow(vm: VM, ada: Person) -> None:
    with disk_of_its_own(vm, ada, slow=True), shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()
        ada.wait_until_locked(60)
