"""eCryptfs homes on a foreign disk: found where they can be, and their keys had from whatever somebody has at hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pam_pyhome.admin import salvage, salvage_find
from pam_pyhome.admin.salvage_find import Home, Places
from pam_pyhome.errors import KeyFilesLostError, NothingFoundError, WrongPassphraseError
from tests.login.homes import FEKEK, FNEK, MOUNT_PASSPHRASE, version_1, wrap

pytestmark = pytest.mark.root

ADA = 5001
PASSWORD, OLD_PASSWORD, KEY = b"correct horse", b"from before", b"1a2b3-c4d5e"
BOTH = (FNEK, FEKEK)


def make_home(path: Path, uid: int = ADA) -> Path:
    """What `ecryptfs-migrate-home` leaves in a directory, of somebody whom nobody here knows."""
    config = path / ".ecryptfs"
    config.mkdir(parents=True)
    (path / ".Private").mkdir()
    wrap(config / "wrapped-passphrase", PASSWORD)
    (config / "Private.sig").write_text(f"{FEKEK}\n{FNEK}\n", encoding="ascii")
    (config / "Private.mnt").write_text("/etc\n", encoding="ascii")
    for each in (path, config, path / ".Private", *config.iterdir()):
        os.chown(each, uid, uid)
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk with one home."""
    make_home(tmp_path / "home/.ecryptfs/ada")
    mountpoint = tmp_path / "home/ada"
    mountpoint.mkdir()
    for name in (".ecryptfs", ".Private"):
        (mountpoint / name).symlink_to(f"/home/.ecryptfs/ada/{name}")
    return tmp_path


def found(path: Path) -> list[Home]:
    return list(salvage_find.search(str(path), Places()).homes)


def signatures(home: Home, secret: bytes, places: Places | None = None) -> tuple[str, ...]:
    """The names of the keys that a secret gives."""
    return tuple(name for name, _ in salvage.unlock(home, secret, places or Places()).keys)


def the_home(disk: Path) -> Home:
    (home,) = found(disk)
    return home


@pytest.mark.parametrize("where", [".", "home", "home/.ecryptfs", "home/.ecryptfs/ada", "home/ada"])
def test_found_from_anywhere(disk: Path, where: str) -> None:
    home = the_home(disk / where)
    path = str(disk / "home/.ecryptfs/ada")
    assert home == Home("ada", "ecryptfs", path, ADA, ("mount passphrase or recovery key", "password"), "")


def test_a_private_directory_in_a_home(tmp_path: Path) -> None:
    make_home(tmp_path / "bob")
    assert the_home(tmp_path).path == the_home(tmp_path / "bob").path == str(tmp_path / "bob")


def test_what_opens_it(disk: Path) -> None:
    home = the_home(disk)
    config = disk / "home/.ecryptfs/ada/.ecryptfs"
    assert signatures(home, MOUNT_PASSPHRASE) == BOTH
    assert signatures(home, PASSWORD) == BOTH
    with pytest.raises(WrongPassphraseError):
        signatures(home, OLD_PASSWORD)
    wrap(config / "wrapped-passphrase.previous", OLD_PASSWORD)
    wrap(config / "recovery-wrapped-passphrase", KEY)
    assert signatures(home, OLD_PASSWORD) == BOTH
    assert signatures(home, KEY) == BOTH
    for wrong in (b"", b"x" * 65, b"a\0b", b"\xff"):
        with pytest.raises(WrongPassphraseError):
            signatures(home, wrong)
    (config / "wrapped-passphrase").write_bytes(version_1(b"weak"))
    assert signatures(home, b"weak") == BOTH
    (config / "Private.sig").write_text(f"{FEKEK}\n", encoding="ascii")
    assert signatures(home, MOUNT_PASSPHRASE) == (FEKEK,)
    (config / "Private.sig").write_text(f"{FNEK}\n{FEKEK}\n", encoding="ascii")
    with pytest.raises(WrongPassphraseError):
        signatures(home, MOUNT_PASSPHRASE)


def test_without_the_key_file(disk: Path) -> None:
    config = disk / "home/.ecryptfs/ada/.ecryptfs"
    (config / "wrapped-passphrase").write_bytes(b"broken")
    home = the_home(disk)
    assert home.opens == ("mount passphrase or recovery key",)
    assert signatures(home, MOUNT_PASSPHRASE) == BOTH
    copies = disk / f"var/lib/pyhome/{ADA}.ada"
    copies.mkdir(parents=True)
    wrap(copies / "wrapped-passphrase", PASSWORD)
    wrap(copies / "wrapped-passphrase.previous", OLD_PASSWORD)
    assert signatures(home, PASSWORD) == signatures(home, OLD_PASSWORD) == BOTH


