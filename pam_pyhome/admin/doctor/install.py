"""Whether all parts of pyhome are there, fit together and are root's alone."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

from pam_pyhome import __version__
from pam_pyhome.admin import pam_files
from pam_pyhome.admin.doctor.finding import FAIL, OK, WARN, Finding
from pam_pyhome.formats.settings import Settings, config_tokens, parse_tokens
from pam_pyhome.formats.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "/usr/lib/pyhome"
PYTHON = "/usr/bin/python3"
CONFIG = "/etc/pyhome.conf"
RUN = "/run/pyhome"
_CONFIG_MAX = 65536
_SOCKETS = (("pyhomed.socket", "/run/pyhomed.sock", 0o600), ("pyhomed-unlock.socket", "/run/pyhome-unlock.sock", 0o666))
_PROGRAM = """
import sys
sys.path[:0] = [sys.argv[1]]
import pam_pyhome
from pam_pyhome.host import pyhomed, worker
from pam_pyhome.backends import ecryptfs_unlock
print(pam_pyhome.__version__, *sys.version_info[:2])
"""
_SECONDS = 60
_REINSTALL = "reinstall pyhome"


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


def _about_module() -> Iterator[Finding]:
    found = pam_files.module_paths("pam_pyhome.so")
    if not found:
        yield Finding(FAIL, "module.shim", "pam_pyhome.so", "is not where PAM modules are", _REINSTALL)
    elif len(found) > 1:
        text = f"is installed more than once: {', '.join(found)}"
        yield Finding(WARN, "module.shim", "pam_pyhome.so", text, f"rm {quoted(found[-1])}")
    for path in found:
        reason = _why_not_roots(path)
        mend = f"chown root: {quoted(path)}" if reason else ""
        yield Finding(FAIL if reason else OK, "module.shim", path, reason or "is there", mend)


def _why_not_roots(path: str) -> str:
    """Why somebody else than root could change what is at `path`; empty if nobody can."""
    for each in (path, os.path.dirname(path)):
        status = os.stat(each)
        if status.st_uid != 0 or status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and status.st_gid != 0):
            return f"{each} belongs to uid {status.st_uid} with mode {status.st_mode & 0o7777:04o}: others than root can change it"
    return ""


def _about_programs() -> Iterator[Finding]:
    for name, what in (
        ("pyhome-worker", "no home opens at login"),
        ("pyhomed", "no home closes after the last session"),
        ("pyhome-shell", "nobody who has it as login shell can log in"),
    ):
        path = f"{PREFIX}/{name}"
        if not os.access(path, os.X_OK):
            yield Finding(FAIL, "module.programs", path, f"is missing or cannot be run, so {what}", _REINSTALL)
            continue
        reason = _why_not_roots(path)
        if reason:
            yield Finding(FAIL, "module.programs", path, reason, f"chown root: {quoted(path)} && chmod 0755 {quoted(path)}")


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
        return Finding(FAIL, check, PYTHON, f"does not run: {error}", "reinstall python3")
    if ran.returncode != 0:
        said = (ran.stderr.strip().splitlines() or [f"status {ran.returncode}"])[-1]
        return Finding(FAIL, check, PREFIX, f"does not load: {said}", _REINSTALL)
    version, *python = ran.stdout.split()
    if version != __version__:
        text = f"is version {version}, this command is {__version__}"
        return Finding(FAIL, check, PREFIX, text, _REINSTALL)
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
        yield Finding(WARN, "module.config", CONFIG, f"{token!r} means nothing there", f"editor {CONFIG}")
    if not unknown:
        yield Finding(OK, "module.config", CONFIG, "is understood")


def _about_daemon() -> Iterator[Finding]:
    for unit, path, mode in _SOCKETS:
        mend = f"systemctl enable --now {unit}" if os.path.isdir("/run/systemd/system") else f"{PREFIX}/pyhomed &"
        what = "homes stay open after the last session" if mode == 0o600 else "the login shell cannot unlock homes"
        try:
            status = os.stat(path)
        except FileNotFoundError:
            yield Finding(WARN, "module.daemon", path, f"is not there: {what}", mend)
            continue
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != 0 or status.st_mode & 0o7777 != mode:
            text = f"belongs to uid {status.st_uid} with mode {status.st_mode & 0o7777:04o}, not to root with {mode:04o}"
            yield Finding(FAIL, "module.daemon", path, text, f"systemctl restart {unit}")
        else:
            yield Finding(OK, "module.daemon", path, "is there")
    yield from _about_run()


def _about_run() -> Iterator[Finding]:
    try:
        status = os.lstat(RUN)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or status.st_mode & 0o077:
        text = f"belongs to uid {status.st_uid} with mode {status.st_mode & 0o7777:04o}; it has to be root's alone"
        yield Finding(FAIL, "module.run", RUN, text, f"chown root: {RUN} && chmod 0700 {RUN}")
