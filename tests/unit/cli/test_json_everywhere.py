"""`--json` means one thing everywhere: each verb has it, an object comes out of each failure, and each field is in docs/json.md."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_pyhome.cli.main import run
from tests.unit.cli.test_manual import VERBS, options

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/json.md").read_text(encoding="utf-8")
#: Verbs without --json, and why: what they print is another program's.
WITHOUT: dict[str, str] = {}


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_it(name: str) -> None:
    assert ("--json" in options(VERBS[name])) != (name in WITHOUT)


def keys(tree: ast.AST) -> Iterator[str]:
    """The words that functions use as keys of what they make: not those of tables, which are not in functions."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Dict):
                    yield from (key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str))


@pytest.mark.parametrize("path", sorted((ROOT / "pam_pyhome/cli").glob("*.py")), ids=lambda path: path.stem)
def test_every_field_is_documented(path: Path) -> None:
    documented = set(re.findall(r"`(\w+)`", TEXT))
    assert set(keys(ast.parse(path.read_text(encoding="utf-8")))) - documented == set()


USER = "nosuchuserhere"
#: What follows the verb so that it fails for everybody, and how. Others are wrong without any argument, or with one too many.
WRONG = {name: [] if any(each.required for each in verb.params) else [USER, USER] for name, verb in VERBS.items()} | {
    "pyhome list": [USER],
    "pyhome sshd check": ["--nosuchoption"],
    "pyhome ecryptfs unwrap": ["a", "b", "c"],
    "pyhome ecryptfs wrap": [],
    "pyhome ecryptfs rewrap": [],
    "pyhome ecryptfs insert": ["a", "b", "c"],
}


@pytest.mark.parametrize("name", VERBS)
def test_a_wrong_command_line_is_an_object_too(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*name.split()[1:], *WRONG[name], "--json"]) == 2
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found.keys() == {"version", "error"}
    assert (found["error"]["code"], found["error"]["kind"]) == (2, "")
    assert found["error"]["message"] in said.err
    assert said.err.count("\n") == 1


FAILING = {
    "status": 41, "inspect": 41, "sessions": 41, "unlock": 41, "lock": 41, "passwd": 41, "update --costs": 41,
    "remove --yes": 41, "encrypt --yes": 41, "decrypt --yes": 41, "confirm --yes": 41, "shell show": 41, "shell enable --yes": 41,
    "shell disable --yes": 41, "ecryptfs unwrap /nosuch/file -": 1, "ecryptfs rewrap /nosuch/file -": 1,
}  # fmt: skip


@pytest.mark.root
@pytest.mark.parametrize("line", FAILING)
def test_a_failure_is_an_object(line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = line.split() if "/nosuch" in line else [*line.split(), USER]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.chdir(ROOT)  # some go to another directory
    assert run([*arguments, "--json"]) == FAILING[line]
    found = json.loads(capsys.readouterr().out)
    assert found["error"].keys() == {"code", "kind", "what", "reason", "holders", "message"}
    assert found["error"]["code"] == FAILING[line]
    assert found["error"]["what"] == ("/nosuch/file" if "/nosuch" in line else USER)
    assert f"`{found['error']['kind']}`" in TEXT
