"""Fixtures of the tests that run the module in real PAM applications."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pam.harness import Build, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Long enough for a worker that speaks at once, short enough to wait for one that does not.
IMPATIENT = ("-DPYHOME_FRAME_MS=1500", "-DPYHOME_TOTAL_MS=2500", "-DPYHOME_GATE_MS=700")


@pytest.fixture(scope="session", params=["plain", "sanitized"])
def sanitized(request: pytest.FixtureRequest) -> bool:
    """Every test runs twice: with the module as it is shipped, and under AddressSanitizer and UndefinedBehaviorSanitizer."""
    return bool(request.param == "sanitized")


@pytest.fixture(scope="session")
def build(sanitized: bool, tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("build"), sanitized)


@pytest.fixture(scope="session")
def impatient_build(sanitized: bool, tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("impatient"), sanitized, IMPATIENT)


def furnish(machine: Machine) -> Machine:
    """Ada, who has an encrypted home, and the service `test`."""
    machine.add_user("ada", 61001)
    machine.write_pam("test")
    machine.install_worker("reply(0)")
    return machine


@pytest.fixture
def machine(tmp_path: Path, build: Build) -> Iterator[Machine]:
    with Machine(tmp_path, build) as machine:
        yield furnish(machine)


@pytest.fixture
def impatient(tmp_path: Path, impatient_build: Build) -> Iterator[Machine]:
    with Machine(tmp_path, impatient_build) as machine:
        yield furnish(machine)
