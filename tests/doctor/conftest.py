"""Fixtures: a machine in order, with the PAM files of Debian 12 unless the test says otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.doctor.harness import DoctorMachine
from tests.doctor.planted import Machines
from tests.pam.harness import Build

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.doctor.planted import PlantedMachine


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("build"), sanitized=False)


@pytest.fixture
def machine(request: pytest.FixtureRequest, tmp_path: Path, build: Build) -> Iterator[DoctorMachine]:
    """`request.param`: the name of a tree."""
    with DoctorMachine(tmp_path, build, getattr(request, "param", "debian12")) as machine:
        yield machine


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, build: Build) -> Iterator[Machines]:
    machines = Machines(lambda: tmp_path_factory.mktemp("planted"), build)
    yield machines
    machines.close()


@pytest.fixture
def planted(request: pytest.FixtureRequest, machines: Machines) -> PlantedMachine:
    """One machine for many cases. `request.param`: the name of a tree."""
    return machines.get(request.param)
