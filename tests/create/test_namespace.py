"""Work in private namespaces: what it says, and that nothing of it is left."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

from pam_pyhome.errors import StorageError
from pam_pyhome.kernel import namespace

pytestmark = pytest.mark.root


def test_what_is_mounted_is_seen_by_nobody_else(tmp_path: Path) -> None:
    def work() -> bytes:
        namespace.hide([str(tmp_path)])
        (tmp_path / "inside").touch()
        return b"%d %d" % (os.getpid(), os.path.ismount(tmp_path))

    assert namespace.run("a test", work, seconds=30) == b"1 1"
    assert not os.path.ismount(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_goes_wrong_is_told() -> None:
    def work() -> bytes:
        raise FileNotFoundError(2, "is missing", "/nowhere")

    with pytest.raises(StorageError, match=r"^a test: .*is missing.*/nowhere"):
        namespace.run("a test", work, seconds=30)
    with pytest.raises(StorageError, match="was killed"):
        namespace.run("a test", lambda: os._exit(0), seconds=30)


def test_nothing_goes_on_when_time_is_up(tmp_path: Path) -> None:
    marker = f"{tmp_path}/nobody-else-has-this"

    def work() -> bytes:
        subprocess.run(["/bin/sh", "-c", "sleep 60; :", marker], check=True)
        return b""

    began = time.monotonic()
    with pytest.raises(StorageError, match="did not end in 1 seconds"):
        namespace.run("a test", work, seconds=1)
    assert time.monotonic() - began < 30
    assert subprocess.run(["pgrep", "-f", marker], capture_output=True, check=False).stdout == b""


def test_confined(tmp_path: Path) -> None:
    """What is shown is all there is; only what may be written is, and links lead nowhere."""
    source, target = tmp_path / "source", tmp_path / "target"
    for path in (source, target):
        path.mkdir()
    (source / "out").symlink_to(tmp_path)
    os.mknod(source / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))

    def work() -> bytes:
        namespace.confine({str(source): False, str(target): True})
        (target / "written").touch()
        done = {"seen": sorted(os.listdir(tmp_path)), "out": os.path.exists(source / "out/target"), "etc": os.path.exists("/etc")}
        for what, path in (("write", source / "new"), ("device", source / "null"), ("program", Path("/usr/bin/new"))):
            try:
                path.open("wb").close()
            except OSError as error:
                done[what] = error.errno
        done["runs"] = subprocess.run(["/bin/true"], check=False).returncode
        return json.dumps(done).encode("ascii")

    found = json.loads(namespace.run("a test", work, seconds=30))
    assert found == {
        "seen": ["source", "target"], "out": True, "etc": False, "runs": 0,
        "write": errno.EROFS, "device": errno.EACCES, "program": errno.EROFS,
    }  # fmt: skip
    assert (target / "written").exists()
