"""A wheel installs one package, and never one that is called `sshd`."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
BUILD = "from setuptools.build_meta import build_wheel; build_wheel('dist')"


def test_a_wheel_has_one_top_level_package_with_all_rooms(tmp_path: Path) -> None:
    for name in ("pam_pyhome", "sshd", "shell_stub"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = ["/usr/bin/python3", "-B", "-c", BUILD]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=120)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    modules = {name for name in names if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in modules} == {"pam_pyhome"}
    assert {name.rpartition(".")[2] for name in modules} == {"py", "typed"}
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "pam_pyhome").rglob("*.py")}
    expected |= {
        f"pam_pyhome/{path.relative_to(ROOT)}"
        for name in ("sshd", "shell_stub")
        for path in (ROOT / name).rglob("*.py")
    }
    assert modules - {"pam_pyhome/py.typed"} == expected
