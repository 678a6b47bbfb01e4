"""Where the model is played: an fscrypt home in a name space of this machine, an eCryptfs home in a virtual one."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.create.machine import CreateMachine
from tests.login.homes import ADA, DEBIAN, crypt, pyhomed
from tests.model.play import NEIGHBOUR, SERVICE, USER

if TYPE_CHECKING:
    from tests.model.games import Step
    from tests.vm.vm import VM

#: A crowd that does not come to its end is ended then.
LONGEST_SECONDS = 420
HERE = Path(__file__).parent
PASSWORD = "correct horse"
PLACE = "/home/staff"
HOME = f"{PLACE}/{USER}"
#: The user has no group of their own: what is about a user is not about a group of the same number.
GROUP = 100
MALLORY = 61009


def order(steps: int, seed: int | None, games: list[list[Step]], shrink: float) -> dict[str, Any]:
    """What is the same for both kinds."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    common = {"home": HOME, "password": PASSWORD, "seed": seed, "steps": steps, "shrink": shrink, "games": games}
    print(f"model: {steps} steps from seed {seed} on", flush=True)
    return common


def here(machine: CreateMachine, tree: Path, image: Path) -> None:
    """Make the fscrypt home, with the file by which it is known to be open."""
    machine.furnish(tree)
    machine.furnish_fscrypt(image=image)
    machine.furnish_create()
    machine.write_stack(SERVICE, DEBIAN.format(arguments=""))
    machine.add_user(NEIGHBOUR, MALLORY, encrypted=False)
    with machine.path("/etc/passwd").open("a", encoding="ascii") as file:
        file.write(f"{USER}:x:{ADA}:{GROUP}::{HOME}:/bin/sh\n")
    with machine.path("/etc/shadow").open("a", encoding="ascii") as file:
        file.write(f"{USER}:{crypt(PASSWORD.encode())}:19000:0:99999:7:::\n")
    machine.run(["install", "-d", "-g", str(GROUP), "/home", PLACE])
    machine.run(["install", "-d", "-o", USER, "-g", str(GROUP), "-m", "700", HOME])
    machine.fscrypt(
        "encrypt", HOME, "--source=pam_passphrase", f"--user={USER}", "--quiet", said=f"{PASSWORD}\n",
    )  # fmt: skip
    machine.run(["sh", "-c", f"echo written while open > {HOME}/secret; mkdir {HOME}/directory; chown -R {USER}: {HOME}"])
    machine.fscrypt("lock", HOME, f"--user={USER}", "--quiet")


def play_here(machine: CreateMachine, common: dict[str, Any]) -> dict[str, Any]:
    """Play in the machine; what came of it."""
    device = machine.run(["findmnt", "-n", "-o", "SOURCE", "/home"]).split()[-1]  # of those on it, the last
    own = {
        "kind": "fscrypt", "base": "/home", "uid": ADA, "names": [], "device": device, "daemon": pyhomed(), "log": "/run/log",
        "seconds": 40.0,
    }  # fmt: skip
    command = machine.enter(["/usr/bin/python3", "-I", "-B", str(HERE / "inside.py"), json.dumps(common | own)], {})
    return _relay(command)


def there(vm: VM) -> None:
    """Make the eCryptfs home in a virtual machine, and put there what plays with it."""
    put(vm)
    if vm.ok(f"id {USER}"):
        return
    vm.run(
        f"useradd -m -u {MALLORY} {NEIGHBOUR}; install -d -g {GROUP} /home {PLACE}; modprobe ecryptfs;"
        f"pyhome create --backend ecryptfs --password-file - {USER}",
        stdin=f"{PASSWORD}\n",
    )
    vm.run(
        f"pyhome unlock --password-file - {USER} && echo written while open > /home/{USER}/secret && mkdir /home/{USER}/directory"
        f" && chown -R {USER}: /home/{USER}/secret /home/{USER}/directory && pyhome lock {USER}"
        f" && echo {HOME} > /home/.ecryptfs/{USER}/.ecryptfs/Private.mnt && mv /home/{USER} {HOME}"
        f" && usermod -g {GROUP} -d {HOME} -p '{crypt(PASSWORD.encode())}' {USER} && rm -rf /var/lib/pyhome/*.{USER}",
        stdin=f"{PASSWORD}\n",
    )
    vm.write(f"/etc/pam.d/{SERVICE}", DEBIAN.format(arguments=""))


