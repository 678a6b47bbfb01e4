"""Whatever the standard streams are, closed, full, or pipes that nobody reads: each verb says so in one line."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from pathlib import Path

import pytest

from pam_pyhome.cli import main as command
from tests.unit.cli.test_json_everywhere import WRONG
from tests.unit.cli.test_manual import VERBS

_TRACEBACK = 99
FULL, CLOSED, PIPE = "full", "closed", "nobody reads"
#: What the standard output is, and the standard error.
WAYS = {
    "full output": (FULL, ""),
    "closed output": (CLOSED, ""),
    "nobody reads": (PIPE, ""),
    "both full": (FULL, FULL),
    "both closed": (CLOSED, CLOSED),
    "nobody reads both": (PIPE, PIPE),
    "closed errors": ("", CLOSED),
}


def become(number: int, what: str, otherwise: Path) -> None:
    """Make a descriptor what a test wants it to be."""
    if what == CLOSED:
        os.close(number)
        return
    if what == PIPE:
        reader, fd = os.pipe()
        os.close(reader)
    else:
        fd = os.open("/dev/full" if what == FULL else otherwise, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(fd, number)
    os.close(fd)


def run(tmp_path: Path, arguments: list[str], output: str, errors: str, *, closed_input: bool = False) -> tuple[int, str, str]:
    """Run a command line as /usr/bin/pyhome does, in a process of its own; status and what could be written."""
    files = [tmp_path / "output", tmp_path / "errors"]
    for file in files:
        file.write_bytes(b"")
    pid = os.fork()
    if pid == 0:
        status = _TRACEBACK
        with contextlib.suppress(BaseException):
            for number, what, file in ((1, output, files[0]), (2, errors, files[1])):
                become(number, what, file)
            become(0, CLOSED if closed_input else "", tmp_path / "input")
            sys.stdin, sys.stdout, sys.stderr = (  # as Python has them when it begins
                None if how == CLOSED else open(number, "w" if number else "r", closefd=False)  # noqa: SIM115 - for ever
                for number, how in ((0, CLOSED if closed_input else ""), (1, output), (2, errors))
            )
            sys.argv = ["pyhome", *arguments]
            status = _end()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, files[0].read_text(encoding="utf-8"), files[1].read_text(encoding="utf-8")


def _end() -> int:
    """The status, when all that is left has been written, as at the end of a program."""
    status = _TRACEBACK
    try:
        command.main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - this is what the tests look for
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


@pytest.fixture(autouse=True)
def _gentle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a process that runs tests is not for locking."""
    monkeypatch.setattr(command, "protect_memory", lambda: None)


@pytest.mark.parametrize("name", VERBS)
def test_no_verb_breaks(name: str, tmp_path: Path) -> None:
    verb = name.split()[1:]
    for way, (output, errors) in WAYS.items():
        helped, _, said = run(tmp_path, [*verb, "--help"], output, errors)
        assert helped == (1 if output else 0), (way, said)
        if output and not errors:
            assert said.count("\n") == 1, (way, said)
            assert said.startswith("pyhome: the standard output cannot be written: "), (way, said)
        wrong, _, said = run(tmp_path, [*verb, *WRONG[name], "--json"], output, errors, closed_input=True)
        assert wrong == 2, (way, said)
        assert errors or said.count("\n") == 1, (way, said)


#: Lines that only look at this machine, each with something to say.
LOOKING = ["list --json", "status --json", "inspect nosuchuserhere", "recover --json", "rollback --json", "trust"]


@pytest.mark.root
@pytest.mark.parametrize("line", LOOKING)
def test_what_looks_does_not_break(line: str, tmp_path: Path) -> None:
    for way, (output, errors) in WAYS.items():
        status, _, said = run(tmp_path, line.split(), output, errors, closed_input=True)
        assert status in ((1, 41) if output else (0, 41)), (way, said)
        assert said.count("\n") == (1 if output and not errors else said.count("\n")), (way, said)
        assert "Traceback" not in said


def test_a_closed_stream_is_not_the_place_of_another_file(tmp_path: Path) -> None:
    """What is written to a standard output that is closed must not get into whatever the command has opened."""
    secret = tmp_path / "secret"
    status, _, said = run(tmp_path, ["ecryptfs", "unwrap", str(secret), "x"], CLOSED, "", closed_input=True)
    assert (status, said.count("\n")) == (1, 1)
    assert "No such file" in said
