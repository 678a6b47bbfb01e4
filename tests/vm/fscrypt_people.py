"""Users of a machine with homes that the file system encrypts, made by the real fscrypt or by pyhome."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from tests.vm import people
from tests.vm.people import LETTER, PASSWORD, Person

if TYPE_CHECKING:
    from tests.vm.vm import VM

#: As low as Argon2 goes: what the costs are makes no difference to anything else.
CONF = """{
  "source": "custom_passphrase",
  "hash_costs": {"time": "1", "memory": "64", "parallelism": "2", "truncation_fixed": true},
  "options": {"padding": "32", "contents": "AES_256_XTS", "filenames": "AES_256_CTS", "policy_version": "2"},
  "use_fs_keyring_for_v1_policies": false,
  "allow_cross_user_metadata": false
}
"""

#: Who made the home.
MAKERS = ("fscrypt", "pyhome")

_numbers = itertools.count(1)


class FscryptPerson(Person):
    """A user whose home is a directory with a policy; nothing is mounted, and the ciphertext lies where the home is."""

    def status(self) -> str:
        """What the real tool says about the home."""
        return self.vm.out(f"fscrypt status {self.home}")

    def is_open(self) -> bool:
        """Whether the kernel has the key, be it that it only waits for the last file to be closed."""
        return "Unlocked: No" not in self.status()

    @property
    def protector(self) -> str:
        """The name of the login protector."""
        (found,) = re.findall(r"(?m)^([0-9a-f]{16}) .*login protector", self.status())
        return str(found)

    def opens_with(self, password: str) -> bool:
        """Whether the real fscrypt opens the home with its login protector and a password; it is locked again."""
        command = f"fscrypt unlock {self.home} --unlock-with=/:{self.protector} --user={self.name} --quiet"
        if self.vm.run(command, stdin=f"{password}\n", check=False).code != 0:
            return False
        letter = self.vm.out(f"cat {self.home}/letter")
        self.lock()
        return letter == LETTER

    def lock(self) -> None:
        """Have the real fscrypt lock the home."""
        self.vm.run(f"fscrypt lock {self.home} --user={self.name} --quiet")
        assert not self.is_open()

    def discard(self) -> None:
        """Remove the account, the home and its metadata."""
        self.vm.run(f"rm -f /var/lib/systemd/linger/{self.name}")
        self.end_all()
        self.vm.run(f"rm -f /.fscrypt/protectors/{self.protector}; rm -rf {self.home}; userdel -f {self.name}", check=False)


def prepare(vm: VM) -> None:
    """Set the machine up for fscrypt, once."""
    if vm.ok("test -d /.fscrypt"):
        return
    vm.write("/etc/fscrypt.conf", CONF)
    vm.run("fscrypt setup / --quiet", check=False)
    assert vm.ok("test -d /.fscrypt/protectors")


def make(vm: VM, maker: str = "fscrypt", name: str = "", password: str = "") -> FscryptPerson:
    """A new user with an encrypted home that holds a letter, locked."""
    name, password = name or f"eve{next(_numbers)}", password or PASSWORD
    prepare(vm)
    if maker == "pyhome":
        person, _ = create(vm, name, password)
    else:
        people.add_user(vm, name, password)
        vm.run(f"rm -r /home/{name}; mkdir -m 700 /home/{name}; chown {name}: /home/{name}")
        vm.run(f"fscrypt encrypt /home/{name} --source=pam_passphrase --user={name} --quiet", stdin=f"{password}\n")
        vm.run(f"cp -rT /etc/skel /home/{name}; echo {LETTER!r} > /home/{name}/letter; chown -R {name}: /home/{name}")
        person = _person(vm, name, password)
        person.lock()
    return person


def create(vm: VM, name: str, password: str = PASSWORD) -> tuple[FscryptPerson, str]:
    """A new user by `pyhome create`, with a letter in the home, locked; and the recovery key that it showed."""
    said = vm.run(f"pyhome create {name} --backend fscrypt --password-file -", stdin=f"{password}\n").out
    person = _person(vm, name, password)
    vm.run(f"usermod -s /bin/bash {name}")
    vm.run(f"fscrypt unlock {person.home} --unlock-with=/:{person.protector} --quiet", stdin=f"{password}\n")
    vm.run(f"echo {LETTER!r} > /home/{name}/letter; chown {name}: /home/{name}/letter")
    vm.run(f"fscrypt lock {person.home} --quiet")
    return person, recovery_key(said)


def recovery_key(said: str) -> str:
    """The recovery key in what `pyhome create` printed."""
    (key,) = re.findall(r"(?m)^ +((?:[0-9a-z]{5}-){7}[0-9a-z]{5})$", said)
    return str(key)


def _person(vm: VM, name: str, password: str) -> FscryptPerson:
    uid = int(vm.out(f"id -u {name}"))
    return FscryptPerson(vm, name, password, uid, f"/home/{name}", f"/home/{name}", "/.fscrypt")