def test_without_the_signatures(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without them nothing shows whether a passphrase is right; only copies from the same disk, or that are named, are taken."""
    shutil.move(disk / "home/.ecryptfs/ada/.ecryptfs/Private.sig", disk / "aside")
    home = the_home(disk)
    assert (home.opens, home.trouble) == ((), ".ecryptfs/Private.sig is lost")
    with pytest.raises(KeyFilesLostError):
        signatures(home, MOUNT_PASSPHRASE)
    backup = tmp_path_factory.mktemp("backup")
    for uid, known in ((ADA + 1, False), (ADA, True)):
        copies = backup / f"var/lib/pyhome/{uid}.ada"
        copies.mkdir(parents=True)
        shutil.copy(disk / "aside", copies / "Private.sig")
        if known:
            assert signatures(home, MOUNT_PASSPHRASE, Places(str(backup))) == BOTH
        else:
            with pytest.raises(KeyFilesLostError):
                signatures(home, MOUNT_PASSPHRASE, Places(str(backup)))


def encrypted_name(signature: str) -> str:
    """A name as the kernel makes it: 6 bits in each character, of a packet that begins with 0x46, a length, and the signature."""
    alphabet = "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    bits = "".join(f"{byte:08b}" for byte in b"\x46\x39" + bytes.fromhex(signature) + b"\x07" + bytes(49))
    return "ECRYPTFS_FNEK_ENCRYPTED." + "".join(alphabet[int(bits[start : start + 6], 2)] for start in range(0, len(bits), 6))


def header(signature: str) -> bytes:
    """The beginning of a file as the kernel makes it."""
    key = b"\x8c\x1d\x04\x07\x03\x01" + bytes(8) + b"`" + os.urandom(16)
    return bytes(26) + key + b"\xed\x16b\x08_CONSOLE" + bytes(4) + bytes.fromhex(signature) + bytes(8200)


@pytest.mark.parametrize("names", ["encrypted", "plain"])
def test_the_ciphertext_names_its_keys(disk: Path, names: str) -> None:
    """Private.sig is lost, and so is every copy of it; what is no file of the home is passed over."""
    home = disk / "home/.ecryptfs/ada"
    shutil.rmtree(home / ".ecryptfs")
    below = home / ".Private" / (encrypted_name(FNEK) if names == "encrypted" else "letters")
    below.mkdir()
    os.mkfifo(home / ".Private/fifo")
    (home / ".Private/empty").touch()
    (home / ".Private/link").symlink_to("/etc/passwd")
    assert the_home(disk).opens == ()
    (below / (encrypted_name(FNEK) if names == "encrypted" else "letter")).write_bytes(header(FEKEK))
    found_home = the_home(disk)
    assert found_home.opens == ("mount passphrase or recovery key",)
    assert signatures(found_home, MOUNT_PASSPHRASE) == (BOTH if names == "encrypted" else (FEKEK,))
    with pytest.raises(WrongPassphraseError):
        signatures(found_home, PASSWORD)


def test_nothing(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "there is no encrypted home in it"), (tmp_path / "none", "there is no such directory")):
        with pytest.raises(NothingFoundError, match=reason):
            found(path)
    (tmp_path / "image").touch()
    with pytest.raises(NothingFoundError, match="is not a directory"):
        found(tmp_path / "image")


# A disk that somebody has made to do harm


@pytest.mark.guarantee(17)
def test_links_are_not_followed(tmp_path: Path) -> None:
    """A home outside is not found through any kind of link, nor are its key files used for one inside."""
    outside = make_home(tmp_path / "outside/ada", 0)
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "home").symlink_to(outside.parent)
    (disk / "ada").symlink_to(outside)
    (disk / "bob").mkdir()
    (disk / "bob/.Private").symlink_to(outside / ".Private")
    (disk / "bob/.ecryptfs").symlink_to(outside / ".ecryptfs")
    with pytest.raises(NothingFoundError):
        found(disk)
    (disk / "eve/.Private").mkdir(parents=True)
    (disk / "eve/.ecryptfs").symlink_to(outside / ".ecryptfs")
    assert the_home(disk).opens == ()
    (disk / "eve/.ecryptfs").unlink()
    (disk / "eve/.ecryptfs").mkdir()
    (disk / "eve/.ecryptfs/Private.sig").symlink_to(outside / ".ecryptfs/Private.sig")
    assert the_home(disk).opens == ()


@pytest.mark.parametrize("kind", ["fifo", "huge", "device", "directory"])
@pytest.mark.parametrize("name", ["Private.sig", "wrapped-passphrase", "recovery-wrapped-passphrase"])
@pytest.mark.guarantee(17)
def test_files_that_are_none(disk: Path, name: str, kind: str) -> None:
    path = disk / "home/.ecryptfs/ada/.ecryptfs" / name
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        os.mknod(path, 0o20600, os.makedev(1, 5))
    elif kind == "directory":
        path.mkdir()
    else:
        path.touch()
        os.truncate(path, 1 << 40)
    home = the_home(disk)
    assert ("mount passphrase or recovery key" in home.opens) == (name != "Private.sig")
    if name == "recovery-wrapped-passphrase":
        assert signatures(home, PASSWORD) == BOTH


@pytest.mark.guarantee(17)
def test_a_disk_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salvage_find, "MOST_DIRECTORIES", 50)
    monkeypatch.setattr(salvage_find, "MOST_ENTRIES", 30)
    for number in range(100):
        (tmp_path / f"d{number}/e").mkdir(parents=True)
    make_home(tmp_path / "d0/x/y/z/too-deep")
    with pytest.raises(NothingFoundError, match="before the search was given up"):
        found(tmp_path)
    make_home(tmp_path / "d0/x")
    result = salvage_find.search(str(tmp_path / "d0"), Places())
    assert [home.user for home in result.homes] == ["x", "too-deep"]
    assert result.complete


def test_strange_names(tmp_path: Path) -> None:
    for name in (b"a\nb\x1b[2J", b"\xff\xfe", b"-rf", b"a b'c"):
        make_home(tmp_path / os.fsdecode(name))
    assert {os.fsencode(home.user) for home in found(tmp_path)} == {b"a\nb\x1b[2J", b"\xff\xfe", b"-rf", b"a b'c"}
