"""What to do, from facts alone: no file, clock or terminal is touched here."""

from __future__ import annotations

from pam_pyhome.formats.shells import STUB
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LAST_RESORT = b"/bin/sh"
PYHOME = b"/usr/bin/pyhome"
_HARMLESS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 -_./:@%+,=")
NOT_UNLOCKED = 75  # EX_TEMPFAIL of sysexits.h

# How the home is.
PLAIN = "plain"
LOCKED = "locked"
OPEN = "open"


class Login(Record):
    """Everything that matters.

    `shell` is the real shell and `defect` a line about it, if it is not the right one. `astray`: the working directory is the
    one that the open home hides. `of_root`: root has started this, as with su. `locked_command` and `locked_wait` are as in
    `Settings`.
    """

    arguments: tuple[bytes, ...]
    environment: Mapping[bytes, bytes]
    home: bytes
    shell: bytes
    state: str
    defect: str = ""
    astray: bool = False
    terminal: bool = False
    of_root: bool = False
    host: str = ""
    locked_command: str = "fail"
    locked_wait: int = 0


class Exec(Record):
    """Show `notices` as lines, change into `directory` if there is one, and become the program."""

    path: bytes
    arguments: tuple[bytes, ...]
    environment: Mapping[bytes, bytes]
    notices: tuple[str, ...] = ()
    directory: bytes = b""


class Refuse(Record):
    """Show `message` as one line and exit with `status`."""

    message: str
    status: int = NOT_UNLOCKED


class Unlock(Record):
    """Ask at the terminal, then do `then`; if the home cannot be unlocked whatever is answered, do `otherwise`.

    `how`: what to type later, if nobody answers.
    """

    home: bytes
    how: str
    then: Exec
    otherwise: Exec | Refuse


class Wait(Record):
    """Show `notice`, wait at most `seconds` for another session to unlock the home, then do `then`, or else `otherwise`."""

    home: bytes
    notice: str
    seconds: int
    then: Exec
    otherwise: Refuse


def decide(login: Login) -> Exec | Refuse | Unlock | Wait:
    """The plan for a login."""
    home = shown(login.home)
    if login.state != LOCKED:
        return _shell(login, in_home=login.astray)
    plain = _shell(login, f"{home} is locked; this runs without it")
    if (words := _words_of_pyhome(plain.arguments)) is not None:
        return Exec(PYHOME, words, plain.environment)
    is_login = len(plain.arguments) == 1
    if login.of_root and is_login:
        return _shell(login, f"{home} is locked; this is a shell without it")
    inside = _shell(login, in_home=True)
    if login.terminal and not login.of_root:
        return Unlock(login.home, "type: pyhome unlock" if is_login else _how(login), inside, _without_home(login))
    if login.locked_command == "plain":
        return plain
    refusal = Refuse(f"{home} is locked; to unlock it, {_how(login)}")
    if login.locked_command == "wait":
        notice = f"{home} is locked; waiting up to {login.locked_wait} seconds; to unlock it, {_how(login)}"
        return Wait(login.home, notice, login.locked_wait, inside, refusal)
    return refusal


def _shell(login: Login, *notices: str, in_home: bool = False) -> Exec:
    """The real shell as sshd would have started it: with a dash for a login, otherwise with the arguments as given.

    A program that begins with ``#!`` does not see the dash before its own name, so no arguments mean a login. As ForceCommand
    there are none either, and the command is in the environment. `in_home`: the home was not there when the login began.
    """
    environment = dict(login.environment)
    if environment.get(b"SHELL", b"") in (b"", STUB):
        environment[b"SHELL"] = login.shell
    if in_home:
        environment[b"HOME"] = login.home
    if in_home and b"PWD" in environment:
        environment[b"PWD"] = login.home
    arguments = login.arguments
    if not arguments and (command := environment.pop(b"SSH_ORIGINAL_COMMAND", None)) is not None:
        arguments = (b"-c", command)
    name = login.shell.rpartition(b"/")[2]
    argv = (name, *arguments) if arguments else (b"-" + name,)
    defects = (login.defect,) if login.defect else ()
    return Exec(login.shell, argv, environment, (*defects, *notices), login.home if in_home else b"")


def _words_of_pyhome(arguments: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
    """The words of a command that is `pyhome` and nothing else, which works on a locked home; None for any other.

    No shell reads it, as a shell's own files are in the locked home: so whatever would mean something to one does not count.
    """
    if len(arguments) != 3 or arguments[1] != b"-c" or not _HARMLESS.issuperset(arguments[2]):
        return None
    words = tuple(arguments[2].split())
    return (b"pyhome", *words[1:]) if words[:1] in ((b"pyhome",), (PYHOME,)) else None


def _without_home(login: Login) -> Exec | Refuse:
    """When nothing can unlock the home: a login goes on, as it would without encryption; a command was meant for the home."""
    shell = _shell(login, f"this is a shell without {shown(login.home)}")
    return shell if len(shell.arguments) == 1 else Refuse(f"{shown(login.home)} is locked")


def _how(login: Login) -> str:
    """What to type."""
    return f"type: ssh -t {login.host}" if b"SSH_CONNECTION" in login.environment else "log in at a terminal"


def shown(path: bytes) -> str:
    """A path as text that is fit to be printed."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)
