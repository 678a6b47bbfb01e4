"""A hostile local user: everything that can be set up before a login gains nothing and hinders nobody else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.people import Person
    from tests.vm.shell import Shell
    from tests.vm.vm import VM

pytestmark = pytest.mark.one_release("bookworm")

#: Python and shell files with names that careless root code would pick up; each leaves a mark if it is run.
TRAPS = (
    "python3", "sh", "mount", "umount", "keyctl", "os.py", "sys.py", "encodings/__init__.py", "sitecustomize.py",
    "pam_pyhome/__init__.py",
)  # fmt: skip


@pytest.fixture
def mallory(vm: VM) -> Iterator[Shell]:
    """A shell of a user who means ill, in a directory full of traps that leave /tmp/trapped."""
    if not vm.ok("id mallory"):
        people.add_user(vm, "mallory")
    with shell.ssh(vm, "mallory", people.PASSWORD) as session:
        session.do("rm -rf /tmp/traps /tmp/trapped; mkdir -p /tmp/traps/encodings /tmp/traps/pam_pyhome; cd /tmp/traps")
        for trap in TRAPS:
            line = 'open("/tmp/trapped", "a").write("x")' if trap.endswith(".py") else "#!/bin/bash\\necho x >> /tmp/trapped"
            session.do(f"printf '{line}\\n' > {trap}; chmod 755 {trap}")
        yield session
        session.do("/bin/rm -rf /tmp/traps /tmp/trapped")
        session.logout()


@pytest.mark.both_backends
@pytest.mark.guarantee(5)
def test_environment_limits_and_directory_of_the_caller_have_no_effect(vm: VM, ada: Person, mallory: Shell) -> None:
    """Under ``su``, the module runs as root in what the caller has prepared."""
    mallory.do("export PYTHONPATH=/tmp/traps PYTHONHOME=/tmp/traps PYTHONSTARTUP=/tmp/traps/os.py PYTHONINSPECT=1")
    mallory.do("export LD_LIBRARY_PATH=/tmp/traps LD_PRELOAD=/tmp/traps/os.py TMPDIR=/tmp/traps HOME=/tmp/traps IFS=/ LC_ALL=xx_YY")
    mallory.do("export PATH=/tmp/traps:/usr/bin:/bin; ulimit -f 0 -n 24 -c unlimited -t 20 -s 256 -l 0; umask 0; trap '' CHLD PIPE")
    inner = shell.su(mallory, ada.name, ada.password)
    assert inner.do("cat letter") == people.LETTER
    assert not vm.ok("test -e /tmp/trapped")
    assert vm.out(f"find /run/pyhome /var/lib/pyhome {ada.keyfiles} -perm /022 ! -type l ! -type s") == ""
    inner.logout()
    ada.wait_until_locked()
    assert vm.out("find / -xdev -name 'core*' -newer /etc/pyhome.conf -type f -size +64k -user root -path '*traps*'") == ""


@pytest.mark.both_backends
def test_closed_descriptors_do_not_confuse_the_module(vm: VM, ada: Person, mallory: Shell) -> None:
    """``su`` without standard descriptors: what the module opens must not be taken for one of them."""
    mallory.do(f"(exec 0<&- 1>&- 2>&-; su -l {ada.name} -c true); true")
    assert not ada.is_open()
    inside = shell.su(mallory, ada.name, ada.password)
    assert inside.do("cat letter") == people.LETTER
    inside.logout()
    ada.wait_until_locked()


@pytest.mark.guarantee(5)
def test_squatted_names_hinder_nobody(vm: VM, ada: Person, mallory: Shell) -> None:
    """Names that pam_ecryptfs and pyhome use or might use, taken beforehand in every place that everybody can write."""
    mallory.do(f"for n in '' $(seq -f -%g 1 60); do echo 7 > /dev/shm/ecryptfs-{ada.name}-Private$n; done")
    mallory.do(f"ln -s /etc/shadow /dev/shm/.ecryptfs-{ada.name}; mkdir -p /tmp/pyhome-{ada.uid}; ln -s /etc /tmp/.pyhome")
    for description in (*ada.signatures(), f"pyhome:opened:{ada.uid}:1"):
        mallory.do(f"keyctl add user '{description}' squatted @u; keyctl add user '{description}' squatted @s")
    assert mallory.try_("ls /run/pyhome")[0] != 0
    assert mallory.try_("ls /var/lib/pyhome")[0] != 0
    assert mallory.try_("mkdir /run/pyhome/1")[0] != 0
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()
    ada.wait_until_locked()
    inner = shell.su(mallory, ada.name, ada.password)
    assert inner.do("cat letter") == people.LETTER
    inner.logout()
    ada.wait_until_locked()
    vm.run("rm -f /dev/shm/ecryptfs-* /dev/shm/.ecryptfs-*")


def test_keys_of_the_same_name_in_the_owners_keyring_do_not_keep_the_home_shut(vm: VM, ada: Person) -> None:
    """A stale or forged key under the home's signature must neither be used nor stand in the way."""
    for signature in ada.signatures():
        vm.run(f"su {ada.name} -c 'cd /; keyctl add user {signature} forged @u' 2>&1")
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()


