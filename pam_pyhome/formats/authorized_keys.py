"""The lines of ``authorized_keys`` as sshd(8) reads them: options, a key type, a blob in base64, a comment.

The format is specified in sshd(8), AUTHORIZED_KEYS FILE FORMAT; blobs in RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4 and in
OpenSSH's PROTOCOL.certkeys and PROTOCOL.u2f. Whatever sshd accepts is accepted here, and kept byte for byte.
"""

from __future__ import annotations

import binascii
import struct

from pam_pyhome.formats.escape import lines
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_BLANK = b" \t"
_INNER_BLANKS = b"\r\v\f"
_QUOTE = ord('"')
_SHOWN = 40
_RSA_BITS_MIN = 1024

_FLAGS = frozenset({"cert-authority", "restrict"})
_SWITCHES = frozenset(
    {"agent-forwarding", "port-forwarding", "pty", "touch-required", "user-rc", "verify-required", "x11-forwarding"}
)
_ONCE = frozenset({"command", "from", "principals"})
_VALUED = _ONCE | {"environment", "expiry-time", "permitlisten", "permitopen", "tunnel"}

# The fields of a blob after its type: n an RSA modulus, m another integer, p an Ed25519 key, c a curve and a point on it,
# s a string, 8 and 4 integers of so many bytes.
_PLAIN = {
    "ssh-rsa": "mn",
    "ssh-dss": "mmmm",
    "ssh-ed25519": "p",
    "ecdsa-sha2-nistp256": "c",
    "ecdsa-sha2-nistp384": "c",
    "ecdsa-sha2-nistp521": "c",
    "sk-ssh-ed25519@openssh.com": "ps",
    "sk-ecdsa-sha2-nistp256@openssh.com": "cs",
}
_CERTIFIED = "84ss88sssss"
_CERTIFICATE_SUFFIX = "-cert-v01@openssh.com"
_BLOBS = _PLAIN | {
    name.removesuffix("@openssh.com") + _CERTIFICATE_SUFFIX: "s" + fields + _CERTIFIED for name, fields in _PLAIN.items()
}
# Names of signature algorithms that sshd also takes for names of keys.
_ALIASES = {
    "rsa-sha2-256": "ssh-rsa",
    "rsa-sha2-512": "ssh-rsa",
    "rsa-sha2-256-cert-v01@openssh.com": "ssh-rsa-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com": "ssh-rsa-cert-v01@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com": "sk-ecdsa-sha2-nistp256@openssh.com",
}
_POINT_SIZES = {b"nistp256": 65, b"nistp384": 97, b"nistp521": 133}
_UNCOMPRESSED = b"\4"
_ED25519_SIZE = 32


class Key(Record):
    """A line with a key: its number from 1, the options as written, type, blob and comment."""

    number: int
    options: bytes
    key_type: str
    blob: bytes
    comment: bytes


class BadLine(Record):
    """A line that sshd would not use: its number from 1, and why."""

    number: int
    reason: str


class KeyFile(Record):
    """What a file holds: its keys, its bad lines, and `kept`, all but the bad lines, byte for byte."""

    keys: tuple[Key, ...]
    bad: tuple[BadLine, ...]
    kept: bytes


class _LineError(Exception):
    """Why a line is bad."""


def parse_authorized_keys(data: bytes) -> KeyFile:
    """Read a file. Never fails: what sshd would not use is in `bad`. Lines end in LF or CR LF; the last may lack it."""
    keys: list[Key] = []
    bad: list[BadLine] = []
    kept: list[bytes] = []
    for number, line in enumerate(lines(data), 1):
        try:
            key = _parse_line(number, line)
        except _LineError as error:
            bad.append(BadLine(number, str(error)))
            continue
        kept.append(line)
        if key is not None:
            keys.append(key)
    return KeyFile(tuple(keys), tuple(bad), b"".join(kept))


