"""`pyhome encrypt` and `decrypt` on booted machines, for both kinds of home: the same to the last bit, also after a power cut."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.vm import fscrypt_people, people, shell
from tests.vm.people import LETTER, PASSWORD

if TYPE_CHECKING:
    from tests.vm.vm import VM

TOP = "b'/.'"
_numbers = itertools.count(1)

#: Fills the home $1 of its owner with what a copy may lose.
FILL = """
set -e
cd "$1"
mkdir -p 'dir/empty dir' dir/deeper
printf 'some text' > file
head -c 3000000 /dev/urandom > large
truncate -s 5M sparse; printf middle | dd of=sparse bs=1 seek=2500000 conv=notrunc status=none
ln file dir/deeper/other
ln -s ../file dir/link
ln -s /nowhere dangling
mkfifo dir/fifo
touch "$(printf 'new\\nline \\377')" -- -rf
for n in $(seq 400); do head -c $((n * 37)) /dev/urandom > "dir/$n"; done
touch "$(head -c 143 /dev/zero | tr '\\0' n)"
chmod 3750 dir; chmod 4711 file
chown -hR --reference=. .
python3 -c 'import os; os.setxattr("file", "user.colour", b"green"); os.setxattr("large", "security.capability",
 bytes.fromhex("0100000200200000000000000000000000000000"))'
find . -depth -print0 | xargs -0 touch -h -d '2001-09-09 01:46:40.123456789'
"""

#: All there is to know of each file below $1, but for the links of eCryptfs.
DESCRIBE = """
import hashlib, os, stat, sys
top, first = os.fsencode(sys.argv[1]), {}
for directory, folders, files in os.walk(top):
    folders.sort()
    for name in sorted([b".", *folders, *files]):
        path = directory + b"/" + name
        s = os.lstat(path)
        if directory == top and name in (b".ecryptfs", b".Private"):
            continue
        regular, link, folder = stat.S_ISREG(s.st_mode), stat.S_ISLNK(s.st_mode), stat.S_ISDIR(s.st_mode)
        content = hashlib.sha256(open(path, "rb").read()).hexdigest() if regular else os.readlink(path) if link else ""
        same = first.setdefault(s.st_ino, path[len(top):]) if s.st_nlink > 1 and not folder else ""
        xattrs = [(n, os.getxattr(path, n, follow_symlinks=False)) for n in sorted(os.listxattr(path, follow_symlinks=False))]
        print(path[len(top):], oct(s.st_mode), s.st_uid, s.st_gid, s.st_mtime_ns, content, same, xattrs)
