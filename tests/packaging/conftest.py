"""The packages, built once per run, and systems to install them in."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.chroot import SUITES, Chroot

REPOSITORY = Path(__file__).parents[2]


def build(tree: Path, kind: str, into: Path) -> Path:
    """Run ``packaging/build-<kind>`` of a source tree; the package it made."""
    done = subprocess.run(
        [tree / "packaging" / f"build-{kind}", into], capture_output=True, text=True, errors="replace"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (package,) = into.iterdir()
    return package


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree as it is now, whatever happens to the work tree meanwhile."""
    copy = tmp_path_factory.mktemp("source") / "pyhome"
    subprocess.run([REPOSITORY / "packaging/copy-tree", copy], check=True)
    return copy


@pytest.fixture(scope="session")
def deb(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package."""
    return build(tree, "deb", tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="session")
def arch(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Arch package."""
    return build(tree, "arch", tmp_path_factory.mktemp("arch"))


@pytest.fixture(params=SUITES)
def debian(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Chroot]:
    """A fresh Debian without the package."""
    with Chroot(request.param, tmp_path) as system:
        yield system


@pytest.fixture
def installed(debian: Chroot, deb: Path) -> Chroot:
    """A Debian with the package."""
    install(debian, deb)
    return debian


def install(system: Chroot, package: Path) -> str:
    """Install a package as an administrator would; what apt said."""
    done = system.run(f"apt-get install -q -y --no-install-recommends -o Dpkg::Use-Pty=0 {system.copy_in(package)}")
    return done.stdout + done.stderr
