"""The real worker with the test at the other end of its socket instead of the shim, so that strace can sit on the worker alone."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING, Self

from pam_pyhome.errors import WireError
from pam_pyhome.formats import wire
from pam_pyhome.formats.binary import Reader, pack_blob
from tests.login.homes import ADA, LoginMachine

if TYPE_CHECKING:
    from collections.abc import Sequence

WORKER = ["/usr/bin/python3", "-I", "-S", "-B", "/usr/lib/pyhome/pyhome-worker"]
PRELIM, UPDATE = 0x4000, 0x2000
PAM_CONV_ERR, PAM_NO_MODULE_DATA, PAM_SUCCESS = 19, 18, 0


class Talk:
    """A PAM handle: its items, its data, and what is said in it. One worker runs for each phase."""

    def __init__(self, machine: LoginMachine, *, answers: Sequence[bytes] = (), **items: bytes) -> None:
        self._machine = machine
        numbers = {"authtok": wire.ITEM_AUTHTOK, "oldauthtok": wire.ITEM_OLDAUTHTOK}
        self.items: dict[int, bytes | None] = {numbers[name]: value for name, value in items.items()}
        self.data: dict[str, bytes] = {}
        self.said: list[str] = []
        self.delays: list[int] = []
        self._answers = list(answers)

    def phase(self, phase: int, flags: int = 0, *, under: Sequence[str] = (), tokens: Sequence[bytes] = ()) -> int | None:
        """The code that the worker answers, or None if it died. `under`: a command that runs it, such as strace."""
        ours, theirs = socket.socketpair()
        ours.settimeout(30)
        number = theirs.fileno()
        shell = ["/bin/bash", "-c", f'exec "$@" 3<&{number} {number}<&- </dev/null', "bash"]
        command = self._machine.enter([*shell, *under, *WORKER], {})
        with subprocess.Popen(command, pass_fds=(number,), stderr=subprocess.DEVNULL) as process, ours:
            theirs.close()
            start = wire.Start(phase, flags, ADA, ADA, 1, "ada", "test", "/home/ada", tuple(tokens))
            try:
                ours.sendall(wire.emit_start(start))
                code = self._serve(ours)
            except (ConnectionError, EOFError):
                code = None
            ours.close()  # after an authentication the worker waits for a session, until it is told that there is none
            process.wait(timeout=30)
        return code

    def _serve(self, ours: socket.socket) -> int:
        while True:
            kind, size = wire.parse_header(_read(ours, wire.HEADER_SIZE))
            body = _read(ours, size)
            if kind == wire.REPLY:
                return int.from_bytes(body, "little", signed=True)
            ours.sendall(self._answer(kind, body))

    def _answer(self, kind: int, body: bytes) -> bytes:
        """What the shim would answer."""
        reader = Reader(body, WireError)
        if kind == wire.GET_ITEM:
            return _blobs(self.items.get(reader.integer("I")))
        if kind == wire.SET_ITEM:
            self.items[reader.integer("I")] = reader.blob()
        elif kind == wire.GET_DATA:
            name = reader.text()
            return _blobs(self.data[name]) if name in self.data else wire.emit_answer(PAM_NO_MODULE_DATA)
        elif kind == wire.SET_DATA:
            name, value = reader.text(), reader.blob()
            self.data.pop(name, None)
            if value is not None:
                self.data[name] = value
        elif kind == wire.FAIL_DELAY:
            self.delays.append(reader.integer("I"))
        elif kind == wire.CONVERSE:
            return self._converse(reader)
        return wire.emit_answer(PAM_SUCCESS)

    def _converse(self, reader: Reader) -> bytes:
        given: list[bytes | None] = []
        for _ in range(reader.integer("H")):
            asks = reader.integer("I") in {1, 2}
            self.said.append(reader.text())
            if asks and not self._answers:
                return wire.emit_answer(PAM_CONV_ERR)
            given.append(self._answers.pop(0) if asks else None)
        return _blobs(*given)


def _blobs(*values: bytes | None) -> bytes:
    return wire.emit_answer(PAM_SUCCESS, b"".join(map(pack_blob, values)))


def _read(ours: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        chunk = ours.recv(size - len(content))
        if not chunk:
            raise EOFError
        content += chunk
    return content


class Inside:
    """`inside.py` in the machine; use as a context manager."""

    def __init__(self, machine: LoginMachine) -> None:
        script = str(__file__).removesuffix("worker.py") + "inside.py"
        command = machine.enter(["/usr/bin/python3", "-I", "-B", script], {})
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.communicate(timeout=20)

    def __call__(self, verb: str, *arguments: bytes) -> str:
        """What comes of a verb."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(verb, *(argument.hex() for argument in arguments), file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()
