"""What the caller of a setuid program leaves behind does not reach the worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.pam.harness import Machine

pytestmark = pytest.mark.root

LOOK_AROUND = r"""
import resource, sys
def show(name, text): note((name + "=" + str(text)).replace(" ", "_").replace("\n", "_"))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
for name in ("Uid", "Gid", "Groups", "Umask", "SigBlk", "SigIgn", "PPid"):
    show(name, "/".join(status[name].split()))
show("environment", sorted(os.environ.items()))
show("cwd", os.getcwd())
show("fds", sorted(int(fd) for fd in os.listdir("/proc/self/fd")))
show("cloexec", os.get_inheritable(3))
show("devices", [os.readlink("/proc/self/fd/%d" % fd) for fd in (0, 1, 2)])
show("nice", os.nice(0))
show("session", os.getsid(0) == os.getpid())
show("policy", os.sched_getscheduler(0))
show("processors", len(os.sched_getaffinity(0)))
for name in ("oom_score_adj", "timerslack_ns", "coredump_filter"):
    show(name, open("/proc/self/" + name).read().strip())
show("ionice", os.popen("ionice").read().strip())
show("argv", sys.orig_argv)
show("path", sys.path)
show("flags", (sys.flags.isolated, sys.flags.no_site, sys.flags.dont_write_bytecode))
for name in ("NOFILE", "FSIZE", "CPU", "DATA", "AS", "CORE", "NPROC", "STACK", "MEMLOCK"):
    show(name, "/".join(map(str, resource.getrlimit(getattr(resource, "RLIMIT_" + name)))))
reply(0)
"""

EVIL = {
    "PATH": "/evil",
    "HOME": "/evil",
    "PYTHONPATH": "/evil",
    "PYTHONHOME": "/evil",
    "PYTHONSTARTUP": "/evil/os.py",
    "PYTHONINSPECT": "1",
    "LD_LIBRARY_PATH": "/evil",
    "LC_ALL": "evil",
    "IFS": "/",
}


def can_raise_limits() -> bool:
    """Whether root has CAP_SYS_RESOURCE here; in containers it may not."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (bounding,) = (line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:"))
    return bool(int(bounding, 16) >> 24 & 1)


def plant(machine: Machine) -> None:
    """A directory in which everything leaves a mark."""
    evil = machine.path("/evil")
    evil.mkdir(mode=0o777)
    for name in ("os", "struct", "resource", "sitecustomize", "encodings", "traceback"):
        (evil / f"{name}.py").write_text("open('/run/evil', 'w').close()\n", encoding="ascii")
    (evil / "python3").write_text("#!/bin/sh\n: > /run/evil\n", encoding="ascii")
    (evil / "python3").chmod(0o755)


@pytest.mark.parametrize("ruid", [0, 61002])
def test_the_worker_starts_from_nothing(machine: Machine, ruid: int) -> None:
    plant(machine)
    machine.install_worker(LOOK_AROUND)
    environment = EVIL | machine.build.environment(leaks=False)
    steps = ("hostile=/evil", f"ruid={ruid}", "join", "open", "close")
    assert machine.pam("test", "ada", *steps, environment=environment) == ["open 0", "close 0"]
    phase, *lines = machine.worker_runs()
    seen = dict(line.split("=", 1) for line in lines)
    assert phase == "4"
    assert not machine.path("/run/evil").exists()
    assert {name: seen[name] for name in ("Uid", "Gid", "Groups", "Umask", "SigBlk", "PPid")} == {
        "Uid": "0/0/0/0", "Gid": "0/0/0/0", "Groups": "", "Umask": "0077", "SigBlk": "0" * 16, "PPid": "1",
    }  # fmt: skip
    assert int(seen["SigIgn"], 16) == (1 << 12) | (1 << 24), "SIGPIPE and SIGXFSZ: Python's own doing"
    assert seen["environment"] == "[('LC_ALL',_'C.UTF-8'),_('PATH',_'/usr/sbin:/usr/bin:/sbin:/bin')]"
    assert (seen["cwd"], seen["nice"], seen["session"], seen["cloexec"]) == ("/", "0", "True", "True")
    assert seen["fds"] == "[0,_1,_2,_3,_4]", "4 is the listing itself"
    assert seen["devices"] == "['/dev/null',_'/dev/null',_'/dev/null']"
    assert seen["argv"] == "['/usr/bin/python3',_'-I',_'-S',_'-B',_'/usr/lib/pyhome/pyhome-worker']"
    assert seen["flags"] == "(1,_1,_1)"
    assert all(entry.strip("'").startswith("/usr/lib/python") for entry in seen["path"].strip("[]").split(",_"))
    assert (seen["NOFILE"].split("/")[0], seen["CORE"]) == ("1024", "1/1"), "one byte: nor does a program get a core"
    for name in ("FSIZE", "CPU", "DATA", "AS", "NPROC", "MEMLOCK"):
        soft, hard = seen[name].split("/")
        assert soft == hard == "-1" if can_raise_limits() else soft == hard, name


def test_a_lease_needs_no_room_for_its_text(machine: Machine) -> None:
    steps = ("no-files", "open", "sh=root:ls -s /run/pyhome/61001", "close")
    opened, *listing, status, closed = machine.pam("test", "ada", *steps)
    assert (opened, status, closed) == ("open 0", "sh 0", "close 0")
    assert [line.split()[0] for line in listing if "lease." in line] == ["0"]


def test_su_of_a_hostile_user(machine: Machine) -> None:
    plant(machine)
    machine.add_user("eve", 61002, encrypted=False)
    machine.install_worker(LOOK_AROUND)
    kinds = ("auth", "account", "session")
    machine.write_stack("su", "".join(f"{kind} required pam_permit.so\n{kind} optional pam_pyhome.so\n" for kind in kinds))
    limit = "ulimit" if can_raise_limits() else "ulimit -S"
    attack = f"{limit} -f 0; {limit} -n 40; umask 0; cd /evil; exec -a /evil/python3 su ada -c 'id -un'"
    slow = ["choom", "-n", "900", "--", "taskset", "-c", "0", "ionice", "-c", "3", "chrt", "--idle", "0"]
    eve = ["setpriv", "--reuid=61002", "--regid=61002", "--clear-groups", *slow, "/bin/bash", "-c", attack]
    if machine.build.sanitized:
        return  # a setuid program ignores LD_PRELOAD, so it cannot load the sanitized module
    assert machine.run(eve, environment=EVIL | {"PATH": "/evil:/usr/bin:/bin"}) == "ada\n"
    seen = dict(line.split("=", 1) for line in machine.worker_runs() if "=" in line)
    assert (seen["Uid"], seen["cwd"], seen["Umask"], seen["NOFILE"].split("/")[0]) == ("0/0/0/0", "/", "0077", "1024")
    assert seen["argv"].startswith("['/usr/bin/python3',")
    assert (seen["policy"], seen["processors"], seen["oom_score_adj"]) == ("0", str(os.cpu_count()), "0")
    assert (seen["timerslack_ns"], seen["coredump_filter"], seen["ionice"]) == ("50000", "00000000", "none:_prio_0")
    assert not machine.path("/run/evil").exists()