def _parse_line(number: int, line: bytes) -> Key | None:
    """The key of a line; None for an empty line or a comment. _LineError for anything else."""
    text = line.removesuffix(b"\n").removesuffix(b"\r").lstrip(_BLANK)
    if not text or text.startswith(b"#"):
        return None
    if b"\0" in text:
        raise _LineError("a NUL in the line")
    options, rest = (b"", text) if _begins_key(text) else _split_options(text)
    key_type, blob, comment = _parse_key(rest)
    _check_options(options)
    return Key(number, options, key_type, blob, comment)


def _words(text: bytes) -> tuple[bytes, bytes]:
    """The first word, and what follows it and the blanks after it."""
    word, _, rest = text.partition(b" ")
    if b"\t" in word:
        word = word[: word.index(b"\t")]
        rest = text[len(word) :]
    return word, rest.lstrip(_BLANK)


def _begins_key(text: bytes) -> bool:
    """Whether a line has no options: its first word is a known type, or that which is written inside the second word."""
    name, rest = _words(text)
    if _inner_name(name.decode("latin-1")) in _BLOBS:
        return True
    try:
        blob = _decode(_words(rest)[0])
        return blob.startswith(struct.pack(">I", len(name)) + name)
    except _LineError:
        return False


def _split_options(text: bytes) -> tuple[bytes, bytes]:
    """Options, and what follows them and the blanks after them. A backslash protects a quotation mark, inside quotes or not."""
    quoted = False
    at = 0
    while at < len(text) and (quoted or text[at] not in _BLANK):
        if text[at : at + 2] == b'\\"':
            at += 1
        elif text[at] == _QUOTE:
            quoted = not quoted
        at += 1
    if quoted:
        raise _LineError("a quotation mark is not closed")
    return text[:at], text[at:].lstrip(_BLANK)


def _check_options(options: bytes) -> None:
    """_LineError for options that sshd does not know, or that have a value too few, too many or unquoted."""
    seen: set[str] = set()
    while options:
        name, value, options = _next_option(options)
        if value is None:
            if name not in _FLAGS and name.removeprefix("no-") not in _SWITCHES:
                raise _LineError(f"{_shown(name)}: {'a value is missing' if name in _VALUED else 'unknown option'}")
        elif name not in _VALUED:
            raise _LineError(f"{_shown(name)}: unknown option with a value")
        elif name in _ONCE and name in seen:
            raise _LineError(f"{name}: given twice")
        seen.add(name)


def _next_option(options: bytes) -> tuple[str, bytes | None, bytes]:
    """The next option in lower case, its value in quotation marks or None, and what follows the comma after it."""
    end = next((at for at, byte in enumerate(options) if byte in b"=,"), len(options))
    name = options[:end].decode("latin-1").lower()
    if options[end : end + 1] != b"=":
        return name, None, options[end + 1 :]
    at = end + 1
    if options[at : at + 1] != b'"':
        raise _LineError(f"{_shown(name)}: the value is not in quotation marks")
    closing = _closing_quote(options, at + 1)
    if options[closing + 1 : closing + 2] not in {b"", b","}:
        raise _LineError(f"{_shown(name)}: no comma after the value")
    return name, options[at : closing + 1], options[closing + 2 :]


def _closing_quote(options: bytes, at: int) -> int:
    """Where the quotation mark is that ends the value beginning at `at`."""
    while at < len(options) and options[at] != _QUOTE:
        at += 2 if options[at : at + 2] == b'\\"' else 1
    if at >= len(options):
        raise _LineError("a quotation mark is not closed")
    return at


def _parse_key(text: bytes) -> tuple[str, bytes, bytes]:
    """Type, blob and comment. _LineError if they are not there or do not fit together."""
    word, rest = _words(text)
    if not rest:
        raise _LineError(f"no key after {_shown(word.decode('latin-1'))}" if word else "no key")
    name = word.decode("latin-1")
    encoded, comment = _words(rest)
    inner = _inner_name(name)
    if inner not in _BLOBS and not _begins_key(text):
        raise _LineError(f"{_shown(name)} is no type of key")
    blob = _decode(encoded)
    _check_blob(inner, blob)
    return name, blob, comment


