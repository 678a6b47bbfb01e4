"""The targets in C: how they are compiled, with libFuzzer and the sanitizers, and inputs to begin with."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

from pam_pyhome.formats import state, wire

HERE = Path(__file__).parent / "native"
HOST = HERE.parents[2] / "pam_pyhome/host"
_FLAGS = (
    "-g", "-O1", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fno-omit-frame-pointer",
    "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all",
)  # fmt: skip
#: What each is made of besides its own source: files of the shim, and more for the compiler.
_PARTS = {
    "files": ((), ()),
    "frames": (("wire.c",), ()),
    "relay": (
        ("relay.c", "converse.c", "data.c", "wire.c", "waiting.c", "descriptor.c"),
        ("-Dsend=worker_reads", "-rdynamic", "-lpam"),
    ),
}
NATIVE = tuple(_PARTS)


def build(directory: Path, host: Path = HOST) -> None:
    """Compile all of them, with the shim's files in `host`, into `directory`, where they also keep what they need when they run."""
    where = f'-DFUZZ_DIRECTORY="{directory}"'
    for name, (sources, more) in _PARTS.items():
        parts = [str(HERE / f"{name}.c"), *(str(host / source) for source in sources)]
        subprocess.run(["clang", *_FLAGS, f"-I{host}", where, "-o", str(directory / name), *parts, *more], check=True)
    module = str(directory / "pam_fuzz.so")
    subprocess.run(["clang", "-shared", "-fPIC", "-o", module, str(HERE / "module.c")], check=True)
    (directory / "fuzz").write_text(f"auth required {module}\n")


def seeds(name: str) -> list[bytes]:
    """What a target in C begins with."""
    return {"files": _files, "frames": _frames, "relay": _relays}[name]()


def _files() -> list[bytes]:
    claim = state.Claim(1000, "0" * 32, b"/")
    record = state.OpenRecord("ada", "fscrypt", b"/home/a b\\", b"/dev/vda", "8:1", (1, 2), (claim,))
    settings = b"# comment\nauthenticate\n skip_services = cron, atd\njobs=refuse\nssh-unlock\n\ndebug\r\n"
    return [b"\0" + state.emit_open(record), b"\3" + settings, b"\x83" + settings]


def _frames() -> list[bytes]:
    stream = wire.emit_set_item(wire.ITEM_AUTHTOK, b"secret") + wire.emit_converse([(1, "Password: "), (4, "Hello")])
    return [
        b"\2\0\3" + stream,
        b"\5\1\0\3\0\3" + stream,
        b"\2\3\2" + wire.emit_set_data("pyhome.opened.ada", b"x" * 300),
    ]


def _relays() -> list[bytes]:
    verbs = [wire.emit_get_item(item) for item in (wire.ITEM_USER, wire.ITEM_AUTHTOK, 5)]
    verbs += [wire.emit_set_item(item, value) for item in (wire.ITEM_AUTHTOK, wire.ITEM_USER) for value in (b"x", None)]
    verbs += [
        wire.emit_put_env("A=b"), wire.emit_put_env("A"), wire.emit_get_env("A"), wire.emit_fail_delay(100),
        wire.emit_converse([(1, "Password: "), (2, "Name: "), (3, "Wrong"), (4, "Hello")]),
        wire.emit_set_data("pyhome.opened.ada", b"keys"), wire.emit_get_data("pyhome.opened.ada"),
        wire.emit_set_data("pyhome.x", None),
        wire.emit_add_session_key("0123456789abcdef", b"payload", 0x3F010000),
    ]  # fmt: skip
    end = [wire.emit_reply(0)]
    logins = [[*verbs, *end], [verbs[-5], *verbs[-3:-2], *end, verbs[-2], *end], *([verb, *end] for verb in verbs)]
    return [
        bytes([how, answers]) + b"".join(map(_short, frames))
        for frames in logins
        for how, answers in ((0, 0x59), (2, 0xFB))
    ]


def _short(frame: bytes) -> bytes:
    """A frame as `relay.c` takes it."""
    kind, size = wire.parse_header(frame[: wire.HEADER_SIZE])
    return struct.pack("<BH", kind, size) + frame[wire.HEADER_SIZE :]
