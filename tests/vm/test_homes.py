"""Homes made by the real tools open at each way in, hold what is written, and are ciphertext when their owner is gone."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest

from tests.vm import people, shell
from tests.vm.people import KINDS, LETTER, Person

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


WAYS = ("ssh", "console", "su")
#: Rarer kinds come in by ssh on both releases, and by the other ways on one.
RARE = {"v1": "trixie", "plain-names": "bookworm"}


def cases() -> Iterator[ParameterSet]:
    """Kinds of homes and ways in, each on the releases it is tried on."""
    for kind, way in itertools.product(KINDS, WAYS):
        marks = [pytest.mark.one_release(RARE[kind])] if kind in RARE and way != "ssh" else []
        yield pytest.param(kind, way, marks=marks)


@pytest.mark.parametrize(("kind", "way"), list(cases()))
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
