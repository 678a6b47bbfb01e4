"""Every target for a short while, always with the same seed; `make fuzz` runs them for longer."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fuzz import build, campaign
from tests.fuzz.campaign import NAMES, REPOSITORY, Found

#: libFuzzer looks at the clock once in a second, so this becomes two: a minute in all.
OPTIONS = ("-seed=1", "-max_total_time=1")


@pytest.fixture(scope="session")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fuzzers")
    build.build(directory)
    return directory


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found(name: str, binaries: Path, tmp_path: Path) -> None:
    assert campaign.run(name, binaries, tmp_path / "corpus", *OPTIONS) > 0


def test_what_is_found_can_be_had_again(tmp_path: Path) -> None:
    """With a mistake in the shim, the fuzzer says by which input it shows."""
    host, binaries = tmp_path / "host", tmp_path / "binaries"
    shutil.copytree(build.HOST, host)
    binaries.mkdir()
    right = (host / "wire.c").read_text()
    wrong = right.replace("frame->bad || (size_t)(frame->end - frame->at) < size", "frame->bad")
    assert wrong != right
    (host / "wire.c").write_text(wrong)
    build.build(binaries, host)
    with pytest.raises(Found, match=r"--again frames [0-9a-f]+\Z") as found:
        campaign.run("frames", binaries, tmp_path / "corpus", *OPTIONS)
    (tmp_path / "input").write_bytes(bytes.fromhex(str(found.value).rpartition(" ")[2]))
    assert subprocess.run([binaries / "frames", tmp_path / "input"], capture_output=True).returncode != 0


def test_every_parser_has_a_target() -> None:
    """A function of pam_pyhome.formats that reads bytes from elsewhere is named by a target."""
    targets = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    parsers = [
        f"{path.stem}.{node.name}"
        for path in sorted((REPOSITORY / "pam_pyhome/formats").glob("*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith(("parse", "find", "undo", "typed", "unwrap"))
    ]
    missing = [parser for parser in parsers if parser.partition(".")[2] not in targets]
    assert not missing
