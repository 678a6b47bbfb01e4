"""The walls between the rooms stand, and the machine that keeps them sees every breach."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pam_pyhome import errors
from tests.unit import architecture

ROOT = Path(__file__).parent.parent.parent


def test_the_tree_keeps_all_rules() -> None:
    assert architecture.violations(ROOT) == []


def test_every_room_is_looked_at() -> None:
    rooms = {architecture.Module(path.relative_to(ROOT), path.read_text()).room for path in architecture.sources(ROOT)}
    assert rooms == {*architecture.ROOMS, ""}


HEAD = '"""Planted."""\n\nfrom __future__ import annotations\n\n'
LONG = 'def long() -> None:\n    """Too long."""\n' + "    pass\n" * 60
BREACHES = {
    "formats import kernel": ("formats/a.py", "from pam_pyhome.kernel import files\n", "formats imports kernel"),
    "formats import a module of kernel": ("formats/a.py", "import pam_pyhome.kernel.files\n", "formats imports kernel"),
    "formats import the package": ("formats/a.py", "from pam_pyhome import kernel\n", "formats imports kernel"),
    "kernel imports formats": ("kernel/a.py", "from pam_pyhome.formats import wire\n", "kernel imports formats"),
    "backends import policy": ("backends/a.py", "from pam_pyhome.policy import x\n", "backends imports policy"),
    "slots import backends": ("slots/a.py", "from pam_pyhome.backends import x\n", "slots imports backends"),
    "policy imports host": ("policy/a.py", "from pam_pyhome.host import x\n", "policy imports host"),
    "host imports admin": ("host/a.py", "from pam_pyhome.admin import x\n", "host imports admin"),
    "admin imports cli": ("admin/a.py", "from pam_pyhome.cli import x\n", "admin imports cli"),
    "cli imports host": ("cli/a.py", "from pam_pyhome.host import x\n", "cli imports host"),
    "the stub imports kernel": ("../shell_stub/a.py", "from pam_pyhome.kernel import x\n", "shell_stub imports kernel"),
    "sshd imports host": ("../sshd/a.py", "from pam_pyhome.host import x\n", "sshd imports host"),
    "errors import a room": ("errors.py", "from pam_pyhome.formats import wire\n", "what lies under all imports formats"),
    "an import hides in a function": (
        "kernel/a.py",
        'def f() -> None:\n    """Hide."""\n    from pam_pyhome.formats import wire\n',
        "kernel imports formats",
    ),
    "relative": ("cli/a.py", "from . import x\n", "relative import"),
    "star": ("cli/a.py", "from os import *\n", "import * from os"),
    "bare sshd": ("cli/a.py", "import sshd\n", "bare import of sshd"),
    "bare part of sshd": ("cli/a.py", "from sshd.config import x\n", "bare import of sshd"),
    "bare shell_stub": ("cli/a.py", "from shell_stub import x\n", "bare import of shell_stub"),
    "an unknown room": ("attic/a.py", "", "attic is not a room"),
    "typing on the login path": ("host/a.py", "import typing\n", "typing on the login path"),
    "a part of typing": ("kernel/a.py", "from typing import Any\n", "typing on the login path"),
    "dataclasses in what lies under all": ("secret.py", "import dataclasses\n", "dataclasses on the login path"),
    "socket": ("policy/a.py", "import socket\n", "socket on the login path"),
    "json": ("backends/a.py", "import json\n", "json on the login path"),
    "the else of TYPE_CHECKING": (
        "kernel/a.py",
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import typing\nelse:\n    import re\n",
        "re on the login path",
    ),
    "os in formats": ("formats/a.py", "import os\n", "os is not pure"),
    "time in formats": ("formats/a.py", "from time import time\n", "time is not pure"),
    "random in formats": ("formats/a.py", "import secrets\n", "secrets is not pure"),
    "open in formats": ("formats/a.py", 'def f() -> None:\n    """Read."""\n    open("x")\n', "open() is not pure"),
    "ctypes in policy": ("policy/a.py", "import ctypes\n", "ctypes outside the kernel room"),
    "ctypes in admin": ("admin/a.py", "from ctypes import CDLL\n", "ctypes outside the kernel room"),
    "a long file": ("cli/a.py", "X = 1\n" * 400, "404 lines, more than 400"),
    "a long function": ("cli/a.py", LONG, "long has 62 lines, more than 60"),
    "a long method": (
        "cli/a.py",
        'class A:\n    """A."""\n\n' + "".join(f"    {line}\n" for line in LONG.splitlines()),
        "long has 62 lines, more than 60",
    ),
    "a function without a docstring": ("cli/a.py", "def f() -> None:\n    pass\n", "f without a docstring"),
    "a method without a docstring": (
        "cli/a.py",
        'class A:\n    """A."""\n\n    def f(self) -> None:\n        pass\n',
        "f without a docstring",
    ),
    "work at import": ("cli/a.py", "print(1)\n", "work at import"),
    "a loop at import": ("cli/a.py", "for x in ():\n    pass\n", "work at import"),
    "a try at import": ("cli/a.py", "try:\n    import os\nexcept ImportError:\n    pass\n", "work at import"),
    "a condition at import": ("cli/a.py", "if 1:\n    X = 1\n", "a condition at import"),
    "noqa without a code": ("cli/a.py", "X = 1  # noqa\n", "no code or no reason"),
    "noqa without a reason": ("cli/a.py", "X = 1  # noqa: E501\n", "no code or no reason"),
    "ignore without a code": ("cli/a.py", "X = 1  # type: ignore\n", "no code or no reason"),
    "ignore without a reason": ("cli/a.py", "X = 1  # type: ignore[misc]\n", "no code or no reason"),
}  # fmt: skip


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """A tree that keeps all rules."""
    for room in architecture.ROOMS:
        linked = room in {"sshd", "shell_stub"}
        directory = tmp_path / room if linked else tmp_path / "pam_pyhome" / room
        directory.mkdir(parents=True)
        (directory / "__init__.py").write_text('"""A room."""\n')
        if linked:
            (tmp_path / "pam_pyhome").mkdir(exist_ok=True)
            (tmp_path / "pam_pyhome" / room).symlink_to(Path("..") / room)
    (tmp_path / "pam_pyhome" / "formats" / "fine.py").write_text(
        HEAD
        + "import hashlib\n\nfrom pam_pyhome.errors import FormatError\n\nTYPE_CHECKING = False\nif TYPE_CHECKING:\n"
        + "    from typing import Any\n\nX = 1  # type: ignore[misc]  # a reason\nY = 1  # noqa: E501 - a reason\n"
    )
    assert architecture.violations(tmp_path) == []
    return tmp_path


@pytest.mark.parametrize(("place", "source", "expected"), BREACHES.values(), ids=BREACHES.keys())
def test_a_planted_breach_is_seen(clean: Path, place: str, source: str, expected: str) -> None:
    path = clean / "pam_pyhome" / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(HEAD + source)
    found = architecture.violations(clean)
    assert len(found) == 1
    assert expected in found[0]


def test_a_missing_module_docstring_and_future_import_are_seen(clean: Path) -> None:
    (clean / "pam_pyhome/cli/a.py").write_text("X: int = 1\nY = 2\n")
    found = architecture.violations(clean)
    assert ["module without a docstring" in found[0], "annotations are evaluated" in found[1]] == [True, True]


def test_directories_instead_of_links_and_a_package_called_packaging_are_seen(clean: Path) -> None:
    (clean / "pam_pyhome/sshd").unlink()
    (clean / "packaging/debian").mkdir(parents=True)
    (clean / "packaging/debian/__init__.py").touch()
    assert architecture.violations(clean) == [
        "pam_pyhome/sshd is not a link to ../sshd",
        "an __init__.py below packaging/ would hide the library of that name",
    ]


def modules_at_login() -> list[str]:
    modules = [architecture.Module(path.relative_to(ROOT), path.read_text()) for path in architecture.sources(ROOT)]
    paths = [module.path.with_suffix("") for module in modules if architecture.is_at_login(module)]
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def test_what_really_is_imported_at_a_login() -> None:
    """Ask the interpreter that a login starts: isolated, without site, so that nothing comes along unasked."""
    code = (
        "import sys\nsys.path.insert(0, sys.argv[1])\nbefore = set(sys.modules)\n"
        "for name in sys.argv[2:]:\n    __import__(name)\nprint(*sys.modules.keys() - before)"
    )
    modules = modules_at_login()
    assert "pam_pyhome.formats.wire" in modules
    command = ["/usr/bin/python3", "-I", "-S", "-B", "-c", code, str(ROOT), *modules]
    ran = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60)
    loaded = set(ran.stdout.split())
    assert not {".".join(path.with_suffix("").parts) for path in architecture.NOT_AT_LOGIN} & loaded
    imported = {name.split(".")[0] for name in loaded}
    assert "pam_pyhome" in imported
    assert imported & (architecture.SLOW - {"collections"}) == set()


def test_every_error_has_its_own_exit_code() -> None:
    classes = [
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.PyhomeError)
    ]
    codes = [each.__dict__.get("exit_code") for each in classes]
    assert None not in codes
    assert len(set(codes)) == len(codes)
    assert not {0, 2, 130} & set(codes)


def in_the_root(statement: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", "-c", statement]
    return subprocess.run(command, capture_output=True, check=False, text=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("room", ["sshd", "shell_stub"])
def test_a_linked_room_is_imported_by_its_full_name_only(room: str) -> None:
    """From the root of the source tree, a bare import would work and make a second copy of the module."""
    assert in_the_root(f"import pam_pyhome.{room}").returncode == 0
    bare = in_the_root(f"import {room}")
    assert bare.returncode == 1
    assert "ImportError" in bare.stderr
