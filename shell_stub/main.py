"""pyhome-shell: the real shell if the home is open, and a way to open it if not. See pyhome-shell(8).

It runs as the user and has no rights of its own.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module takes 3 ms to import, which every command would pay
import os
import pwd
import sys

from pam_pyhome.formats import shells
from pam_pyhome.shell_stub.decide import (
    LAST_RESORT,
    LOCKED,
    NOT_UNLOCKED,
    OPEN,
    PLAIN,
    PYHOME,
    Exec,
    Login,
    Refuse,
    decide,
    shown,
)
from pam_pyhome.shell_stub.say import say
from pam_pyhome.shell_stub.state import home_state, read_small

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from pam_pyhome.formats.settings import Settings

CONFIG = b"/etc/pyhome.conf"
CONFIG_MAX = 65536
_BECOMING = (b"su", b"runuser", b"sudo")


def main() -> NoReturn:
    """Become the real shell, or exit with a line that says why not."""
    _restore_signals()
    login = _gather()
    if login.arguments == (shells.WHICH,):
        _tell_which(login)
    plan = decide(login)
    if not isinstance(plan, Exec | Refuse) or (isinstance(plan, Exec) and plan.directory):
        from pam_pyhome.shell_stub import opening  # noqa: PLC0415 - what an open home does not need

        plan = opening.carry_out(plan)
    if isinstance(plan, Refuse):
        say(plan.message)
        sys.exit(plan.status)
    _become(plan)


def _tell_which(login: Login) -> NoReturn:
    """Say which shell this would become: whoever looks whether it works need not run what is the user's."""
    if login.defect:
        say(login.defect)
        sys.exit(1)
    os.write(1, login.shell + b"\n")
    sys.exit(0)


def _restore_signals() -> None:
    """Undo what the interpreter did: it ignores two signals, which the shell would inherit, and turns SIGINT into a traceback."""
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def _gather() -> Login:
    """The facts about this login. KeyError if nobody has this uid."""
    entry = pwd.getpwuid(os.getuid())
    name, home = os.fsencode(entry.pw_name), os.fsencode(entry.pw_dir)
    shell, defect = _real_shell(name, os.fsencode(entry.pw_shell) or LAST_RESORT)
    state = _state(name, home)
    asked = state == LOCKED
    terminal = asked and _has_terminal()
    locked_command, locked_wait = _settings().locked_for(entry.pw_name) if asked else ("fail", 0)
    return Login(
        arguments=tuple(os.fsencode(argument) for argument in sys.argv[1:]),
        environment=_environment(),
        home=home,
        shell=shell,
        state=state,
        defect=defect,
        astray=state == OPEN and _is_astray(home),
        terminal=terminal,
        of_root=asked and _is_of_root(),
        host=os.uname().nodename if asked else "",
        locked_command=locked_command,
        locked_wait=locked_wait,
    )


def _environment() -> Mapping[bytes, bytes]:
    """The environment as it was handed over; the interpreter may have added LC_CTYPE since."""
    try:
        with open("/proc/self/environ", "rb", buffering=0) as file:
            pairs = [entry.partition(b"=") for entry in file.readall().split(b"\0")]
    except OSError:
        return os.environb
    return {name: value for name, equals, value in pairs if name and equals}


def _real_shell(name: bytes, configured: bytes) -> tuple[bytes, str]:
    """A shell that can be run, and a line about why it is not the user's own, if it is not."""
    wanted: bytes | None = configured
    if _is_stub(configured):
        wanted = shells.find_shell(read_small(shells.PATH.encode(), shells.MAX_SIZE, of_root=True) or b"", name)
    if wanted is None:
        return LAST_RESORT, f"{shells.PATH} has no shell for {shown(name)}; this is {shown(LAST_RESORT)}"
    if _is_stub(wanted) or not os.path.isfile(wanted) or not os.access(wanted, os.X_OK):
        return LAST_RESORT, f"{shown(wanted)} cannot be run; this is {shown(LAST_RESORT)}"
    return wanted, ""


def _is_stub(path: bytes) -> bool:
    """Whether the path leads here: becoming oneself would never end."""
    try:
        return path == shells.STUB or os.path.samefile(path, shells.STUB)
    except OSError:
        return False


def _state(name: bytes, home: bytes) -> str:
    try:
        return home_state(name, home)
    except OSError:
        return PLAIN


def _has_terminal() -> bool:
    """Whether there is somebody to ask."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return os.isatty(0)


def _is_of_root() -> bool:
    """Whether root has become this user: then whoever types does not know the password, or would have been asked for it.

    Where /proc hides the processes of others, that is not known, and so not said.
    """
    status = read_small(b"/proc/%d/status" % os.getppid(), CONFIG_MAX) or b""
    fields = dict(line.split(b":", 1) for line in status.splitlines() if b":" in line)
    return fields.get(b"Name", b"").strip() in _BECOMING and fields.get(b"Uid", b"").split()[:1] == [b"0"]


def _is_astray(home: bytes) -> bool:
    """Whether the home was opened between the login's change into it and now, so that the working directory is below it."""
    try:
        here, there = os.stat(b"."), os.stat(home)
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino) and os.getcwdb() == os.path.realpath(home)
    except OSError:
        return False


def _settings() -> Settings:
    from pam_pyhome.formats.settings import config_tokens, parse_tokens  # noqa: PLC0415 - what an open home does not need

    return parse_tokens(config_tokens(read_small(CONFIG, CONFIG_MAX, of_root=True) or b""))


def _become(plan: Exec) -> NoReturn:
    """Exec; if that fails, as for a script without its interpreter, the last resort with the same arguments."""
    for line in plan.notices:
        say(line)
    if plan.directory:
        try:
            os.chdir(plan.directory)
        except OSError as error:
            say(f"{shown(plan.directory)}: {error.strerror}")
    try:
        os.execve(plan.path, plan.arguments, plan.environment)
    except OSError as error:
        if plan.path == PYHOME:  # its words are not for a shell
            say(f"{shown(plan.path)}: {error.strerror}")
            sys.exit(NOT_UNLOCKED)
        say(f"{shown(plan.path)}: {error.strerror}; this is {shown(LAST_RESORT)}")
    dash = plan.arguments[0][:1] if len(plan.arguments) == 1 else b""
    os.execve(LAST_RESORT, (dash + b"sh", *plan.arguments[1:]), plan.environment)
