"""The rules of ``docs/design.md`` §6, as code that finds violations in a source tree."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

FILE_LINES = 400
FUNCTION_LINES = 60

_LEAVES = {"formats", "kernel"}
_BACKENDS = _LEAVES | {"backends", "slots"}
_POLICY = _BACKENDS | {"policy"}
#: Who may import whom, besides itself and what lies under all.
ROOMS: dict[str, set[str]] = {
    "formats": set(),
    "kernel": set(),
    "backends": _LEAVES,
    "slots": _LEAVES,
    "policy": _BACKENDS,
    "host": _POLICY,
    "admin": _POLICY,
    "cli": _POLICY | {"admin", "sshd"},
    "sshd": _POLICY | {"admin"},
    "shell_stub": {"formats"},
}
UNDER_ALL = {"errors", "events", "record", "secret"}
#: Each costs milliseconds at every login.
LOGIN_PATH = {"formats", "kernel", "backends", "policy", "host"}
SLOW = {
    "argparse", "asyncio", "collections", "dataclasses", "enum", "inspect", "json", "logging", "pathlib", "re", "socket",
    "subprocess", "tempfile", "typing",
}  # fmt: skip
#: pyhomed starts once, not at a login; and no login makes a home.
NOT_AT_LOGIN = {
    *(Path(f"pam_pyhome/host/{name}.py") for name in ("pyhomed", "broker", "guests", "messages", "packets", "requests")),
    *(Path(f"pam_pyhome/host/{name}.py") for name in ("watching", "ssh_keys")),
    Path("pam_pyhome/backends/ecryptfs_create.py"),
    Path("pam_pyhome/kernel/namespace.py"),
}
PURE = {"__future__", "binascii", "hashlib", "struct"}
IMPURE_CALLS = {"open", "input", "print", "exec", "eval", "compile", "__import__", "breakpoint"}
KERNEL_ONLY = {"ctypes", "_ctypes", "cffi"}
BARE = {"sshd", "shell_stub", "packaging"}


@dataclass
class Module:
    """One parsed source file: its path below the root, its room ("" for what lies under all) and its text."""

    path: Path
    text: str
    tree: ast.Module = field(init=False)

    def __post_init__(self) -> None:
        """Parse."""
        self.tree = ast.parse(self.text, str(self.path))

    @property
    def room(self) -> str:
        """The first directory inside the package; the two linked rooms are the same at the top."""
        parts = self.path.parts[1:] if self.path.parts[0] == "pam_pyhome" else self.path.parts
        return parts[0] if len(parts) > 1 else ""


def violations(root: Path) -> list[str]:
    """Everything in the tree at `root` that breaks a rule, one line each."""
    found = list(_tree_rules(root))
    for path in sources(root):
        module = Module(path.relative_to(root), path.read_text())
        for rule in RULES:
            found += [f"{module.path}:{line}: {what}" for line, what in rule(module)]
    return found


def sources(root: Path) -> list[Path]:
    """The source files of the product; those behind the links once."""
    tops = [root / name for name in ("pam_pyhome", "sshd", "shell_stub")]
    files = [path for top in tops for path in sorted(top.rglob("*.py"))]
    linked = [root / "pam_pyhome" / name for name in ("sshd", "shell_stub")]
    return [path for path in files if not any(link in path.parents and link.is_symlink() for link in linked)]


def _tree_rules(root: Path) -> Iterator[str]:
    for name in ("sshd", "shell_stub"):
        link = root / "pam_pyhome" / name
        if not link.is_symlink() or link.readlink() != Path("..") / name:
            yield f"pam_pyhome/{name} is not a link to ../{name}"
    if list((root / "packaging").rglob("__init__.py")):
        yield "an __init__.py below packaging/ would hide the library of that name"


Finding = tuple[int, str]


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of all that is imported at run time, also inside functions."""
    for node in _run_time(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def _run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those behind ``if TYPE_CHECKING``."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            for other in child.orelse:
                yield from _run_time(other)
        else:
            yield from _run_time(child)


def import_table(module: Module) -> Iterator[Finding]:
    """Rooms import only the rooms below them, by absolute names."""
    for line, name in imports(module.tree):
        parts = name.split(".")
        if name.startswith("."):
            yield line, "relative import"
        elif parts[-1] == "*":
            yield line, f"import * from {name[:-2]}"
        elif parts[0] in BARE:
            yield line, f"bare import of {parts[0]}"
        elif parts[0] == "pam_pyhome" and len(parts) > 1 and not _may_import(module, parts[1]):
            yield line, f"{module.room or 'what lies under all'} imports {parts[1]}"


def _may_import(module: Module, other: str) -> bool:
    if other in UNDER_ALL or other == "__version__":
        return True
    if not module.room:
        return module.path.name == "__main__.py" and other == "cli"
    return other == module.room or other in ROOMS.get(module.room, set())


def known_room(module: Module) -> Iterator[Finding]:
    """Every directory is a room of the table."""
    if module.room and module.room not in ROOMS:
        yield 1, f"{module.room} is not a room"


def is_at_login(module: Module) -> bool:
    """Whether a login loads the module."""
    under_all = not module.room and module.path.stem in UNDER_ALL
    return under_all or (module.room in LOGIN_PATH and module.path not in NOT_AT_LOGIN)


def quick_imports(module: Module) -> Iterator[Finding]:
    """The login path leaves slow modules alone."""
    if is_at_login(module):
        for line, name in imports(module.tree):
            if name.split(".")[0] in SLOW:
                yield line, f"{name.split('.')[0]} on the login path"


def purity(module: Module) -> Iterator[Finding]:
    """Formats compute; they neither read nor write nor wait nor roll dice."""
    if module.room != "formats":
        return
    for line, name in imports(module.tree):
        if name.split(".")[0] not in PURE | {"pam_pyhome"}:
            yield line, f"{name.split('.')[0]} is not pure"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            yield node.lineno, f"{node.func.id}() is not pure"


def one_room_calls_the_system(module: Module) -> Iterator[Finding]:
    """Foreign functions are the kernel room's."""
    if module.room != "kernel":
        for line, name in imports(module.tree):
            if name.split(".")[0] in KERNEL_ONLY:
                yield line, f"{name.split('.')[0]} outside the kernel room"


def sizes(module: Module) -> Iterator[Finding]:
    """Files and functions that fit into a head."""
    lines = module.text.count("\n")
    if lines > FILE_LINES:
        yield FILE_LINES, f"{lines} lines, more than {FILE_LINES}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {length} lines, more than {FUNCTION_LINES}"


def docstrings(module: Module) -> Iterator[Finding]:
    """Modules and what is public in them say what they are."""
    if not ast.get_docstring(module.tree):
        yield 1, "module without a docstring"
    yield from _undocumented(module.tree)


def _undocumented(parent: ast.Module | ast.ClassDef) -> Iterator[Finding]:
    for node in parent.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield node.lineno, f"{node.name} without a docstring"
            if isinstance(node, ast.ClassDef):
                yield from _undocumented(node)


def lazy_annotations(module: Module) -> Iterator[Finding]:
    """Annotations are never evaluated, so that names for them cost nothing."""
    annotated = any(isinstance(node, ast.FunctionDef | ast.AnnAssign) for node in ast.walk(module.tree))
    if annotated and not any(name == "__future__.annotations" for _, name in imports(module.tree)):
        yield 1, "annotations are evaluated: from __future__ import annotations is missing"


_QUIET = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.If, ast.Assert,
)  # fmt: skip


