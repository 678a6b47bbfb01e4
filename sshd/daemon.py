"""The sshd of this machine: what it says about its configuration, and how it is told to read it again."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from pam_pyhome.errors import SshdError
from pam_pyhome.sshd import config

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BINARIES = ("/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd")
_UNITS = ("ssh.service", "sshd.service")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_NO_DIRECTORY = "Missing privilege separation directory: "
_SECONDS = 60
# What `-C` cannot carry in a user name.
_SPECIAL = set(',= \t"')


def find() -> str:
    """The path of sshd. SshdError if it is not installed."""
    for path in _BINARIES:
        if os.access(path, os.X_OK):
            return path
    raise SshdError("sshd", "is not installed")


def main_file() -> str:
    """The configuration file that sshd reads first: the administrator's, or where there is none, the distribution's."""
    only_vendor = not os.path.lexists(config.MAIN) and os.path.lexists(config.VENDOR_MAIN)
    return config.VENDOR_MAIN if only_vendor else config.MAIN


def check(binary: str, file: str) -> None:
    """SshdError if sshd would not start with the configuration in `file`."""
    ran = _run([binary, "-t", "-f", file])
    if ran.returncode != 0:
        raise SshdError(f"{binary} -t", _complaint(ran.stderr))


def dump(binary: str, user: str | None = None) -> dict[str, tuple[str, ...]]:
    """The configuration in effect, outside all Match blocks or for a login of `user` from here. SshdError if there is none."""
    connection = f"user={user},host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22"
    ran = _run([binary, "-T", "-f", main_file(), *(("-C", connection) if user is not None else ())])
    if ran.returncode != 0:
        raise SshdError(f"{binary} -T", _complaint(ran.stderr))
    return config.effective(ran.stdout)


def can_ask_about(user: str) -> bool:
    """Whether `dump` can be asked about a user of this name."""
    return not set(user) & _SPECIAL


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    ran = _run_once(command)
    _, found, path = ran.stderr.partition(_NO_DIRECTORY)
    if ran.returncode == 0 or not found:
        return ran
    # It is made when sshd is started, and is missing where sshd has not been yet.
    path = path.strip()
    os.mkdir(path, 0o755)
    try:
        return _run_once(command)
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _run_once(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        encoding="utf-8",
        errors="surrogateescape",
        env=_ENVIRONMENT,
        timeout=_SECONDS,
    )


def _complaint(stderr: str) -> str:
    """What sshd said, in one line."""
    return "; ".join(line.strip() for line in stderr.splitlines() if line.strip()) or "fails and does not say why"


def read_config(*, without: str | None = None) -> list[config.Directive]:
    """All directives of the configuration, leaving out the file `without`. SshdError or OSError if that fails."""
    path = main_file()
    return config.parse(_read(path), path, lambda pattern: _included(pattern, without))


def _included(pattern: str, without: str | None) -> Iterator[tuple[str, str]]:
    absolute = pattern if pattern.startswith("/") else f"/etc/ssh/{pattern}"
    for path in sorted(glob.glob(absolute), key=os.fsencode):
        if path != without:
            yield path, _read(path)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def includes(directives: Sequence[config.Directive], path: str) -> bool:
    """Whether the configuration has an Include outside all Match blocks that takes in `path`."""
    patterns = [each.arguments for each in directives if each.keyword == "include" and not each.match]
    absolute = [name if name.startswith("/") else f"/etc/ssh/{name}" for names in patterns for name in names]
    return any(_matches(path, pattern) for pattern in absolute)


def _matches(path: str, pattern: str) -> bool:
    """As a shell matches: a name at a time."""
    names, patterns = path.split("/"), pattern.split("/")
    return len(names) == len(patterns) and all(map(fnmatch.fnmatchcase, names, patterns))


def started_for_each() -> str | None:
    """The socket unit that starts an sshd for each connection, if there is one and it is active."""
    if not os.path.isdir("/run/systemd/system"):
        return None
    for service in _UNITS:
        unit = f"{service.removesuffix('.service')}.socket"
        shown = _run_once(["systemctl", "show", "--property=Accept,ActiveState", unit]).stdout.split()
        if {"Accept=yes", "ActiveState=active"} <= set(shown):
            return unit
    return None


def reload() -> str:
    """Have a running sshd read its configuration again; a sentence about what was done. OSError if it cannot be told."""
    if os.path.isdir("/run/systemd/system"):
        for unit in _UNITS:
            if _run_once(["systemctl", "is-active", "--quiet", unit]).returncode == 0:
                ran = _run_once(["systemctl", "reload", unit])
                if ran.returncode == 0:
                    return f"{unit} has read its configuration again"
                return f"{unit} could not be reloaded: {_complaint(ran.stderr)}"
    pid = _running_pid(dump(find()).get("pidfile", ("/run/sshd.pid",))[0])
    if pid is None:
        return "no sshd is running; it will read its configuration when it starts"
    os.kill(pid, signal.SIGHUP)
    return f"sshd, process {pid}, reads its configuration again"


def _running_pid(pid_file: str) -> int | None:
    """The process that a pid file names, if it is an sshd."""
    try:
        pid = int(_read(pid_file))
        executable = os.readlink(f"/proc/{pid}/exe")
    except (OSError, ValueError):
        return None
    return pid if os.path.basename(executable).startswith("sshd") else None
