"""People at a machine: ssh with a password, the serial console, ``su``; and the shell they get."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Protocol, Self

import pexpect  # type: ignore[import-untyped]  # the package has no annotations
from pexpect import fdpexpect

from tests.vm.vm import VM, VMError

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

#: Seconds until a prompt must appear. A login takes two or three.
PROMPT_TIMEOUT = 90

#: How terminals are read.
TEXT = {"encoding": "utf-8", "codec_errors": "replace"}

PASSWORD_PROMPT = r"[Pp]assword( for [\w.-]+)?: ?$"
SHELL_PROMPT = r"[$#] (\x1b\[[0-9?;]*[a-zA-Z])*$"
REFUSED = r"Permission denied|account has expired|Login incorrect|Authentication failure|Connection closed|closed by remote host"

#: Questions that a login may ask besides the password.
PROMPTS = {
    "old_password": r"Old password: ?$",
    "own_passphrase": r"Passphrase of the encrypted home: ?$",
    "new_password": r"New password: ?$",
}

ASKED_ONLY = ("-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=keyboard-interactive")
PASSWORD_ONLY = ("-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=1")


class LoginRefusedError(Exception):
    """The login was refused; the text is what the terminal showed."""


class Terminal(Protocol):
    """What is used of pexpect's terminals."""

    before: str | None
    after: object
    match: re.Match[str]
    exitstatus: int | None

    def expect(self, pattern: object, timeout: float) -> int: ...  # noqa: D102  # as in pexpect
    def send(self, text: str) -> int: ...  # noqa: D102  # as in pexpect
    def sendline(self, line: str) -> int: ...  # noqa: D102  # as in pexpect
    def close(self, *, force: bool = True) -> None: ...  # noqa: D102  # as in pexpect


class Shell:
    """A terminal with a shell prompt on it. ``greeting`` is what the login showed before the prompt."""

    def __init__(self, vm: VM, terminal: Terminal) -> None:
        self.vm = vm
        self.terminal = terminal
        self.greeting = ""
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # A client that a busy machine does not let die in time is not what is tested.
        with contextlib.suppress(pexpect.ExceptionPexpect):
            self.terminal.close()

    def expect(self, patterns: object, timeout: float = PROMPT_TIMEOUT) -> int:
        """Wait until the terminal shows one of the patterns; tell which."""
        try:
            return int(self.terminal.expect(patterns, timeout=timeout))
        except (pexpect.TIMEOUT, pexpect.EOF) as error:
            shown = (self.terminal.before or "")[-2000:]
            raise VMError(f"{self.vm.suite}: waited for {patterns!r}, the terminal shows:\n{shown}") from error

    def settle(self) -> None:
        """Take over a shell that has shown its prompt: no echo, no prompt, so that what is read is output only."""
        self.terminal.sendline("stty -echo; TERM=dumb; PS1=; PS2=; PROMPT_COMMAND=; unset TMOUT; echo sett''led")
        self.expect(r"settled\r?\n")

    def do(self, command: str, timeout: float = PROMPT_TIMEOUT) -> str:
        """Run a command that must succeed; give back what it printed."""
        code, out = self.try_(command, timeout)
        if code != 0:
            raise VMError(f"{self.vm.suite}: `{command}` ended with {code}\n{out}")
        return out

    def try_(self, command: str, timeout: float = PROMPT_TIMEOUT) -> tuple[int, str]:
        """Run a command; give back its exit code and what it printed."""
        self._count += 1
        # On one line where that is possible: what is typed ahead would be read, or thrown away, by sudo and its like.
        between = "\n" if "\n" in command else " " if command.endswith("&") else "; "
        self.terminal.sendline(f'{command}{between}echo "<{self._count}:$?>"')
        self.expect(rf"<{self._count}:(\d+)>\r?\n", timeout)
        return int(self.terminal.match[1]), plain(str(self.terminal.before))

    def logout(self) -> None:
        """Leave the shell and wait until the terminal is gone."""
        self.terminal.sendline("exit")
        self.expect(pexpect.EOF)
        self.terminal.close()

    def hang_up(self) -> None:
        """Drop the connection without a word, as a laptop that is shut does."""
        self.terminal.close(force=True)


class InnerShell(Shell):
    """A shell started inside another one, as ``su`` does: leaving it leads back."""

    def logout(self) -> None:
        """Leave the inner shell; the outer one goes on."""
        self.terminal.sendline("exit")
        for _ in range(20):
            self.terminal.sendline("echo le''ft")
            if self.terminal.expect([r"left\r?\n", pexpect.TIMEOUT], timeout=5) == 0:
                self.terminal.sendline("echo sy''nc")
                self.expect(r"sync\r?\n")
                return
        raise VMError(f"{self.vm.suite}: the outer shell does not come back")


def spawn(argv: Sequence[str], timeout: float = PROMPT_TIMEOUT) -> Terminal:
    """Start a program of the host on a terminal of its own."""
    environment = {**os.environ, "TERM": "dumb"}
    terminal: Terminal = pexpect.spawn(
        argv[0], list(argv[1:]), timeout=timeout, dimensions=(50, 240), env=environment, **TEXT
    )
    return terminal