"""

#: In which mount namespaces an eCryptfs directory is mounted.
MOUNTED = "grep -ls ' - ecryptfs ' /proc/[0-9]*/mountinfo || true"

#: Kills the conversion of $2's home to the kind $1 once it copies; says where the new home is mounted at that moment.
KILL = f"""
exec 3<&0
pyhome encrypt --yes --password-file - --backend $1 $2 <&3 >/dev/null &
pid=$!
while kill -0 $pid && ! pgrep -x rsync >/dev/null; do sleep 0.02; done
{MOUNTED}
kill -KILL $pid
"""


def make(vm: VM) -> str:
    """A user with a plain home full of oddities."""
    name = f"plain{next(_numbers)}"
    people.add_user(vm, name)
    vm.write("/root/fill", FILL)
    vm.write("/root/describe", DESCRIBE)
    vm.write("/root/kill", KILL)
    vm.run(f"sh /root/fill /home/{name}; echo {LETTER!r} > /home/{name}/letter; chown {name}: /home/{name}/letter; sync")
    return name


def described(vm: VM, name: str) -> str:
    return vm.out(f"python3 /root/describe /home/{name}")


def convert(vm: VM, verb: str, name: str, *options: str) -> str:
    """Run the command, once nothing of the user is left."""
    vm.wait_until(f"! pgrep -u {name}", 60)
    return vm.run(f"pyhome {verb} --yes --password-file - {' '.join(options)} {name}", stdin=f"{PASSWORD}\n", timeout=180).out


def described_open(vm: VM, name: str) -> str:
    """The same of an encrypted home, which is locked afterwards."""
    vm.run(f"pyhome unlock --password-file - {name}", stdin=f"{PASSWORD}\n")
    try:
        return described(vm, name)
    finally:
        vm.run(f"pyhome lock --wait 30 {name}")


def log_in(vm: VM, name: str) -> None:
    with shell.ssh(vm, name, PASSWORD) as session:
        assert session.do("cat letter; pwd") == f"{LETTER}\n/home/{name}"
        session.logout()


def backends(**releases: str) -> pytest.MarkDecorator:
    """Each kind of home on one release."""
    marks = [pytest.param(backend, marks=pytest.mark.one_release(release)) for backend, release in releases.items()]
    return pytest.mark.parametrize("backend", marks)


@backends(ecryptfs="trixie", fscrypt="bookworm")
@pytest.mark.guarantee(16)
def test_there_and_back(vm: VM, backend: str) -> None:
    """Encrypt, log in, confirm, decrypt, confirm; nothing of it is left."""
    if backend == "fscrypt":
        fscrypt_people.prepare(vm)
    name = make(vm)
    before = described(vm, name)
    assert f"/home/{name} is encrypted with {backend}" in convert(vm, "encrypt", name, f"--backend {backend}")
    assert vm.run(f"pyhome confirm --yes {name}", check=False).code == 76
    log_in(vm, name)
    vm.run(f"pyhome lock --wait 60 {name}")
    # What is mounted over the home while it is open is not taken for another home.
    vm.run(f"pyhome unlock --password-file - {name}", stdin=f"{PASSWORD}\n")
    assert f"The plain copy from before is still kept in /home/.pyhome-converting.{name}" in vm.out(f"pyhome status {name}")
    assert "after 'encrypt', the copy from before is still kept" in vm.run(f"pyhome encrypt --yes {name}", check=False).err
    vm.run(f"pyhome confirm --yes {name}")
    vm.run(f"pyhome lock --wait 30 {name}")
    now = described_open(vm, name)
    kept = {line for line in before.splitlines() if not line.startswith(TOP)}  # a shell has left its history
    assert kept <= set(now.splitlines())
    assert f"/home/{name} is a plain directory" in convert(vm, "decrypt", name)
    assert described(vm, name) == now
    log_in(vm, name)
    vm.run(f"pyhome confirm --yes {name}")
    assert vm.out(f"ls -d /home/.pyhome-* /home/.ecryptfs/{name} /home/.ecryptfs/.pyhome-* 2>/dev/null || true") == ""
    vm.run(f"pkill -KILL -u {name}; userdel -rf {name}", check=False)


@backends(ecryptfs="bookworm", fscrypt="trixie")
@pytest.mark.guarantee(16)
def test_killed_and_gone_on_with(vm: VM, backend: str) -> None:
    """Killed while it copies, nothing runs or is mounted; after another start of the machine, too, the plain home is as it was."""
    if backend == "fscrypt":
        fscrypt_people.prepare(vm)
    name = make(vm)
    before = described(vm, name)
    vm.wait_until(f"! pgrep -u {name}", 60)
    opened = vm.run(f"sh /root/kill {backend} {name}", stdin=f"{PASSWORD}\n", check=False).out
    assert bool(opened.strip()) == (backend == "ecryptfs")
    vm.run(f"flock -w 30 /var/lib/pyhome/converting/.lock.{name} true")
    assert vm.out("pgrep -x rsync || true") == ""
    assert vm.out(MOUNTED) == ""
    assert described(vm, name) == before
    vm.power_off()
    vm.power_on()
    assert described(vm, name) == before
    resume = "--resume" if vm.ok(f"test -f /var/lib/pyhome/converting/{name}") else f"--backend {backend}"
    convert(vm, "encrypt", name, resume)
    assert described_open(vm, name) == before
    convert(vm, "decrypt", name)
    assert described(vm, name) == before
    vm.run(f"pyhome confirm --yes {name}; pkill -KILL -u {name}; userdel -rf {name}", check=False)