def put(vm: VM) -> None:
    """The programs that run in the machine."""
    vm.run("mkdir -p /root/tree/tests/model; touch /root/tree/tests/__init__.py")
    for path in HERE.glob("*.py"):
        vm.put(path, f"/root/tree/tests/model/{path.name}")


def play_there(vm: VM, common: dict[str, Any]) -> dict[str, Any]:
    """Play in the machine; what came of it."""
    names = vm.out(f"cat /home/.ecryptfs/{USER}/.ecryptfs/Private.sig").split()
    own = {
        "kind": "ecryptfs", "base": f"/home/.ecryptfs/{USER}", "uid": int(vm.out(f"id -u {USER}")), "names": names, "device": "",
        "daemon": [], "log": "", "seconds": 90.0,
    }  # fmt: skip
    vm.write("/root/order", json.dumps(own | common))
    return _relay([*vm.command(), 'exec python3 -I -B /root/tree/tests/model/inside.py "$(cat /root/order)"'])


def crowd(names: list[str], *, first: int = 62000) -> tuple[str, str, str]:
    """What /etc/passwd, /etc/group and /etc/shadow have of many users."""
    secret = crypt(PASSWORD.encode())
    numbered = list(enumerate(names, first))
    return (
        "".join(f"{name}:x:{uid}:{uid}::/home/{name}:/bin/sh\n" for uid, name in numbered),
        "".join(f"{name}:x:{uid}:\n" for uid, name in numbered),
        "".join(f"{name}:{secret}:19000:0:99999:7:::\n" for name in names),
    )


def load_here(machine: CreateMachine, users: int) -> dict[str, Any]:
    """200 sessions and none, with fscrypt homes."""
    names = [f"user{number}" for number in range(users)]
    for file, lines in zip(("passwd", "group", "shadow"), crowd(names)):
        with machine.path(f"/etc/{file}").open("a", encoding="ascii") as stream:
            stream.write(lines)
    order = _load_order(names) | {"daemon": pyhomed(), "names": [], "like": "", "patience": 40}
    return _relay(machine.enter(["/usr/bin/python3", "-I", "-B", str(HERE / "load.py"), json.dumps(order)], {}), LONGEST_SECONDS)


def load_there(vm: VM, users: int) -> dict[str, Any]:
    """The same with eCryptfs homes."""
    names = [f"user{number}" for number in range(users)]
    if not vm.ok("id model"):
        for file, lines in zip(("passwd", "group", "shadow"), crowd(["model", *names])):
            vm.run(f"cat >> /etc/{file}", stdin=lines)
        vm.run("modprobe ecryptfs; pyhome create --backend ecryptfs --password-file - model", stdin=f"{PASSWORD}\n")
        vm.run(
            "pyhome unlock --password-file - model && echo written while open > /home/model/secret"
            " && chown model: /home/model/secret && pyhome lock model",
            stdin=f"{PASSWORD}\n",
        )
    vm.write(f"/etc/pam.d/{SERVICE}", DEBIAN.format(arguments=""))
    put(vm)
    signatures = vm.out("cat /home/.ecryptfs/model/.ecryptfs/Private.sig").split()
    order = _load_order(names) | {"daemon": [], "names": signatures, "like": "model", "patience": 90, "at_once": 6}
    vm.write("/root/order", json.dumps(order))
    return _relay([*vm.command(), 'exec python3 -I -B /root/tree/tests/model/load.py "$(cat /root/order)"'], LONGEST_SECONDS)


def _load_order(names: list[str]) -> dict[str, Any]:
    return {"homes": {name: f"/home/{name}" for name in names}, "password": PASSWORD, "service": SERVICE, "at_once": len(names)}


def _relay(command: list[str], seconds: float = threading.TIMEOUT_MAX) -> dict[str, Any]:
    """Show what a program prints while it runs, for so many seconds; its last line is the result."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout is not None
        patience = threading.Timer(seconds, process.kill)
        patience.daemon = True
        patience.start()
        while not (last := process.stdout.readline()).startswith("{"):
            assert last, "the model has ended without a result"
            print(last, end="", flush=True, file=sys.stderr)
        patience.cancel()
    found: dict[str, Any] = json.loads(last)
    return found


def shown(found: dict[str, Any]) -> str:
    """What is wrong, and how to see it again; empty if nothing is."""
    if "wrong" not in found:
        return ""
    log = "\n".join(found["log"])
    return f"{found['wrong']}\n{found['source']}; again with: make model STEPS=0 GAME='{json.dumps(found['game'])}'\n{log}"