def ssh(vm: VM, user: str, password: str, *options: str) -> Shell:
    """Log in over ssh with a password, on a connection of its own, and get a shell."""
    return _over_ssh(vm, vm.ssh(user, *PASSWORD_ONLY, "-tt", *options), password, {})


def ssh_asked(vm: VM, user: str, password: str, **answers: str) -> Shell:
    """Log in over ssh by keyboard-interactive, where PAM can ask whatever it wants; ``answers`` as in :data:`PROMPTS`."""
    return _over_ssh(vm, vm.ssh(user, *ASKED_ONLY, "-tt"), password, answers)


def _over_ssh(vm: VM, command: list[str], password: str, answers: dict[str, str]) -> Shell:
    shell = Shell(vm, spawn(command))
    try:
        _answer_login(shell, password, answers)
    except LoginRefusedError:
        shell.terminal.close()
        raise
    return shell


def ssh_by_key(vm: VM, user: str, key: Path, *options: str) -> Shell:
    """Log in over ssh with a key, without a password, and get a shell."""
    shell = Shell(vm, spawn(vm.ssh(user, "-tt", "-i", str(key), "-o", "PasswordAuthentication=no", *options)))
    shell.expect(SHELL_PROMPT)
    shell.greeting = plain(str(shell.terminal.before))
    shell.settle()
    return shell


def ssh_run(vm: VM, user: str, password: str, command: str, *options: str, timeout: float = PROMPT_TIMEOUT) -> tuple[int, str]:
    """Run one command over ssh with a password; give back its exit code and everything that it and ssh printed."""
    shell = Shell(vm, spawn([*vm.ssh(user, *PASSWORD_ONLY, *options), command]))
    shell.expect(PASSWORD_PROMPT)
    shell.terminal.sendline(password)
    shell.expect(pexpect.EOF, timeout)
    shell.terminal.close()
    return int(shell.terminal.exitstatus or 0), plain(str(shell.terminal.before))


def _answer_login(shell: Shell, password: str, answers: dict[str, str]) -> None:
    """Give the password and answer further questions until there is a shell. ``greeting`` is everything that was said."""
    shell.expect(PASSWORD_PROMPT)
    shell.terminal.sendline(password)
    prompts = {PROMPTS[name]: answer for name, answer in answers.items()}
    if "new_password" in answers:
        prompts |= {r"[Cc]urrent password: ?$": password, r"[Rr]etype new password: ?$": answers["new_password"]}
    # The end of the connection is a refusal too: not every sshd says why.
    patterns = [SHELL_PROMPT, REFUSED, *prompts, PASSWORD_PROMPT, pexpect.EOF]
    said = []
    while (which := shell.expect(patterns)) in range(2, 2 + len(prompts)):
        said.append(str(shell.terminal.before))
        shell.terminal.sendline(prompts[patterns[which]])
    shell.greeting = plain("\n".join([*said, str(shell.terminal.before)]))
    if which != 0:
        raise LoginRefusedError(f"{shell.greeting} {shell.terminal.after}")
    shell.settle()


class Console(Shell):
    """The serial console: one login prompt, which comes back after each logout."""

    def __init__(self, vm: VM) -> None:
        self._socket: socket.socket = vm.qemu.console()
        super().__init__(vm, fdpexpect.fdspawn(self._socket.fileno(), timeout=PROMPT_TIMEOUT, **TEXT))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Log out whoever is still there, so that the next one finds a login prompt."""
        with contextlib.suppress(OSError):
            os.write(self._socket.fileno(), b"\x03\x04")
        self._socket.close()

    def login(self, user: str, password: str, **answers: str) -> str:
        """Log in at the prompt, answering further questions with ``answers`` (:data:`PROMPTS`); give back what was said."""
        self.terminal.sendline("")
        self.expect(r"login: $")
        self.terminal.sendline(user)
        _answer_login(self, password, answers)
        return self.greeting

    def logout(self) -> None:
        """Leave the shell; the login prompt comes back."""
        self.terminal.sendline("exit")
        self.expect(r"login: $")


def su(outer: Shell, user: str, password: str | None = None, command: str = "su -l", **answers: str) -> InnerShell:
    """Become ``user`` in a shell. ``password`` is None where none is asked for; ``answers`` as in :data:`PROMPTS`."""
    outer.terminal.sendline(f"{command} {user}")
    inner = InnerShell(outer.vm, outer.terminal)
    if password is None:
        inner.expect(SHELL_PROMPT)
        inner.greeting = plain(str(outer.terminal.before))
        inner.settle()
    else:
        _answer_login(inner, password, answers)
    return inner


def plain(text: str) -> str:
    """What a terminal showed, without its control sequences."""
    return re.sub(r"\x1b(\[[0-9?;]*[a-zA-Z]|\][^\a]*\a)", "", text).replace("\r", "").strip()
