"""pyhome(1) and the parser agree: every verb with its options is in the manual, and the manual has no others."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pam_pyhome.cli.main import cli

PAGE = Path(__file__).parents[3] / "docs/man/pyhome.1"
TEXT = PAGE.read_text(encoding="utf-8").replace("\\-", "-")
SYNOPSIS = TEXT.partition(".SH SYNOPSIS")[2].partition(".SH DESCRIPTION")[0]
#: What sshd's plan and apply have in common is written once.
SAME = "options of"


def leaves(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """All verbs under their full names."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for inner in command.list_commands(context):
            each = command.get_command(context, inner)
            assert each is not None
            yield from leaves(each, f"{name} {inner}")
    else:
        yield name, command


VERBS = dict(leaves(cli, "pyhome"))


def entries() -> dict[str, str]:
    """The entry of the synopsis for each verb."""
    found = {}
    for entry in SYNOPSIS.split(".br"):
        name, _, rest = entry.strip().removeprefix(".B ").partition("\n")
        assert name not in found, name
        found[name] = rest
    return found


def options(command: click.Command) -> set[str]:
    """The long options of a verb."""
    given = (option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts))
    return {option for option in given if option.startswith("--")}


def test_the_synopsis_has_every_verb_and_no_others() -> None:
    assert entries().keys() == VERBS.keys()


@pytest.mark.parametrize("name", VERBS)
def test_the_synopsis_has_every_option_and_no_others(name: str) -> None:
    entry = entries()[name]
    said = set(re.findall(r"--[a-z-]+", entry))
    if SAME in entry:
        said |= set(re.findall(r"--[a-z-]+", entries()["pyhome sshd plan"]))
    assert said == options(VERBS[name])


@pytest.mark.parametrize("name", VERBS)
def test_the_description_speaks_of_every_verb_and_option(name: str) -> None:
    described = TEXT.partition(".SH DESCRIPTION")[2]
    verb = name.rpartition(" ")[2]
    assert re.search(rf"^\.(B|BR|TP\n\.B) .*\b{verb}\b", described, re.MULTILINE), verb
    for option in options(VERBS[name]) - {"--no-unlock-at-login"}:
        assert option in described, option


def test_the_page_is_well_formed() -> None:
    ran = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", str(PAGE)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")
