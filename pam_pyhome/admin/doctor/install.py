"""Whether all parts of pyhome are there, fit together and are root's alone."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from typing import TYPE_CHECKING

from pam_pyhome import __version__
from pam_pyhome.admin import pam_files
from pam_pyhome.admin.doctor.finding import FAIL, OK, WARN, Finding, edit, reinstall
from pam_pyhome.formats import broker
from pam_pyhome.formats.settings import Settings, config_tokens, parse_tokens
from pam_pyhome.formats.words import quoted
from pam_pyhome.policy import sessions

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "/usr/lib/pyhome"
PYTHON = "/usr/bin/python3"
CONFIG = "/etc/pyhome.conf"
RUN = "/run/pyhome"
_CONFIG_MAX = 65536
_SERVICE = "pyhomed.service"
_SOCKETS = {"pyhomed.socket": (sessions.DAEMON_SOCKET, 0o600), "pyhomed-unlock.socket": (broker.SOCKET, 0o666)}
_UNITS = ("/etc/systemd/system", "/run/systemd/system")
_WITHOUT = "homes may stay open after the last session, and neither the login shell nor users unlock any"
_ANSWER_SECONDS = 5.0
_PROGRAM = """
import sys
sys.path[:0] = [sys.argv[1]]
import pam_pyhome
from pam_pyhome.host import pyhomed, worker
from pam_pyhome.backends import ecryptfs_unlock
print(pam_pyhome.__version__, *sys.version_info[:2])
"""
_SECONDS = 60


def settings() -> Settings:
    """What the configuration file says; the defaults where it does not count."""
    try:
        content, reason = _read_config()
    except FileNotFoundError:
        content, reason = b"", ""
    return parse_tokens(config_tokens(content) if not reason else ())


def _read_config() -> tuple[bytes, str]:
    """The content, and why the module does not believe it. FileNotFoundError if there is none."""
    fd = os.open(CONFIG, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(fd, "rb", buffering=0) as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _CONFIG_MAX:
            return b"", f"is no regular file of at most {_CONFIG_MAX} bytes"
        if status.st_uid != 0 or status.st_mode & 0o022:
            return b"", f"belongs to uid {status.st_uid} with mode {status.st_mode & 0o7777:04o}"
        content = file.read()
    return content, "has a NUL in it" if b"\0" in content else ""


def check() -> Iterator[Finding]:
    """The module, the programs, Python, the configuration, the daemon."""
    yield from _about_module()
    yield from _about_programs()
    yield _about_python()
    yield from _about_config()
    yield from _about_daemon()
    yield from _about_run()


def _about_module() -> Iterator[Finding]:
    found = pam_files.module_paths("pam_pyhome.so")
    if not found:
        yield Finding(FAIL, "module.shim", "pam_pyhome.so", "is not where PAM modules are", reinstall())
    # libpam loads its modules from one directory, where its own are.
    beside = [path for path in found if os.path.exists(f"{os.path.dirname(path)}/pam_permit.so")] or found
    others = [path for path in found if path != beside[0]]
    if others:
        text = f"is installed more than once: {', '.join(found)}"
        yield Finding(WARN, "module.shim", "pam_pyhome.so", text, f"rm {' '.join(map(quoted, others))}")
    for path in beside[:1]:
        reason, mend = _why_not_roots(path)
        yield Finding(FAIL if reason else OK, "module.shim", path, reason or "is there", mend)


def _why_not_roots(path: str) -> tuple[str, str]:
    """Why somebody else than root could change what is at `path`, and what mends that; both empty if nobody can."""
    for each in (path, os.path.dirname(path)):
        status = os.stat(each)
        if status.st_uid != 0 or status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and status.st_gid != 0):
            text = f"{each} belongs to uid {status.st_uid} with mode {status.st_mode & 0o7777:04o}: others than root can change it"
            return text, f"chown root: {quoted(each)} && chmod go-w {quoted(each)}"
    return "", ""


def _about_programs() -> Iterator[Finding]:
    for name, what in (
        ("pyhome-worker", "no home opens at login"),
        ("pyhomed", "no home closes after the last session"),
        ("pyhome-shell", "nobody who has it as login shell can log in"),
    ):
        path = f"{PREFIX}/{name}"
        if not os.access(path, os.X_OK):
            yield Finding(FAIL, "module.programs", path, f"is missing or cannot be run, so {what}", reinstall())
            continue
        reason, mend = _why_not_roots(path)
        if reason:
            yield Finding(FAIL, "module.programs", path, reason, mend)


def _about_python() -> Finding:
    """Start what a login starts, and compare versions."""
    check = "module.versions"
    try:
        ran = subprocess.run(
            [PYTHON, "-I", "-S", "-B", "-c", _PROGRAM, PREFIX],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={"LC_ALL": "C.UTF-8"},
            cwd="/",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(FAIL, check, PYTHON, f"does not run: {error}", reinstall("python3"))
    if ran.returncode != 0:
        said = (ran.stderr.strip().splitlines() or [f"status {ran.returncode}"])[-1]
        return Finding(FAIL, check, PREFIX, f"does not load: {said}", reinstall())
    version, *python = ran.stdout.split()
    if version != __version__:
        text = f"is version {version}, this command is {__version__}"
        return Finding(FAIL, check, PREFIX, text, reinstall())
    return Finding(OK, check, PREFIX, f"is version {version}, on Python {'.'.join(python)}")


def _about_config() -> Iterator[Finding]:
    try:
        content, reason = _read_config()
    except FileNotFoundError:
        yield Finding(OK, "module.config", CONFIG, "is not there; the defaults hold")
        return
    if reason:
        mend = f"chown root: {CONFIG} && chmod 0644 {CONFIG}"
        yield Finding(FAIL, "module.config", CONFIG, f"{reason}, so it does not count", mend)
        return
    unknown = parse_tokens(config_tokens(content)).unknown
    for token in unknown:
        yield Finding(WARN, "module.config", CONFIG, f"{token!r} means nothing there", edit(CONFIG))
    if not unknown:
        yield Finding(OK, "module.config", CONFIG, "is understood")


def _about_daemon() -> Iterator[Finding]:
    masked = [unit for unit in (_SERVICE, *_SOCKETS) if any(os.path.realpath(f"{at}/{unit}") == os.devnull for at in _UNITS)]
    if masked:
        mend = f"systemctl unmask {' '.join(masked)} && systemctl enable --now {' '.join(_SOCKETS)}"
        yield Finding(WARN, "module.daemon", "pyhomed", f"is masked ({', '.join(masked)}): {_WITHOUT}", mend)
        return
    missing = [path for path, _ in _SOCKETS.values() if not os.path.exists(path)]
    if missing:
        yield Finding(WARN, "module.daemon", ", ".join(missing), f"not there: {_WITHOUT}", _start())
        return
    wrong = [finding for path, mode in _SOCKETS.values() for finding in _about_socket(path, mode)]
    yield from wrong
    trouble = "" if wrong else _asked()
    if trouble:
        yield Finding(WARN, "module.daemon", "pyhomed", f"does not answer ({trouble}): {_WITHOUT}", _start())
    elif not wrong:
        yield Finding(OK, "module.daemon", "pyhomed", "answers")


def _start() -> str:
    """What has pyhomed answer again, whatever was wrong with it."""
    if os.path.isdir("/run/systemd/system"):
        return f"systemctl stop {_SERVICE}; systemctl enable {' '.join(_SOCKETS)} && systemctl restart {' '.join(_SOCKETS)}"
    return f"setsid --fork {PREFIX}/pyhomed"


def _about_socket(path: str, mode: int) -> Iterator[Finding]:
    status = os.lstat(path)
    if not stat.S_ISSOCK(status.st_mode):
        yield Finding(FAIL, "module.daemon", path, "is no socket", f"rm {path} && {_start()}")
    elif status.st_uid != 0 or status.st_mode & 0o7777 != mode:
        text = f"belongs to uid {status.st_uid} with mode {status.st_mode & 0o7777:04o}, not to root with {mode:04o}"
        yield Finding(FAIL, "module.daemon", path, text, f"chown root: {path} && chmod {mode:04o} {path}")


def _asked() -> str:
    """Why nothing came of asking pyhomed on both sockets; empty if it answers."""
    try:
        for path, packet in ((sessions.DAEMON_SOCKET, b""), (broker.SOCKET, broker.packet(broker.ASK))):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
                peer.settimeout(_ANSWER_SECONDS)
                peer.connect(path)
                if packet:
                    peer.send(packet, socket.MSG_NOSIGNAL)
                    if not peer.recv(broker.MAX_PACKET):
                        return f"{path}: it hangs up"
    except OSError as error:
        return f"{path}: {error.strerror or 'no answer in time'}"
    return ""


def _about_run() -> Iterator[Finding]:
    try:
        status = os.lstat(RUN)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or status.st_mode & 0o077:
        text = f"belongs to uid {status.st_uid} with mode {status.st_mode & 0o7777:04o}; it has to be root's alone"
        yield Finding(FAIL, "module.run", RUN, text, f"chown root: {RUN} && chmod 0700 {RUN}")
