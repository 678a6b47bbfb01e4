"""A test machine with a plain home that has every oddity in it, and the way to say what a home is like to the last bit."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

from tests.create.machine import PASSWORD, PYHOME, CreateMachine
from tests.login.homes import ADA, crypt

LONG = "n" * 200
#: What a capability set looks like on disk: version 2, effective, cap_net_raw.
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
State = dict[bytes, tuple[object, ...]]


class EncryptMachine(CreateMachine):
    """Users with plain homes."""

    def add_plain(self, name: str = "ada", uid: int = ADA) -> Path:
        """An account with a password and a home full of oddities; the home, from outside."""
        self.add_user(name, uid, password=crypt(PASSWORD), encrypted=False)
        home = self.path(f"/home/{name}")
        fill(home, uid)
        return home

    def pyhome(self, *arguments: str, status: int | None = 0, said: bytes = PASSWORD + b"\n") -> str:
        """Run the command; all that it prints."""
        done = self.ran(PYHOME, *arguments, said=said)
        text = (done.stdout + done.stderr).decode()
        assert status is None or done.returncode == status, f"{arguments}: {done.returncode}\n{text}"
        assert "Traceback" not in text, text
        return text

    def convert(self, verb: str, *arguments: str, status: int | None = 0, said: bytes = PASSWORD + b"\n") -> str:
        """`encrypt` or `decrypt`, without questions."""
        return self.pyhome(verb, "--yes", "--password-file", "-", *arguments, status=status, said=said)

    def refuses(self, *arguments: str, status: int = 70, said: bytes = PASSWORD + b"\n") -> str:
        """A verb that fails, prints one line and changes nothing; the line."""
        before = self.state_of_things()
        line = self.convert(*arguments, said=said, status=status)
        assert line.startswith(f"pyhome {arguments[0]}: "), line
        assert line.count("\n") == 1, line
        assert self.state_of_things() == before
        return line

    def open_state(self, name: str = "ada") -> State:
        """What an encrypted home is like while it is open."""
        self.pyhome("unlock", "--password-file", "-", name)
        try:
            return state(self.path(f"/home/{name}"))
        finally:
            self.pyhome("lock", name)

    def logs_in_to(self, name: str = "ada", password: bytes = PASSWORD) -> bool:
        """Whether a login finds the files of the home."""
        lines = self.log_in(password, f"sh={name}:cat /home/{name}/file", name=name)
        return lines == ["auth 0", "setcred 0", "open 0", "some text", "sh 0", "close 0"]

    def is_encrypted(self, name: str = "ada") -> bool:
        """Whether the home has a policy."""
        said = self.fscrypt("status", f"/home/{name}", status=None)
        return "is encrypted with fscrypt" in said

    def place(self, name: str = "ada") -> Path:
        """Where the other copy is."""
        return self.path(f"/home/.pyhome-converting.{name}")

    def remains(self) -> list[str]:
        """What nothing that came to its end leaves."""
        found = [str(path) for path in self.path("/home").glob(".pyhome*")]
        found += [path.name for path in self.path("/var/lib/pyhome/converting").glob("[!.]*")]
        return found + self.leftovers()


def fill(home: Path, uid: int) -> None:
    """Every oddity that a copy has to keep."""
    (home / "file").write_text("some text\n", encoding="ascii")
    (home / "large").write_bytes(bytes(range(256)) * 1200)
    (home / "empty").touch()
    with (home / "sparse").open("wb") as file:
        file.seek(5 << 20)
        file.write(b"in the middle")
        file.truncate(9 << 20)
    (home / "dir/empty dir").mkdir(parents=True)
    (home / "dir/deeper").mkdir()
    (home / "dir/deeper/first name").write_text("has three names", encoding="ascii")
    for other in ("dir/second name", "third name"):
        os.link(home / "dir/deeper/first name", home / other)
    odd = (b"\xff\xfe not utf-8", b" spaces ", b"new\nline", b"-rf", b"*?[x]", "\u00e4\U0001f600".encode(), LONG.encode())
    for number, name in enumerate(odd):
        Path(os.fsdecode(os.fsencode(home) + b"/dir/" + name)).write_bytes(b"odd %d" % number)
    (home / "link").symlink_to("dir/deeper")
    (home / "dangling").symlink_to("/nowhere/at all")
    os.link(home / "link", home / "dir/same link", follow_symlinks=False)
    os.mkfifo(home / "dir/fifo", 0o640)
    for path in (home, *home.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)
    os.chown(home / "dir/deeper", 0, 0)
    _mark(home)
    for number, path in enumerate(sorted(home.rglob("*"), key=lambda path: -len(path.parts))):
        os.utime(path, ns=(10**18, 10**18 + 123456789 * number), follow_symlinks=False)
    os.utime(home, ns=(10**18, 987654321))


def _mark(home: Path) -> None:
    """Modes, access lists, attributes, capabilities."""
    (home / "large").chmod(0o4750)
    (home / "dir").chmod(0o3770)
    (home / "empty").chmod(0)
    os.setxattr(home / "file", "user.colour", b"\0green\xff")
    os.setxattr(home / "dir", "user.colour", b"blue")
    os.setxattr(home / "large", "security.capability", CAPABILITY)
    os.setxattr(home / "dir", "trusted.secret", b"of root")
    for arguments in (("-m", "u:1:rw", str(home / "file")), ("-d", "-m", "u:2:rwx", str(home / "dir"))):
        subprocess.run(["setfacl", *arguments], check=True)


def state(home: Path) -> State:
    """All there is to know of each file of a home, by path; and under `names` which paths are the same file."""
    top = os.fsencode(home)
    found: State = {}
    names: dict[int, list[bytes]] = {}
    for directory, folders, files in os.walk(top):
        for name in sorted((*folders, *files)):
            path = directory + b"/" + name
            found[path[len(top) :]] = _describe(path)
            names.setdefault(os.lstat(path).st_ino, []).append(path[len(top) :])
    found[b""] = _describe(top)
    found[b"names"] = tuple(sorted(tuple(sorted(each)) for each in names.values() if len(each) > 1))
    return found


def _describe(path: bytes) -> tuple[object, ...]:
    status = os.lstat(path)
    content: object = None
    if stat.S_ISREG(status.st_mode):
        content = (status.st_size, Path(os.fsdecode(path)).read_bytes())
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    xattrs = sorted((name, os.getxattr(path, name, follow_symlinks=False)) for name in os.listxattr(path, follow_symlinks=False))
    links = 0 if stat.S_ISDIR(status.st_mode) else status.st_nlink
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, links, content, xattrs


def add_socket(path: Path) -> None:
    """A socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as made:
        directory = os.open(path.parent, os.O_RDONLY)
        made.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)
