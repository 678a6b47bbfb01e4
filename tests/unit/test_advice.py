"""Commands in sentences: whatever a user has called something, what is typed does nothing else than it says."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_pyhome.formats.words import one_line, quoted

ROOT = Path(__file__).parents[2]
PLACES = [path for room in ("pam_pyhome", "sshd", "shell_stub") for path in sorted((ROOT / room).rglob("*.py"))]
DOCTORS = [*(ROOT / "pam_pyhome/admin/doctor").glob("*.py"), ROOT / "sshd/doctor.py"]
HOSTILE = [
    "/etc; rm -rf /",
    "$(id)", "`id`", "a b", "it's", "'; id; '", '"; id; "', "a\nb", "\x1b]0;x\x07", "-rf", "~root", "*", "", "\udcff",
    "a&&b", "a|b", "#", "a>b", "{a,b}", "!!", "\u202egpj", "x\\", "\r", "=ls",
]  # fmt: skip
#: A command in quotation marks, up to the thing that is put in.
COMMAND = re.compile(r"(?:^|[^\w])['`](?:pyhome|fscrypt|systemctl|journalctl|chown|chmod|mount|umount|rm|cp|chsh|kill) [^'`]*$")
#: What may stand in a command as it is: words of ours.
WORDS = {"uid", "verb", "option", "direction", "unit", "binary", "token", "detail", "line"}
#: What stands in commands of doctor and is looked at here: names out of tables of the file, and commands that are quoted before.
SEEN = {
    "account.py": {"path"}, "ecryptfs.py": {"found"}, "fscrypt.py": {"mend"}, "services.py": {"profile", "module"},
    "install.py": {"' '.join(masked)", "path", "mode", "_start()"},
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_one_word_without_effects(name: str) -> None:
    word = quoted(name)
    assert word.isprintable()
    assert shlex.split(f"command {word} end") == ["command", one_line(name), "end"]
    assert one_line(name) == name or not name.isprintable()


def is_ours(node: ast.expr) -> bool:
    """Whether what is put into a command is quoted, a constant, or one of our own words; or several of them."""
    match node:
        case ast.Call(func=ast.Name(id="quoted" | "_about_place")):
            return True
        case ast.Call(func=ast.Name(id="map"), args=[ast.Name(id="quoted"), _]):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="join"), args=[several]):
            return is_ours(several)
        case ast.Name(id=name):
            return name.lstrip("_").isupper() or name in WORDS
        case ast.Attribute(value=ast.Name(), attr=attribute):
            return attribute.isupper() or attribute in WORDS
        case ast.Subscript(value=ast.Name(id=name)):
            return name.lstrip("_").isupper()
        case _:
            return False


def texts(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """For each thing that is put into a text, what stands before it, and the thing. What is quoted as a whole is not looked at."""
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "quoted"
        for part in ast.walk(node)
    }
    for joined in ast.walk(tree):
        if id(joined) not in inside and isinstance(joined, ast.JoinedStr):
            before = ""
            for part in joined.values:
                if isinstance(part, ast.FormattedValue):
                    yield before, part.value
                    before += "X"
                elif isinstance(part, ast.Constant):
                    before += str(part.value)


@pytest.mark.parametrize("path", PLACES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_sentences(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = [(before, ast.unparse(value)) for before, value in texts(tree) if COMMAND.search(before) and not is_ours(value)]
    assert wrong == []


def made_of_ours(tree: ast.AST) -> set[str]:
    """Names that are given nothing else in the file than what is quoted, constants, and commands that are made of such."""
    names: dict[str, bool] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                parts = [part for _, part in texts(value)]
                fits = is_ours(value) or (isinstance(value, ast.JoinedStr) and all(map(is_ours, parts)))
                names[name] = names.get(name, True) and fits
    return {name for name, fits in names.items() if fits}


def mends(tree: ast.AST) -> Iterator[ast.expr]:
    """What doctor says mends a finding."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="Finding"), args=[_, _, _, _, mend]):
                yield mend
            case ast.Assign(targets=[ast.Name(id="mend")], value=mend):
                yield mend


@pytest.mark.parametrize("path", DOCTORS, ids=lambda path: path.name)
def test_what_doctor_says_mends_it(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = made_of_ours(tree)
    for mend in mends(tree):
        wrong = [ast.unparse(value) for _, value in texts(mend) if not is_ours(value)]
        assert [each for each in wrong if each not in known | SEEN.get(path.name, set())] == []
