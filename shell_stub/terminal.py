"""The user's terminal: asking without echo, and leaving it as it was found, whatever happens.

A terminal is no proof of a person: ssh -tt, mosh and many a script bring one on which nobody can type. So whoever types nothing
for a while is not waited for, and each key gives as long again.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import termios
import time

from pam_pyhome.shell_stub.decide import NOT_UNLOCKED
from pam_pyhome.shell_stub.line import Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

# Places in what tcgetattr(3) gives.
_INPUT, _LOCAL, _CONTROLS = 0, 3, 6
SILENCE_SECONDS = 45
_SIGNAL_STATUS = 128
_CORE_CONTENT = "/proc/self/coredump_filter"
_HEARD = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)


class LeftError(Exception):
    """The user left, or has to: a line to show, or nothing, and the exit status."""

    def __init__(self, message: str = "", status: int = NOT_UNLOCKED) -> None:
        """Keep both."""
        super().__init__(message)
        self.status = status


class SilentError(Exception):
    """Nobody has typed anything for SILENCE_SECONDS."""


class Signals:
    """Within it, a signal that would end this process is only noted, so that everything can be put back first.

    What was ignored stays ignored. Stopping at the prompt would leave a terminal without echo, so that is ignored too. A core
    that is dumped meanwhile has nothing in it, for the sake of the answers.
    """

    def __enter__(self) -> Self:
        """Take over."""
        self._end, noted = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._noted = noted
        self._wakeup = signal.set_wakeup_fd(noted, warn_on_full_buffer=False)
        self._before = {number: signal.getsignal(number) for number in (*_HEARD, signal.SIGTSTP)}
        for number in _HEARD:
            if self._before[number] is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        self._core = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, self._core[1]))
        # That limit is for files; a program that the kernel starts gets a core of any size.
        self._core_content = _set_core_content(b"0")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put everything back, because the shell inherits it; then a signal that nobody has seen yet has its effect."""
        _set_core_content(self._core_content)
        resource.setrlimit(resource.RLIMIT_CORE, self._core)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._noted)
        try:
            if value is None:
                self.check()
        finally:
            os.close(self._end)

    def fileno(self) -> int:
        """A descriptor that is readable when a signal has come."""
        return self._end

    def check(self) -> None:
        """LeftError if a signal has come."""
        try:
            noted = os.read(self._end, 1)
        except BlockingIOError:
            return
        if noted:
            raise LeftError("", _SIGNAL_STATUS + noted[0])


class Terminal:
    """/dev/tty without echo, in lines, with working Ctrl-C; as it was before on the way out."""

    def __enter__(self) -> Self:
        """Open it and switch the echo off. OSError if that cannot be done."""
        self._fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        self._signals = Signals().__enter__()
        self._before = _modes(self._fd)
        self._discard = False
        self._deadline: float | None = time.monotonic() + SILENCE_SECONDS
        self._silence()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the modes back. Half an answer that nobody read must not become a command."""
        discard = self._discard or value is not None
        _set_modes(self._fd, termios.TCSAFLUSH if discard else termios.TCSADRAIN, self._before)
        os.close(self._fd)
        self._signals.__exit__(kind, value, trace)

    def _silence(self) -> None:
        """Switch the echo off, and have each key at once. What was typed ahead is no answer to what had not been asked."""
        modes = _modes(self._fd)
        if modes:
            modes[_INPUT] |= termios.ICRNL
            modes[_LOCAL] |= termios.ISIG
            modes[_LOCAL] &= ~(termios.ICANON | termios.ECHO | termios.ECHOE | termios.ECHOK | termios.ECHONL)
            modes[_CONTROLS][termios.VMIN], modes[_CONTROLS][termios.VTIME] = 1, 0
        _set_modes(self._fd, termios.TCSAFLUSH, modes)

    def say(self, line: str) -> None:
        """Show one line."""
        self._show(f"{line}\n")

    def wait(self, *descriptors: int, seconds: float | None = None) -> set[int]:
        """Those that are readable, or hung up; none after `seconds`. LeftError if a signal comes, SilentError if no key does."""
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        poll = select.poll()
        for descriptor in (self._signals.fileno(), *descriptors):
            poll.register(descriptor, select.POLLIN)
        longest = min((each for each in (seconds, left) if each is not None), default=None)
        ready = {descriptor for descriptor, _ in poll.poll(None if longest is None else longest * 1000)}
        self._signals.check()
        if not ready and self._deadline is not None and time.monotonic() >= self._deadline:
            raise SilentError
        return ready

    def ask(self, prompt: str, other: int) -> bytearray | None:
        """Show the prompt and read one answer, without its end of line; None if `other` became readable first.

        The caller wipes the answer. One that is too long reads as an empty one. LeftError at the end of input, SilentError if
        nobody types. A new prompt is no sign of a person; only keys are. While an answer is looked at, nobody has to type.
        """
        self._silence()
        self._show(prompt)
        if self._deadline is None:
            self._deadline = time.monotonic() + SILENCE_SECONDS
        line = Line(self._before)
        try:
            answer = self._read(line, other)
        finally:
            line.wipe()
        if answer is None:
            self._discard = True
            self._show("\r" + " " * len(prompt) + "\r")
            return None
        self._show("\n")
        self._deadline = None
        self._discard = False
        return answer

    def _read(self, line: Line, other: int) -> bytearray | None:
        """What is typed until the line ends; None if `other` became readable first. Never more than that line is taken."""
        while other not in self.wait(self._fd, other):
            try:
                key = os.read(self._fd, 1)
            except OSError:  # it was hung up
                key = b""
            try:
                answer = line.key(key) if key else None
            except EOFError:
                key = b""
            if not key:
                self._show("\n")
                raise LeftError
            self._deadline = time.monotonic() + SILENCE_SECONDS
            if answer is not None:
                return answer
        return None

    def _show(self, text: str) -> None:
        """Write, unless the terminal has been hung up: then the end of input comes next."""
        try:
            os.write(self._fd, text.encode("utf-8", "backslashreplace"))
        except OSError:
            pass


def _set_core_content(wanted: bytes) -> bytes:
    """Say which memory goes into a core (core(5)); what was said before. Nothing where that cannot be said."""
    try:
        with open(_CORE_CONTENT, "r+b", buffering=0) as file:
            before = file.read().strip()
            if wanted:
                file.write(b"0x" + wanted)
            return before
    except OSError:
        return b""


def _modes(fd: int) -> list[Any]:
    """The modes of a terminal; none of one that has been hung up."""
    try:
        return termios.tcgetattr(fd)
    except termios.error:
        return []


def _set_modes(fd: int, when: int, modes: list[Any]) -> None:
    """Set what `_modes` gave."""
    try:
        if modes:
            termios.tcsetattr(fd, when, modes)
    except termios.error:
        pass
