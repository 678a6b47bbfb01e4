"""Users of a machine, with encrypted homes made by the tools of ecryptfs-utils themselves."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.vm.vm import VM

PASSWORD = "Correct-Horse-7"
LETTER = "Dear Ada, the engine works."

#: A known mount passphrase, and a version 1 file in which it is wrapped with V1_PASSWORD; accepted by ecryptfs-unwrap-passphrase.
#: No tool of today writes version 1, so this one comes from the vectors ("typical-32hex" in tests/vectors/ecryptfs.json).
V1_PASSPHRASE = "0123456789abcdef0123456789abcdef"
V1_PASSWORD = "Correct Horse 7!"
V1_WRAPPED = "3539336165626330363537616663616169d78d358eee2f347e1e55bc99594b2069d78d358eee2f347e1e55bc99594b20"

_numbers = itertools.count(1)


@dataclass
class Person:
    """A user. ``mountpoint`` is where the home (or its private directory) is mounted, ``lower`` where its ciphertext lies."""

    vm: VM
    name: str
    password: str
    uid: int
    mountpoint: str
    lower: str
    keyfiles: str
    _hash: str = ""

    @property
    def home(self) -> str:
        """The home directory of /etc/passwd."""
        return f"/home/{self.name}"

    @property
    def wrapped(self) -> str:
        """The wrapped-passphrase file, by its real path."""
        return f"{self.keyfiles}/wrapped-passphrase"

    def mounts(self) -> list[str]:
        """What /proc/mounts shows on the mount point."""
        lines = self.vm.out("cat /proc/mounts").splitlines()
        return [line for line in lines if line.split()[1] == self.mountpoint and line.split()[2] == "ecryptfs"]

    def is_open(self) -> bool:
        """Whether the home is mounted."""
        return bool(self.mounts())

    def wait_until_locked(self, timeout: float = 30) -> None:
        """Wait until the home is not mounted any more."""
        self.vm.wait_for(lambda: not self.is_open(), f"the home of {self.name} is locked", timeout)

    def leases(self) -> list[str]:
        """The leases that pyhome has on record."""
        return self.vm.out(f"ls /run/pyhome/{self.uid} 2>/dev/null | grep ^lease || true").split()

    def signatures(self) -> list[str]:
        """The signatures of the home's keys, file key first."""
        return self.vm.out(f"cat {self.keyfiles}/Private.sig").split()

    def opens_with(self, password: str) -> bool:
        """Whether the real ecryptfs-unwrap-passphrase accepts a password for the key file as it is on the disk."""
        command = f"ecryptfs-unwrap-passphrase {self.wrapped} -"
        return "Error" not in (done := self.vm.run(command, stdin=password, check=False)).err and done.code == 0

    def save(self) -> None:
        """Remember the locked home and the account as they are now, for :meth:`reset`."""
        self.vm.run(f"tar -C /home -cpf /root/{self.name}.tar {self.name} .ecryptfs/{self.name}")
        self._hash = self.vm.out(f"getent shadow {self.name} | cut -d: -f2")

    def reset(self) -> None:
        """Everything as it was when it was saved, and no copies kept by pyhome. Making a new home takes ten times as long."""
        if self.is_open() or self.leases():
            self.end_all()
        name = self.name
        self.vm.run(
            f"rm -rf /home/{name} /home/.ecryptfs/{name} /var/lib/pyhome/{self.uid}.{name} /etc/sudoers.d/{name}; "
            f"tar -C /home -xpf /root/{name}.tar; usermod -p '{self._hash}' -s /bin/bash -c '' -G '' -e '' {name}; "
            f"chage -d $(($(date +%s) / 86400)) {name}; loginctl disable-linger {name}; rm -f /dev/shm/*ecryptfs-{name}*; "
            f"setpriv --reuid={self.uid} --clear-groups keyctl clear @u"
        )

    def end_all(self) -> None:
        """End everything the user runs, and see the home locked."""
        self.vm.run(f"loginctl terminate-user {self.name}; pkill -KILL -u {self.uid}", check=False)
        self.wait_until_locked(60)


def make(vm: VM, kind: str = "migrated", name: str = "", password: str = "") -> Person:
    """A new user with an encrypted home of one of the kinds in :data:`RECIPES` that holds a letter, locked."""
    name = name or f"ada{next(_numbers)}"
    password = password or (V1_PASSWORD if kind == "v1" else PASSWORD)
    add_user(vm, name, password)
    vm.run(f"modprobe ecryptfs; keyctl session - sh -e -c {shlex.quote(RECIPES[kind].format(name=name))}")
    uid = int(vm.out(f"id -u {name}"))
    if kind == "private":
        return Person(vm, name, password, uid, f"/home/{name}/Private", f"/home/{name}/.Private", f"/home/{name}/.ecryptfs")
    store = f"/home/.ecryptfs/{name}"
    person = Person(vm, name, password, uid, f"/home/{name}", f"{store}/.Private", f"{store}/.ecryptfs")
    if kind == "v1":
        vm.write(person.wrapped, bytes.fromhex(V1_WRAPPED))
    return person


def add_user(vm: VM, name: str, password: str = PASSWORD) -> None:
    """A new user with an ordinary home."""
    vm.run(f"useradd -m -s /bin/bash {name} && chpasswd", stdin=f"{name}:{password}\n")


def neighbour(vm: VM) -> str:
    """An ordinary user without an encrypted home, the same for all tests."""
    if not vm.ok("id neighbour"):
        add_user(vm, "neighbour")
    return "neighbour"


_LETTER = f"echo {LETTER!r} > /home/{{name}}/letter; chown {{name}}: /home/{{name}}/letter"

_MIGRATE = f"""
{_LETTER}
LOGINPASS={PASSWORD} MOUNTPASS={{passphrase}} ecryptfs-migrate-home -u {{name}}
rm -r /home/{{name}}.*
keyctl clear @u
"""

_WHOLE = f"""
rm -r /home/{{name}}
mkdir -m 700 /home/{{name}}
chown {{name}}: /home/{{name}}
ecryptfs-setup-private -b {{options}} -u {{name}} -l {PASSWORD}
cp -rT /etc/skel /home/{{name}}
{_LETTER}
chown -R {{name}}: /home/{{name}}
umount /home/{{name}}
keyctl clear @u
"""

_PRIVATE = f"""
echo | su -l {{name}} -c 'ecryptfs-setup-private --nopwcheck -l {PASSWORD}'
cd /
su {{name}} -c 'keyctl link @u @s; cd /home/{{name}}/.ecryptfs
ecryptfs-insert-wrapped-passphrase-into-keyring wrapped-passphrase {PASSWORD}
mount.ecryptfs_private && echo "{LETTER}" > /home/{{name}}/Private/letter
umount.ecryptfs_private; keyctl clear @u; rm -f /dev/shm/ecryptfs-{{name}}-Private'
"""

#: How homes come about: ecryptfs-migrate-home; ecryptfs-setup-private; migrated long ago, with a version 1 file; a whole home, with
#: and without filename encryption.
RECIPES = {
    "migrated": _MIGRATE.replace("MOUNTPASS={passphrase} ", ""),
    "private": _PRIVATE,
    "v1": _MIGRATE.replace("{passphrase}", V1_PASSPHRASE),
    "whole": _WHOLE.replace("{options}", ""),
    "plain-names": _WHOLE.replace("{options}", "-n"),
}
