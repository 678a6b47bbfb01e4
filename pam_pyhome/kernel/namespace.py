"""A process in mount and process namespaces of its own: what it mounts, nobody else sees, and it vanishes with the process."""

from __future__ import annotations

import ctypes
import os
import select
import signal

from pam_pyhome.errors import StorageError
from pam_pyhome.kernel import trees
from pam_pyhome.kernel.libc import check, proto
from pam_pyhome.kernel.process import CLONE_NEWNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_CLONE_NEWPID = 0x20000000
_MS_NOSUID, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4096, 16384, 1 << 18
_PR_SET_PDEATHSIG = 1
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PROGRAMS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_NEW_ROOT = "/proc"  # a directory that is always there, and that nothing needs which `confine` is for


def run(what: str, work: Callable[[], bytes], *, seconds: float) -> bytes:
    """What `work` returns, which is called in a process of its own that sees itself as number 1.

    All processes that it has begun end with it, and all of them if this process is killed. StorageError about `what` if the
    namespaces cannot be had, if `work` raises (the reason is what it said), or if it takes too long.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _begin(work, writer)
    os.close(writer)
    answer = None
    try:
        answer = _read_all(reader, seconds)
    finally:
        os.close(reader)
        if answer is None:
            os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)  # it has waited for the others, so what they had mounted is gone
    if answer is None:
        raise StorageError(what, f"did not end in {seconds:.0f} seconds")
    if answer[:1] != b"+":
        raise StorageError(what, answer[1:].decode("utf-8", "replace") or "the process that did it was killed")
    return answer[1:]


def _read_all(reader: int, seconds: float) -> bytes | None:
    """All that is said until nobody can say more; None if there is silence for too long."""
    look = select.poll()
    look.register(reader, select.POLLIN)
    answer = b""
    while look.poll(seconds * 1000):
        chunk = os.read(reader, 65536)
        if not chunk:
            return answer
        answer += chunk
    return None


def _begin(work: Callable[[], bytes], writer: int) -> None:
    """The first child: never returns."""
    try:
        prctl = proto(None, "prctl", ctypes.c_int, ctypes.c_int, ctypes.c_ulong)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        check(proto(None, "unshare", ctypes.c_int, ctypes.c_int)(CLONE_NEWNS | _CLONE_NEWPID), "unshare")
        pid = os.fork()
        if pid == 0:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
            _mount("proc", "/proc", "proc", 0)
            _be_quiet()
            _send(writer, b"+" + work())
            os._exit(0)
        os.close(writer)
        signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
        os.waitpid(pid, 0)
    except Exception as error:  # noqa: BLE001 - whatever happens is for the parent to hear
        _send(writer, b"-" + str(error).encode("utf-8", "replace"))
    finally:
        os._exit(0)


def _be_quiet() -> None:
    """Stand where nothing is hidden, and let nobody hear what programs say."""
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)


def _send(writer: int, answer: bytes) -> None:
    rest = memoryview(answer)
    while rest:
        rest = rest[os.write(writer, rest) :]


def _mount(source: str, target: str, fstype: str, flags: int, options: str = "") -> None:
    text = ctypes.c_char_p
    mount = proto(None, "mount", ctypes.c_int, text, text, text, ctypes.c_ulong, text)
    check(mount(os.fsencode(source), os.fsencode(target), fstype.encode(), flags, options.encode() or None), f"mount {target}")


# For use in `run`


def hide(directories: Iterable[str]) -> None:
    """Put an empty directory in memory over each of these, if it is there."""
    for path in directories:
        if os.path.isdir(path):
            _mount("private", path, "tmpfs", _MS_NOSUID, "mode=0755")


def copy_over(directory: str) -> None:
    """Put a copy in memory of a directory of files, not of directories, over it, so that what is written there is lost."""
    found: list[tuple[str, os.stat_result, bytes | None]] = []
    for entry in os.scandir(directory):
        status = entry.stat(follow_symlinks=False)
        if entry.is_symlink():
            found.append((entry.name, status, None))
        elif entry.is_file(follow_symlinks=False):
            with open(entry.path, "rb") as file:
                found.append((entry.name, status, file.read()))
    links = {name: os.readlink(f"{directory}/{name}") for name, _, content in found if content is None}
    hide([directory])
    for name, status, content in found:
        if content is None:
            os.symlink(links[name], f"{directory}/{name}")
        else:
            write(f"{directory}/{name}", content, status.st_mode & 0o7777)
            os.chown(f"{directory}/{name}", status.st_uid, status.st_gid)


def confine(shown: Mapping[str, bool]) -> None:
    """See nothing from now on but these directories, at their paths, without what is mounted in them, and the system's programs.

    Only those with True can be written. A link that leads out of them leads nowhere: whoever can put links into a tree while root
    goes through it leads root nowhere. Devices in them cannot be opened. OSError, with ENOSYS from a kernel older than 5.12.
    """
    links = {name: os.readlink(f"/{name}") for name in _PROGRAMS if os.path.islink(f"/{name}")}
    system = [f"/{name}" for name in _PROGRAMS if name not in links and os.path.isdir(f"/{name}")]
    harmless = trees.NO_SUID | trees.NO_DEVICES | trees.NO_EXEC
    wanted = dict.fromkeys(system, trees.READ_ONLY)
    wanted.update({path: harmless | (0 if writable else trees.READ_ONLY) for path, writable in shown.items()})
    opened = {path: os.open(path, _PLACE) for path in wanted}
    _mount("private", _NEW_ROOT, "tmpfs", _MS_NOSUID, "mode=0755")
    for name, target in links.items():
        os.symlink(target, f"{_NEW_ROOT}/{name}")
    for path, source in opened.items():
        os.makedirs(_NEW_ROOT + path, exist_ok=True)
        place = os.open(_NEW_ROOT + path, _PLACE)
        trees.show(source, place, wanted[path])
        os.close(place)
        os.close(source)
    os.chroot(_NEW_ROOT)
    os.chdir("/")


def put_over(contents: Mapping[str, bytes], scratch: str) -> None:
    """Put files with these contents over others, each as secret as before. `scratch` is a directory that was hidden before."""
    for number, (path, content) in enumerate(contents.items()):
        stand_in = f"{scratch}/over-{number}"
        write(stand_in, content, os.stat(path).st_mode & 0o7777)
        _mount(stand_in, path, "", _MS_BIND)


def write(path: str, content: bytes, mode: int) -> None:
    """Write a file with exactly this mode."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(fd, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
