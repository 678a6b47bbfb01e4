"""Homes made by the real tools open at each way in, hold what is written, and are ciphertext when their owner is gone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell
from tests.vm.people import LETTER, Person

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _pytest.mark import ParameterSet

    from tests.vm.shell import Shell
    from tests.vm.vm import VM


@contextlib.contextmanager
def enter(vm: VM, person: Person, way: str) -> Iterator[Shell]:
    """A session of a person by one of the three ways in; it is logged out at the end."""
    if way == "ssh":
        session = shell.ssh(vm, person.name, person.password)
        yield session
        session.logout()
    elif way == "console":
        with shell.Console(vm) as console:
            console.login(person.name, person.password)
            yield console
            console.logout()
    else:
        with shell.ssh(vm, people.neighbour(vm), people.PASSWORD) as outer:
            inner = shell.su(outer, person.name, person.password)
            yield inner
            inner.logout()


#: Kinds of homes and ways in, and where each is tried: on both releases if no one is named.
CASES = (
    ("migrated", "ssh", ""),
    ("migrated", "console", ""),
    ("migrated", "su", ""),
    ("private", "ssh", ""),
    ("private", "console", "trixie"),
    ("private", "su", "bookworm"),
    ("v1", "ssh", "trixie"),
    ("plain-names", "ssh", "bookworm"),
)


def cases() -> Iterator[ParameterSet]:
    """Each of the :data:`CASES`, marked with its release."""
    for kind, way, release in CASES:
        yield pytest.param(kind, way, marks=[pytest.mark.one_release(release)] if release else [])


@pytest.mark.parametrize(("kind", "way"), list(cases()))
@pytest.mark.guarantee(1, 2)
def test_opens_reads_writes_and_closes(vm: VM, household: Callable[[str], Person], kind: str, way: str) -> None:
    person = household(kind)
    assert not person.is_open()
    with enter(vm, person, way) as session:
        assert session.do(f"cat {person.mountpoint}/letter") == LETTER
        session.do(f"echo 'a secret, written by {way}' > {person.mountpoint}/{way}.txt")
        assert session.do(f"cat {person.mountpoint}/{way}.txt") == f"a secret, written by {way}"
        (mount,) = person.mounts()
        assert ",nosuid,nodev," in mount
    person.wait_until_locked()
    assert f"{way}.txt" not in vm.out(f"ls -A {person.mountpoint}")
    assert not vm.ok(f"grep -rq 'a secret, written' {person.lower}")
    newest = vm.out(f"ls -t {person.lower} | head -1")
    assert newest.startswith("ECRYPTFS_FNEK_ENCRYPTED.") if kind != "plain-names" else newest == f"{way}.txt"