def no_work_at_import(module: Module) -> Iterator[Finding]:
    """A module defines things; whoever wants something done calls it."""
    for node in module.tree.body:
        if isinstance(node, ast.If) and not _is_guard(node):
            yield node.lineno, "a condition at import"
        if isinstance(node, _QUIET) or _is_docstring(node) or _registers_a_command(node):
            continue
        yield node.lineno, f"work at import: {ast.unparse(node)[:40]}"


def _is_guard(node: ast.If) -> bool:
    """Whether nothing comes of a condition but names for annotations, the program, or a refusal to be imported."""
    refuses = len(node.body) == 1 and isinstance(node.body[0], ast.Raise) and not node.orelse
    return refuses or ast.unparse(node.test) in {"TYPE_CHECKING", "__name__ == '__main__'"}


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _registers_a_command(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node).startswith("cli.add_command(")


_NOQA = re.compile(r"#\s*noqa\b(?!: [A-Z]+[0-9]+(, [A-Z]+[0-9]+)* - \S)")
_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[[a-z-]+(, ?[a-z-]+)*\]  # \S)")


def excuses(module: Module) -> Iterator[Finding]:
    """A suppression names what it suppresses, and why."""
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type == tokenize.COMMENT and (_NOQA.search(token.string) or _IGNORE.search(token.string)):
            yield token.start[0], f"no code or no reason: {token.string}"


RULES: tuple[Callable[[Module], Iterator[Finding]], ...] = (
    import_table,
    known_room,
    quick_imports,
    purity,
    one_room_calls_the_system,
    sizes,
    docstrings,
    lazy_annotations,
    no_work_at_import,
    excuses,
)
