"""A worker for tests that speaks the shim's protocol by hand: what stands behind this text uses `start`, `verb` and `reply`."""

from __future__ import annotations

import os
import struct

os.close(os.open("/run/worker-runs", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))


def note(text: str) -> None:
    fd = os.open("/run/worker-runs", os.O_WRONLY | os.O_APPEND)
    os.write(fd, text.encode() + b"\n")
    os.close(fd)


def read(size: int) -> bytes:
    content = b""
    while len(content) < size:
        chunk = os.read(3, size - len(content))
        if not chunk:
            note("eof")
            os._exit(0)
        content += chunk
    return content


def receive() -> tuple[int, bytes]:
    (length,) = struct.unpack("<I", read(4))
    frame = read(length)
    return frame[0], frame[1:]


def raw(data: bytes) -> None:
    while data:
        data = data[os.write(3, data) :]


def send(kind: int, body: bytes = b"") -> None:
    raw(struct.pack("<IB", len(body) + 1, kind) + body)


def blob(value: bytes | None) -> bytes:
    return struct.pack("<I", 0xFFFFFFFF) if value is None else struct.pack("<I", len(value)) + value


class Body:
    """What is left to read of a frame."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def number(self, form: str) -> int:
        """The next number, in the notation of struct."""
        size = struct.calcsize(form)
        (value,) = struct.unpack(form, self.data[:size])
        self.data = self.data[size:]
        return int(value)

    def blob(self) -> bytes | None:
        """The next blob."""
        size = self.number("<I")
        if size == 0xFFFFFFFF:
            return None
        value, self.data = self.data[:size], self.data[size:]
        assert len(value) == size
        return value


class Start:
    """The START frame."""

    def __init__(self, body: Body) -> None:
        self.version, self.phase = body.number("<B"), body.number("<B")
        self.flags, self.uid, self.gid, self.pid = (body.number(form) for form in ("<i", "<I", "<I", "<I"))
        self.user, self.service, self.home = body.blob(), body.blob(), body.blob()
        self.tokens = [body.blob() for _ in range(body.number("<H"))]
        assert body.data == b""


def verb(kind: int, body: bytes = b"") -> tuple[int, Body]:
    send(kind, body)
    answer, content = receive()
    assert answer == 2
    rest = Body(content)
    return rest.number("<i"), rest


def value(kind: int, body: bytes = b"") -> bytes | int | None:
    status, content = verb(kind, body)
    return content.blob() if status == 0 else status


def converse(*messages: tuple[int, bytes]) -> list[bytes | None] | int:
    body = struct.pack("<H", len(messages)) + b"".join(struct.pack("<I", style) + blob(text) for style, text in messages)
    status, content = verb(20, body)
    return [content.blob() for _ in messages] if status == 0 else status


def add_key(description: bytes, payload: bytes, perm: int) -> int:
    status, content = verb(24, blob(description) + blob(payload) + struct.pack("<I", perm))
    return content.number("<i") if status == 0 else -status


def reply(code: int) -> None:
    send(31, struct.pack("<i", code))


kind, content = receive()
assert kind == 1
start = Start(Body(content))
note(str(start.phase))
