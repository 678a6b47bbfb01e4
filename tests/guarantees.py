"""Which tests hold which guarantee of ``docs/threat-model.md``, read from the markers in their source.

``python3 -m tests.guarantees`` prints them.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
MODEL = HERE.parent / "docs/threat-model.md"


def guarantees() -> dict[int, str]:
    """The numbers of the threat model, each with its first line."""
    return {int(number): line for number, line in re.findall(r"(?m)^(\d+)\. (.*)$", MODEL.read_text())}


@functools.cache
def tests() -> dict[int, list[str]]:
    """The tests by the number that their marker names. ValueError for a marker that is on no test."""
    found: dict[int, list[str]] = {}
    for path in sorted(HERE.rglob("*.py")):
        tree = ast.parse(path.read_text(), str(path))
        marked = list(_marked(tree))
        if len({id(marker) for marker, _ in marked}) != sum(map(_is_marker, ast.walk(tree))):
            raise ValueError(f"{path}: a marker of a guarantee is neither on a test nor in pytestmark")
        for marker, test in marked:
            for number in marker.args:
                found.setdefault(ast.literal_eval(number), []).append(f"{path.relative_to(HERE.parent)}::{test}")
    return found


def _marked(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """Each marker with each test that has it."""
    named = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    everywhere = [
        each
        for node in tree.body
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)
        for each in ast.walk(node.value)
        if _is_marker(each)
    ]
    for test in named:
        own = [each for decorator in test.decorator_list for each in ast.walk(decorator) if _is_marker(each)]
        yield from ((marker, test.name) for marker in (*everywhere, *own) if isinstance(marker, ast.Call))


def _is_marker(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.guarantee"


def main() -> None:
    """Print every guarantee and its tests."""
    held = tests()
    for number, line in sorted(guarantees().items()):
        print(f"{number}. {line}")
        for test in held.get(number, []):
            print(f"    {test}")


if __name__ == "__main__":
    main()
