"""eCryptfs homes in places of their own, with the real pam_ecryptfs beside ours: whatever it opens, we open, and lock again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.vm.people import LETTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.people import Person
    from tests.vm.vm import VM

pytestmark = pytest.mark.one_release("trixie")

STACK = """
auth required pam_unix.so
auth optional {module} unwrap
account required pam_permit.so
session required pam_keyinit.so force revoke
session optional {module} unwrap
session optional pam_exec.so quiet type=open_session /root/look
"""
LOOK = '#!/bin/sh\ncat "$(getent passwd "$PAM_USER" | cut -d: -f6)/letter" >/root/seen 2>&1\n'

RENAME = "usermod -l old -d /home/old -m ada; groupmod -n old ada; echo /home/old >/home/.ecryptfs/ada/.ecryptfs/Private.mnt"
RENAME_BACK = "usermod -l ada -d /home/ada old; groupmod -n ada old; rm -rf /home/old /home/.ecryptfs/old"
RELINK = "for name in .ecryptfs .Private; do ln -sfn /home/.ecryptfs/old/$name /home/old/$name; done"

COPY = "cp -a /home/.ecryptfs/ada /home/.ecryptfs/old; chown -R 1:1 /home/.ecryptfs/ada"
DISK = """
mkdir -p /srv/disk; mount -t tmpfs disk /srv/disk; mv /home/.ecryptfs/ada/.Private /srv/disk/lower
chmod u+w /home/ada; ln -sfn /srv/disk/lower /home/ada/.Private
"""
GROUP = """
groupadd -f team; usermod -aG team ada; mkdir -m 710 /home/team; chgrp team /home/team; mv /home/ada /home/team/ada
usermod -d /home/team/ada ada; echo /home/team/ada >/home/.ecryptfs/ada/.ecryptfs/Private.mnt
"""
HOARD = "runuser -u ada -- sh -c 'n=0; while keyctl add user hoard$n x @u; do n=$((n+1)); done' >/dev/null 2>&1; true"

#: What is done to the home of ada, what undoes it beyond its reset, who has it then, and whether pam_ecryptfs opens it.
#: The links inside an open home stay those of its former name: of a storage that is there, of none, and of another user's.
LAYOUTS = {
    "as it was": ("true", "true", "ada", True),
    "renamed": (RENAME, RENAME_BACK, "old", True),
    "renamed, with its storage": (f"{RENAME}; mv /home/.ecryptfs/ada /home/.ecryptfs/old; {RELINK}", RENAME_BACK, "old", True),
    "a copy": (f"{RENAME}; {COPY}; {RELINK}", RENAME_BACK, "old", True),
    "ciphertext on another disk": (DISK, "umount /srv/disk", "ada", True),
    "by a group": (GROUP, "usermod -d /home/ada -G '' ada; rm -rf /home/team", "ada", False),
    "no quota of keys left": (HOARD, "runuser -u ada -- keyctl clear @u", "ada", False),
}


@pytest.fixture
def services(vm: VM) -> Iterator[None]:
    """Services with one of the modules each, which look into the home when it should be open."""
    vm.write("/root/look", LOOK)
    vm.run("chmod 755 /root/look")
    for name, module in (("theirs", "pam_ecryptfs.so"), ("ours", "pam_pyhome.so")):
        vm.write(f"/etc/pam.d/{name}", STACK.format(module=module))
    yield
    vm.run("rm /etc/pam.d/theirs /etc/pam.d/ours")


def seen(vm: VM, service: str, user: str, password: str) -> str:
    """What is in the letter while a session of the service is open."""
    steps = "authenticate open_session close_session"
    # pam_ecryptfs leaves a process behind that keeps its standard output open for five minutes.
    command = f"rm -f /root/seen; keyctl session - pamtester {service} {user} {steps} >/root/said 2>&1"
    vm.run(f"{command}; pkill -KILL -u {user}", stdin=f"{password}\n", check=False)
    return vm.out("cat /root/seen")


def test_whatever_pam_ecryptfs_opens_opens(vm: VM, ada: Person, services: None) -> None:
    assert services is None
    for layout, (do, undo, user, theirs) in LAYOUTS.items():
        vm.run(f"set -e; {do}")
        assert (seen(vm, "theirs", user, ada.password) == LETTER) is theirs, layout
        vm.run(f"umount ~{user}; rm -f /dev/shm/ecryptfs-{user}-*", check=False)
        assert seen(vm, "ours", user, ada.password) == LETTER, layout
        # Where pam_keyinit fails for the same quota, pamtester never closes the session, and pyhomed locks the home.
        vm.wait_until("! grep ' ecryptfs ' /proc/mounts")
        unlocked = vm.run(f"pyhome unlock --password-file - {user}", stdin=f"{ada.password}\n")
        assert vm.out(f"cat ~{user}/letter") == LETTER, (layout, unlocked)
        vm.run(f"pyhome lock {user}")
        assert not vm.ok("grep ' ecryptfs ' /proc/mounts"), layout
        vm.run(undo)
        ada.reset()