@pytest.mark.guarantee(5)
def test_the_socket_of_pyhomed_is_roots_alone(vm: VM, mallory: Shell) -> None:
    connect = "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect('/run/pyhomed.sock')"
    code, said = mallory.try_(f'/usr/bin/python3 -I -c "{connect}"')
    assert code != 0
    assert "PermissionError" in said


#: What the owner of a home, or malware with the owner's rights, may leave in place of a key file. {0} is the file, {1} another's.
REPLACEMENTS = {
    "link to shadow": "ln -s /etc/shadow {0}",
    "link to another's": "ln -s {1} {0}",
    "FIFO": "mkfifo {0}",
    "directory": "mkdir {0}",
    "1 GB": "truncate -s 1G {0}",
    "link to itself": "ln -s {0} {0}",
    "device by link": "ln -s /dev/zero {0}",
}


@pytest.fixture(scope="module")
def owner(vm: VM) -> Iterator[Person]:
    """Whose key files are replaced; pyhome has no good copies of them, because it never opened the home."""
    person = people.make(vm, "whole", name="owner")
    yield person
    person.end_all()


@pytest.mark.parametrize("file", ["wrapped-passphrase", "Private.sig", "Private.mnt"])
@pytest.mark.guarantee(6)
def test_key_files_replaced_by_traps_cost_only_their_owner_the_home(vm: VM, owner: Person, file: str, cursor: str) -> None:
    path = f"{owner.keyfiles}/{file}"
    vm.run(f"cp -a {path} /root/good; sha256sum /etc/shadow > /root/shadow.sum")
    try:
        for name, command in REPLACEMENTS.items():
            vm.run(f"rm -rf {path}; {command.format(path, path.replace('owner', 'nobody-else'))}; chown -h owner: {path}")
            began = time.monotonic()
            with shell.ssh(vm, owner.name, owner.password) as session:
                assert time.monotonic() - began < 60, name
                assert session.do("id -un") == owner.name
                assert file == "Private.mnt" or not owner.is_open(), name
                session.logout()
            owner.wait_until_locked()
            assert vm.ok(f"test -e {path} -o -L {path}"), f"{name} was overwritten"
    finally:
        vm.run(f"rm -rf {path}; cp -a /root/good {path}")
    vm.run("sha256sum --quiet -c /root/shadow.sum")
    assert "Traceback" not in vm.journal(cursor)


@pytest.mark.guarantee(6)
def test_the_configuration_directory_replaced_by_a_link_to_anothers(vm: VM, owner: Person, ada: Person) -> None:
    """Only the link that ecryptfs-setup-private makes is recognised, and only the user's own place."""
    vm.run(f"mv {owner.home}/.ecryptfs /root/link; ln -s {ada.keyfiles} {owner.home}/.ecryptfs", check=False)
    try:
        with shell.ssh(vm, owner.name, owner.password) as session:
            assert not ada.is_open()
            session.logout()
        owner.wait_until_locked()
    finally:
        vm.run(f"rm {owner.home}/.ecryptfs; mv /root/link {owner.home}/.ecryptfs")


@pytest.mark.guarantee(20)
def test_a_user_who_logs_in_a_lot_does_not_hinder_others(vm: VM, owner: Person, ada: Person) -> None:
    """Someone else's wrong passwords and sessions do not delay this login beyond the machine's own slowness."""
    flood = "for i in 1 2 3 4 5 6; do (echo wrong-password | pamtester login owner authenticate >/dev/null 2>&1 &) ; done"
    vm.run(flood)
    with shell.ssh(vm, ada.name, ada.password) as session:
        assert session.do("cat letter") == people.LETTER
        session.logout()
    ada.wait_until_locked()
