"""What somebody types who reads nothing: one sentence each, which says what is wrong and what to type, and the published status."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import click
import pytest

from pam_pyhome import errors
from pam_pyhome.cli.main import cli, run
from pam_pyhome.cli.usage import RootCommand
from tests.unit.cli.test_manual import VERBS

ROOT = Path(__file__).parents[3]
USER = "nosuchuserhere"

#: What is typed, how it ends, and what is said.
TYPED = {
    "lst": (2, "No such command 'lst'; type 'pyhome list', or see"),
    "stauts": (2, "type 'pyhome status'"),
    "activate ada": (2, "type 'pyhome unlock'"),
    "backups": (2, "type 'pyhome recovery backups'"),
    "recovery restor": (2, "type 'pyhome recovery restore'"),
    "sshd aply": (2, "type 'pyhome sshd apply'"),
    "nothing-like-it": (2, "No such command 'nothing-like-it'; see 'pyhome --help'"),
    "--json": (2, "No such option: --json; options come after the verb, see"),
    "list --jsno": (2, "No such option: --jsno; type --json, or see 'pyhome list --help'"),
    "lock --focre": (2, "type --force"),
    "lock ada bob": (2, "Got unexpected extra argument (bob); type 'pyhome lock [USER]', or see"),
    "setup now": (2, "Got unexpected extra argument (now); type 'pyhome setup', or see"),
    "create": (2, "Missing argument 'USER'; type 'pyhome create USER', or see"),
    "recovery restore ada": (2, "Missing argument 'NAME'; type 'pyhome recovery restore USER NAME', or see"),
    "create --backend zfs ada": (2, "Invalid value for '--backend': 'zfs' is not one of 'fscrypt', 'ecryptfs'; see"),
    "lock --wait soon": (2, "Invalid value for '--wait': 'soon' is not a valid integer"),
    "create --uid many ada": (2, "Invalid value for '--uid': 'many' is not a valid integer; see"),
    "rollback everything": (2, "Invalid value for 'NAME': 'everything' is not one of 'setup', 'sshd'; see"),
    "encrypt --password-file": (2, "Option '--password-file' requires an argument; see"),
    "update": (2, "say what is to be changed; see 'pyhome update --help'"),
    "trust --yes": (2, "name a MOUNTPOINT; see"),
    "recover --close": (2, "--close wants a PATH"),
    "recovery new --qr --json": (2, "give one of them; see"),
    "ecryptfs wrap": (2, "FILE is missing; see"),
    f"status {USER}": (41, f"there is no user {USER}; check the name"),
    "status /nonexist": (41, "there is no user /nonexist; check the name"),
    "inspect root": (40, "root has no encrypted home; 'pyhome list' shows who has one"),
    f"unlock {USER}": (41, "check the name"),
    f"encrypt --yes {USER}": (41, "check the name"),
    f"confirm --yes {USER}": (41, "check the name"),
    f"remove --yes {USER}": (41, "check the name"),
    f"shell show {USER}": (41, "check the name"),
    f"shell enable --yes {USER}": (41, "check the name"),
    f"recovery restore --yes {USER} x": (41, "check the name"),
    "shell enable --yes root": (19, "is not an ordinary user"),
    "create Ada:L": (30, "use up to 32 small letters"),
    "create root": (30, "is not an ordinary user (uid 0); name another user"),
    f"create --uid 0 {USER}": (30, "the user id is not free for a new user (uid 0); give another one with --uid"),
    f"create --shell /nonexist {USER}": (30, "the shell is not a program that can be run (/nonexist); give the path of one"),
    f"create --groups {USER} {USER}x": (30, f"there is no such group ({USER}); make it with 'groupadd'"),
    f"create --comment a:b {USER}": (30, "give another one with --comment"),
    "recover /nonexist": (90, "mount the disk that the homes are on"),
    "recover --close /nonexist": (91, "'pyhome recover' alone shows what is open"),
    "trust --yes /nonexist": (1, "/nonexist: No such file or directory; check the path"),
    "ecryptfs unwrap /nonexist": (1, "/nonexist: No such file or directory; check the path"),
}


@pytest.mark.root
@pytest.mark.parametrize("line", TYPED)
def test_one_sentence_and_what_to_type(line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    status, expected = TYPED[line]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.chdir(ROOT)  # some go to another directory
    assert run(line.split()) == status
    said = capsys.readouterr()
    assert expected in said.err
    assert said.err.startswith("pyhome")
    assert said.err.count("\n") == 1
    assert bool(said.out) == ("--json" in line)


def in_table(status: int, name: str) -> bool:
    text = (ROOT / "docs/json.md").read_text(encoding="utf-8")
    return re.search(rf"^\| {status} \| .*`{name}`", text, re.MULTILINE) is not None


def test_every_status_is_published() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.PyhomeError)]
    codes = [each.exit_code for each in kinds]
    assert len(set(codes)) == len(codes)
    assert [each.__name__ for each in kinds if not in_table(each.exit_code, each.__name__)] == []


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_has_help_in_short(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*name.split()[1:], "-h"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: {name} ")


#: What has to be given for a verb to come as far as to ask who gives it.
GIVEN = {"pyhome recovery restore": [USER, "x"], "pyhome trust": ["/"]}


@pytest.mark.parametrize("name", [name for name, verb in VERBS.items() if isinstance(verb, RootCommand)])
def test_what_only_root_may_do(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.chdir(ROOT)
    required = any(each.required for each in VERBS[name].params)
    assert run([*name.split()[1:], *GIVEN.get(name, [USER] if required else [])]) == errors.NotAllowedError.exit_code
    assert re.fullmatch(rf"{name}: .*; run it as root\n", capsys.readouterr().err)


def test_the_help_says_what_is_roots(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    everybody, _, roots = capsys.readouterr().out.partition("Commands for root:")
    context = click.Context(cli)
    assert roots
    for name in cli.list_commands(context):
        is_roots = all(isinstance(VERBS[verb], RootCommand) for verb in VERBS if verb.split()[1] == name)
        assert bool(re.search(rf"^  {name} ", roots, re.MULTILINE)) == is_roots, name
        assert bool(re.search(rf"^  {name} ", everybody, re.MULTILINE)) != is_roots, name
    assert "..." not in everybody.partition("Commands:")[2] + roots