def _inner_name(name: str) -> str:
    """What a blob of type `name` calls itself."""
    return _ALIASES.get(name, name)


def _decode(encoded: bytes) -> bytes:
    """Undo base64, as strictly as sshd, which passes over blanks of the kinds that do not end a word."""
    encoded = encoded.translate(None, _INNER_BLANKS)
    try:
        blob = binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error:
        raise _LineError("the key is not in base64, or is cut off") from None
    if binascii.b2a_base64(blob, newline=False) != encoded:
        raise _LineError("the key is not in base64, or is cut off")
    return blob


def _check_blob(name: str, blob: bytes) -> None:
    """_LineError unless the blob says that it is of type `name` and has the fields of such a key, and nothing else.

    A type that is not known here passes: sshd may be newer than this program.
    """
    found, at = _take_string(blob, 0)
    inner = _inner_name(found.decode("latin-1"))
    if inner != name:
        raise _LineError(f"{_shown(name)}: the key inside is of type {_shown(inner)}")
    if name not in _BLOBS:
        return
    for kind in _BLOBS[name]:
        at = _FIELDS[kind](name, blob, at)
    if at != len(blob):
        raise _LineError(f"{len(blob) - at} bytes too many in the key")


def _take_string(blob: bytes, at: int) -> tuple[bytes, int]:
    """The string at `at`, and where it ends."""
    end = _skip(blob, at, 4)
    (size,) = struct.unpack_from(">I", blob, at)
    return blob[end : end + size], _skip(blob, end, size)


def _skip(blob: bytes, at: int, size: int) -> int:
    """`at` and `size` together, if there are as many bytes."""
    if at + size > len(blob):
        raise _LineError("the key is cut off")
    return at + size


def _string(_name: str, blob: bytes, at: int) -> int:
    return _take_string(blob, at)[1]


def _integer(_name: str, blob: bytes, at: int) -> int:
    value, at = _take_string(blob, at)
    if value[:1] >= b"\x80":
        raise _LineError("a negative number in the key")
    return at


def _modulus(name: str, blob: bytes, at: int) -> int:
    bits = int.from_bytes(_take_string(blob, at)[0], "big").bit_length()
    if bits < _RSA_BITS_MIN:
        raise _LineError(f"an RSA key of {bits} bits; sshd wants {_RSA_BITS_MIN} at least")
    return _integer(name, blob, at)


def _ed25519(_name: str, blob: bytes, at: int) -> int:
    value, at = _take_string(blob, at)
    if len(value) != _ED25519_SIZE:
        raise _LineError(f"an Ed25519 key of {len(value)} bytes instead of {_ED25519_SIZE}")
    return at


def _curve_point(name: str, blob: bytes, at: int) -> int:
    curve, at = _take_string(blob, at)
    point, at = _take_string(blob, at)
    if f"-{curve.decode('latin-1')}" not in name.removesuffix(_CERTIFICATE_SUFFIX).removesuffix("@openssh.com"):
        raise _LineError(f"{_shown(name)}: the key inside is on curve {_shown(curve.decode('latin-1'))}")
    if len(point) != _POINT_SIZES.get(curve) or point[:1] != _UNCOMPRESSED:
        raise _LineError("the key is no point on its curve")
    return at


_FIELDS: dict[str, Callable[[str, bytes, int], int]] = {
    "s": _string,
    "m": _integer,
    "n": _modulus,
    "p": _ed25519,
    "c": _curve_point,
    "4": lambda _name, blob, at: _skip(blob, at, 4),
    "8": lambda _name, blob, at: _skip(blob, at, 8),
}


def _shown(text: str) -> str:
    """The beginning of a word out of a file, fit for a message."""
    shown = text.encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
