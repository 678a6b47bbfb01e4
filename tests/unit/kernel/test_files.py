"""Files: no link followed, nothing believed unseen, nothing half written."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pam_pyhome.errors import UnsafeFileError
from pam_pyhome.kernel import files

ME = (os.getuid(),)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    """A descriptor of the test's directory."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_reading(tmp_path: Path, directory: int) -> None:
    (tmp_path / "file").write_bytes(b"x" * 90)
    before = descriptors()
    assert files.read_file(directory, "file", owners=ME, limit=90) == b"x" * 90
    with pytest.raises(UnsafeFileError, match="90 bytes, more than 89"):
        files.read_file(directory, "file", owners=ME, limit=89)
    with pytest.raises(UnsafeFileError, match="owned by uid"):
        files.read_file(directory, "file", owners=(ME[0] + 1,), limit=90)
    with pytest.raises(FileNotFoundError):
        files.read_file(directory, "none", owners=ME, limit=90)
    assert descriptors() == before


@pytest.mark.parametrize("kind", ["link", "dangling link", "FIFO", "directory", "socket"])
@pytest.mark.guarantee(6)
def test_what_is_not_a_file_is_not_read_and_does_not_block(tmp_path: Path, directory: int, kind: str) -> None:
    path = tmp_path / "file"
    (tmp_path / "target").write_bytes(b"secret")
    makers: dict[str, Callable[[], None]] = {
        "link": lambda: path.symlink_to("target"),
        "dangling link": lambda: path.symlink_to("none"),
        "FIFO": lambda: os.mkfifo(path),
        "directory": path.mkdir,
        "socket": lambda: os.mknod(path, stat.S_IFSOCK | 0o600),
    }
    makers[kind]()
    with pytest.raises(UnsafeFileError):
        files.read_file(directory, "file", owners=ME, limit=90)


@pytest.mark.guarantee(6)
def test_a_sparse_giant_is_refused_at_once(tmp_path: Path, directory: int) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnsafeFileError):
        files.read_file(directory, "file", owners=ME, limit=90)


def test_directories(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "link").symlink_to("inner")
    os.close(files.open_directory(str(tmp_path / "inner"), owners=ME))
    before = descriptors()
    with pytest.raises(OSError, match="link"):
        files.open_directory(str(tmp_path / "link"), owners=ME)
    with pytest.raises(UnsafeFileError):
        files.open_directory(str(tmp_path / "inner"), owners=(ME[0] + 1,))
    (tmp_path / "inner").chmod(0o777)
    with pytest.raises(UnsafeFileError):
        files.open_directory(str(tmp_path / "inner"), owners=ME)
    assert descriptors() == before


def test_a_canonical_path_has_no_link_anywhere(tmp_path: Path) -> None:
    real = Path(os.path.realpath(tmp_path))
    (real / "inner/most").mkdir(parents=True)
    (real / "link").symlink_to("inner")
    before = descriptors()
    fd = files.open_canonical(bytes(real / "inner/most"))
    assert os.path.samestat(os.fstat(fd), (real / "inner/most").stat())
    os.close(fd)
    for path in (real / "link/most", real / "link", real / "none"):
        with pytest.raises(OSError, match=r"link|No such|Not a directory"):
            files.open_canonical(bytes(path))
    assert descriptors() == before


@pytest.mark.guarantee(10)
def test_replacing(tmp_path: Path, directory: int) -> None:
    before = descriptors()
    files.replace_file(directory, "file", b"one")
    files.replace_file(directory, "file", b"twelve")
    files.replace_file(directory, "other", b"x", mode=0o640)
    assert (tmp_path / "file").read_bytes() == b"twelve"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]
    assert descriptors() == before


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path: Path, directory: int) -> None:
    (tmp_path / "target").write_bytes(b"mine")
    (tmp_path / "file").symlink_to("target")
    (tmp_path / f"file{files.STAGED_SUFFIX}").symlink_to("target")
    files.replace_file(directory, "file", b"new")
    assert (tmp_path / "target").read_bytes() == b"mine"
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_staging_takes_the_space_and_touches_nothing(tmp_path: Path, directory: int) -> None:
    (tmp_path / "file").write_bytes(b"old")
    files.stage(directory, "file", 90)
    assert (tmp_path / f"file{files.STAGED_SUFFIX}").stat().st_size == 90
    assert (tmp_path / "file").read_bytes() == b"old"
    files.discard_staged(directory, "file")
    files.discard_staged(directory, "file")
    assert os.listdir(tmp_path) == ["file"]
    files.stage(directory, "file", 90)
    files.commit(directory, "file", b"short")
    assert (tmp_path / "file").read_bytes() == b"short"


def test_existence_does_not_follow_links(tmp_path: Path, directory: int) -> None:
    (tmp_path / "link").symlink_to("none")
    assert files.exists(directory, "link")
    assert not files.exists(directory, "none")


def test_locks(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    with path.open("rb") as one, path.open("rb") as two:
        assert files.try_lock(one.fileno(), exclusive=False)
        assert files.try_lock(two.fileno(), exclusive=False)
        assert not files.try_lock(two.fileno(), exclusive=True, seconds=0.05)
        fcntl.flock(one, fcntl.LOCK_UN)
        assert files.try_lock(two.fileno(), exclusive=True)
        assert not files.try_lock(one.fileno(), exclusive=False)
