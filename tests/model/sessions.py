"""Real PAM sessions, each in a process of its own that the test has forked: cheap also where a processor is emulated."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
from typing import Any, NamedTuple

_PROMPT_ECHO_OFF, _PROMPT_ECHO_ON = 1, 2
_CONV_ERR, _BUF_ERR = 19, 5
_SETCRED = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.calloc.restype = ctypes.c_void_p
_libc.strdup.restype = ctypes.c_void_p
_pam = ctypes.CDLL("libpam.so.0")


class _Message(ctypes.Structure):
    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class _Response(ctypes.Structure):
    _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))


_Messages = ctypes.POINTER(ctypes.POINTER(_Message))
_Responses = ctypes.POINTER(ctypes.c_void_p)
_Talk = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, _Messages, _Responses, ctypes.c_void_p)


class _Conversation(ctypes.Structure):
    _fields_ = (("talk", _Talk), ("data", ctypes.c_void_p))


def _answering(password: str) -> Any:  # noqa: ANN401 - ctypes
    """A conversation that answers each prompt with the password, and fails at prompts without one."""

    def talk(count: int, messages: Any, responses: Any, _data: object) -> int:  # noqa: ANN401 - as above
        array = _libc.calloc(count, ctypes.sizeof(_Response))
        made = ctypes.cast(array, ctypes.POINTER(_Response))
        for number in range(count):
            if messages[number].contents.style in (_PROMPT_ECHO_OFF, _PROMPT_ECHO_ON):
                if not password:
                    return _CONV_ERR
                made[number].text = _libc.strdup(password.encode())
        responses[0] = array
        return 0

    return _Talk(talk)


class Codes(NamedTuple):
    """What libpam answered: 0 is success, -1 that the phase was not reached."""

    auth: int
    opened: int


class Session:
    """A login of `user` until it is told to end, or is killed. Without a password it is not authenticated, as with a key."""

    def __init__(self, service: str, user: str, password: str, *, shell: str = "") -> None:
        self.user = user
        self.weak = False  # begun where no lease could be made: it holds nothing
        self.shell = 0
        answers, answer = os.pipe()
        orders, order = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                os.close(answers)
                os.close(order)
                os.setsid()
                _live(service, user, password, orders, answer, shell)
            os._exit(1)
        os.close(answer)
        os.close(orders)
        self._answers, self._order = answers, order

    def codes(self) -> Codes:
        """What came of the login, when it is over."""
        words = self._read().split()
        if len(words) < 3:
            return Codes(-1, -1)
        self.shell = int(words[2])
        return Codes(int(words[0]), int(words[1]))

    def _read(self) -> bytes:
        line = b""
        while not line.endswith(b"\n") and (byte := os.read(self._answers, 1)):
            line += byte
        return line

    def begin_close(self) -> None:
        """Have it end in order."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._order, b"close\n")

    def closed(self) -> int:
        """What pam_close_session answered; waits for the end of the process."""
        said = self._read()
        self._bury()
        return int(said or -1)

    def kill(self) -> None:
        """SIGKILL: whatever would have closed the session does not run. Its shell goes, too, as its terminal would."""
        for pid in (self.pid, self.shell):
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._bury()

    def _bury(self) -> None:
        os.waitpid(self.pid, 0)
        os.close(self._answers)
        os.close(self._order)


def _live(service: str, user: str, password: str, orders: int, answer: int, shell: str) -> None:
    talk = _answering(password)
    conversation = _Conversation(talk, None)
    handle = ctypes.c_void_p()
    _pam.pam_start(service.encode(), user.encode(), ctypes.byref(conversation), ctypes.byref(handle))
    auth = _pam.pam_authenticate(handle, 0) if password else 0
    opened, child = -1, 0
    if auth == 0:
        _pam.pam_setcred(handle, _SETCRED)
        opened = _pam.pam_open_session(handle, 0)
        if shell and opened == 0:
            child = as_user(user, shell)
    os.write(answer, f"{auth} {opened} {child}\n".encode())
    os.read(orders, 6)
    if child:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    code = _pam.pam_close_session(handle, 0) if opened == 0 else 0
    _pam.pam_end(handle, code)
    os.write(answer, f"{code}\n".encode())
    os._exit(0)


def become(user: str) -> None:
    """The rights of a user and no others."""
    entry = pwd.getpwnam(user)
    os.setgroups([entry.pw_gid])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def as_user(user: str, directory: str, file: str = "") -> int:
    """A process of `user` in a directory, with a file open if one is named, until it is killed; 0 if it cannot be there."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            if user != "root":
                become(user)
            os.chdir(directory)
            if file:
                os.open(file, os.O_RDONLY)
            os.write(done, b"!")
            while True:
                signal.pause()
        os._exit(1)
    os.close(done)
    is_there = os.read(ready, 1) == b"!"
    os.close(ready)
    if is_there:
        return pid
    os.waitpid(pid, 0)
    return 0
