"""The package is upgraded while homes are open: nothing is taken from anybody, and what the release before wrote is still read."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.vm import fscrypt_people, people, shell
from tests.vm.fscrypt_people import FscryptPerson
from tests.vm.image import cache_dir, say
from tests.vm.installed import install, set_profiles
from tests.vm.people import LETTER, PASSWORD
from tests.vm.test_passwords import NEW, passwd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.people import Person
    from tests.vm.shell import Shell
    from tests.vm.vm import VM

REPOSITORY = Path(__file__).parents[2]
#: The release that came before, and the commit that it was made from.
BEFORE, COMMIT = "0.1.0", "9a3f87d5c3890d76c6cd60cc9d1f928b1baf270c"

_numbers = itertools.count(1)

pytestmark = [pytest.mark.one_release("bookworm")]


def package_before() -> Path:
    """The package of the release before, built once from the history of this repository and then kept beside the images."""
    kept = cache_dir() / f"pyhome-{BEFORE}-{COMMIT[:16]}.deb"
    if kept.exists():
        return kept
    git = ["git", "-c", "safe.directory=*", "-C", str(REPOSITORY)]
    if subprocess.run([*git, "cat-file", "-e", f"{COMMIT}^{{commit}}"], capture_output=True).returncode:
        pytest.fail(
            f"the commit of {BEFORE}, {COMMIT}, is not in this clone: it needs the whole history (git fetch --unshallow)"
        )
    with tempfile.TemporaryDirectory(prefix="pyhome-before-", dir=cache_dir()) as name:
        work = Path(name)
        archive = subprocess.run([*git, "archive", COMMIT], capture_output=True, check=True).stdout
        (work / "tree").mkdir()
        subprocess.run(["tar", "-x", "-C", str(work / "tree")], input=archive, check=True)
        done = subprocess.run([str(work / "tree/packaging/build-deb"), str(work)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        (built,) = work.glob("pyhome_*.deb")
        shutil.move(built, kept)
    return kept


def version(vm: VM) -> str:
    return vm.out("dpkg-query -W -f '${Version}' pyhome")


@pytest.fixture
def old(vm: VM) -> Iterator[VM]:
    """The machine with the release before, whose homes nobody has touched yet; afterwards with the one under test."""
    new = version(vm)
    vm.put(package_before(), "/root/before.deb")
    vm.run("DEBIAN_FRONTEND=noninteractive apt-get install -y --allow-downgrades /root/before.deb", timeout=300)
    set_profiles(vm, "pyhome")
    assert version(vm) == BEFORE != new
    say(vm.suite, f"pyhome {BEFORE} is installed instead of {new}")
    yield vm
    if version(vm) != new:
        install(vm)


def facts(vm: VM, person: Person) -> dict[str, Any]:
    """What `pyhome status` says of a home."""
    (home,) = json.loads(vm.out(f"pyhome status --json {person.name}"))["homes"]
    return dict(home)


def log_in_and_out(person: Person, password: str, *commands: str) -> list[str]:
    with shell.ssh(person.vm, person.name, password) as session:
        said = [session.do(command) for command in commands]
        session.logout()
    return said


def converted(vm: VM) -> FscryptPerson:
    """A user with a plain home that the release before has encrypted, and whose copy is kept until somebody confirms it."""
    fscrypt_people.prepare(vm)
    name = f"converted{next(_numbers)}"
    people.add_user(vm, name)
    vm.run(f"echo {LETTER!r} > /home/{name}/letter; chown {name}: /home/{name}/letter")
    vm.run(f"pyhome encrypt --yes --backend fscrypt --password-file - {name}", stdin=f"{PASSWORD}\n", timeout=180)
    return FscryptPerson(
        vm, name, PASSWORD, int(vm.out(f"id -u {name}")), f"/home/{name}", f"/home/{name}", "/.fscrypt"
    )


@pytest.mark.guarantee(13)
def test_upgraded_while_homes_are_open(old: VM) -> None:
    vm = old
    ada, eve = people.make(vm, "whole"), converted(vm)
    with shell.ssh(vm, ada.name, ada.password) as ada_stays, shell.ssh(vm, eve.name, eve.password) as eve_stays:
        # A key file with a copy of the one before.
        assert passwd(ada_stays, ada.password, NEW)[0] == 0
        pid = vm.out("systemctl show -P MainPID pyhomed.service")
        install(vm)
        assert version(vm) not in {"", BEFORE}
        assert vm.out("systemctl is-active pyhomed.service") == "active"
        assert vm.out("systemctl show -P MainPID pyhomed.service") != pid
        for person, stays, password in ((ada, ada_stays, NEW), (eve, eve_stays, eve.password)):
            still_there(person, stays)
            assert log_in_and_out(person, password, "cat letter") == [LETTER]
            still_there(person, stays)
            stays.logout()
    for person in (ada, eve):
        locked(person)
    assert log_in_and_out(ada, NEW, "cat letter", "cat diary") == [LETTER, "still here\nstill here"]
    with shell.ssh(vm, eve.name, eve.password) as session:
        assert session.do("cat letter diary") == f"{LETTER}\nstill here\nstill here"
        assert passwd(session, eve.password, NEW)[0] == 0
        session.logout()
    for person in (ada, eve):
        locked(person)
        assert person.opens_with(NEW)
        assert not person.opens_with(PASSWORD)
    # What the release before has begun, this one ends.
    vm.run(f"pyhome confirm --yes {eve.name}")
    assert not vm.ok(f"test -e /home/.pyhome-converting.{eve.name}")


def still_there(person: Person, session: Shell) -> None:
    """The home is open, in the words of the new release and of the kernel, and the session from before is known to hold it."""
    told = facts(person.vm, person)
    assert told["state"] == "open"
    assert len(told["sessions"]) == 1
    assert person.is_open()
    session.do("echo still here >> diary")


def locked(person: Person) -> None:
    """Locked as the kernel says, and nothing is left on record."""
    person.wait_until_locked()
    assert person.leases() == []
    assert facts(person.vm, person)["state"] == "locked"
    assert not person.vm.ok(f"test -e /run/pyhome/{person.uid}/open")
    assert not person.vm.ok(f"cat {person.home}/letter")
