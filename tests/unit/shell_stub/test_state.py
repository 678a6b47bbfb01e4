"""How the home is, by files alone; that an open home is seen as such is shown in the virtual machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pam_pyhome.shell_stub import state

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ada(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The base of a home and of the shared place, as ecryptfs-setup-private makes them."""
    config = tmp_path / "shared/ada/.ecryptfs"
    config.mkdir(parents=True)
    (tmp_path / "shared/ada/.Private").mkdir()
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada/.ecryptfs").symlink_to(config)
    (config / "wrapped-passphrase").write_bytes(b"wrapped")
    (config / "Private.mnt").write_text(f"{tmp_path}/ada\n")
    monkeypatch.setattr(state, "SHARED", bytes(tmp_path / "shared"))
    return tmp_path


def found(base: Path) -> str:
    return state.home_state(b"ada", bytes(base / "ada"))


def test_a_home_of_ecryptfs_that_is_not_mounted_is_locked(ada: Path) -> None:
    assert found(ada) == "locked"


def test_a_home_that_is_reached_by_a_link_is_locked(ada: Path) -> None:
    (ada / "users").symlink_to(".")
    assert state.home_state(b"ada", bytes(ada / "users/ada")) == "locked"


def test_an_empty_home_is_locked_by_what_is_in_the_shared_place(ada: Path) -> None:
    (ada / "ada/.ecryptfs").unlink()
    assert found(ada) == "locked"


def test_another_user_is_not(ada: Path) -> None:
    (ada / "bob").mkdir()
    assert state.home_state(b"bob", bytes(ada / "bob")) == "plain"
    assert state.home_state(b"eve", bytes(ada / "none")) == "plain"


def test_a_private_directory_in_a_plain_home_locks_nothing(ada: Path) -> None:
    (ada / "shared/ada/.ecryptfs/Private.mnt").write_text(f"{ada}/ada/Private\n")
    assert found(ada) == "plain"


@pytest.mark.parametrize("content", [None, b"", b"relative", b"/a\n/b\n", b"x" * 5000])
def test_a_mount_point_that_is_lost_is_for_the_broker_to_know(ada: Path, content: bytes | None) -> None:
    path = ada / "shared/ada/.ecryptfs/Private.mnt"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert found(ada) == "locked"


def test_a_key_file_that_is_lost_is_for_the_broker_to_know_where_there_is_ciphertext(ada: Path) -> None:
    (ada / "shared/ada/.ecryptfs/wrapped-passphrase").unlink()
    assert found(ada) == "locked"
    (ada / "shared/ada/.Private").rmdir()
    assert found(ada) == "plain"


def test_key_files_in_the_home_itself(ada: Path) -> None:
    (ada / "ada/.ecryptfs").unlink()
    (ada / "shared/ada/.ecryptfs").rename(ada / "ada/.ecryptfs")
    (ada / "shared/ada/.Private").rename(ada / "ada/.Private")
    assert found(ada) == "locked"


def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(ada: Path) -> None:
    (ada / "shared/ada/.ecryptfs/Private.mnt").unlink()
    os.mkfifo(ada / "shared/ada/.ecryptfs/Private.mnt")
    assert found(ada) == "locked"


def test_files_that_others_could_have_written_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"text")
    path.chmod(0o666)
    assert state.read_small(bytes(path), 10) == b"text"
    assert state.read_small(bytes(path), 3) is None
    assert state.read_small(bytes(path), 10, of_root=True) is None
    path.chmod(0o644)
    assert state.read_small(bytes(path), 10, of_root=True) == (b"text" if os.getuid() == 0 else None)
    assert state.read_small(bytes(tmp_path), 10) is None


@pytest.mark.guarantee(20)
def test_a_neighbours_mount_with_a_carriage_return_in_its_path_hides_nothing(ada: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = b"36 1 0:%d / %s rw - ecryptfs /home/.ecryptfs/x/.Private rw\n"
    (ada / "mountinfo").write_bytes(line % (40, b"/home/bob/a\rb") + line % (41, bytes(ada / "ada")))
    monkeypatch.setattr(state, "MOUNTINFO", bytes(ada / "mountinfo"))
    assert found(ada) == "open"
