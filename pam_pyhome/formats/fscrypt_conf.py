"""``/etc/fscrypt.conf`` and the links from one file system's protectors to another's, as fscrypt writes them.

The configuration is JSON in Protocol Buffers' mapping: 64-bit integers may be strings. What is not needed here is read over. A
link is text: ``UUID=…`` and ``PATH=…``, one per line, either of which may be missing.
"""

from __future__ import annotations

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.fscrypt_meta import Costs
from pam_pyhome.record import Record

CONF, LINK = "fscrypt.conf", "fscrypt link"
MAX_SIZE = 16384
PATH_MAX = 4096

_SPACE = " \t\r\n"
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_DEPTH = 16

TYPE_CHECKING = False
if TYPE_CHECKING:
    Json = dict[str, "Json"] | list["Json"] | str | bool | None


class Link(Record):
    """Where the protector really is: the file system's `uuid`, and where it was mounted; None for what the link does not say."""

    uuid: str | None
    path: str | None


def parse_link(data: bytes) -> Link:
    """Read a link. FormatError unless it says at least one of both, each once, and the path is absolute."""
    try:
        lines = data.decode("utf-8", "surrogateescape").split("\n")
    except UnicodeDecodeError:
        raise FormatError(LINK, "not text") from None
    found: dict[str, str] = {}
    for line in filter(None, lines):
        name, equals, value = line.partition("=")
        if name not in ("UUID", "PATH") or not equals or name in found or not value or "\0" in value:
            raise FormatError(LINK, "a line is not UUID= or PATH=, or stands twice")
        found[name] = value
    path = found.get("PATH")
    if not found or len(data) > PATH_MAX or (path is not None and not path.startswith("/")):
        raise FormatError(LINK, "names no file system")
    return Link(found.get("UUID"), path)


def emit_link(link: Link) -> bytes:
    """Write a link. FormatError for what `parse_link` would not read back."""
    lines = [f"{name}={value}\n" for name, value in (("UUID", link.uuid), ("PATH", link.path)) if value is not None]
    data = "".join(lines).encode("utf-8", "surrogateescape")
    if parse_link(data) != link:
        raise FormatError(LINK, "a value has a line break in it")
    return data


def parse_costs(data: bytes) -> Costs:
    """The costs for new passphrases in ``/etc/fscrypt.conf``. FormatError."""
    if len(data) > MAX_SIZE:
        raise FormatError(CONF, f"{len(data)} bytes, more than {MAX_SIZE}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(CONF, "not UTF-8") from None
    top = _Parser(text).parse()
    costs = _member(_member(top, "hash_costs", "hashCosts"))
    return Costs(*(_number(costs, name) for name in ("time", "memory", "parallelism")))


def _member(value: Json, *names: str) -> dict[str, Json]:
    """`value`, or its member of one of the names, which must be an object."""
    found = next((value[name] for name in names if name in value), None) if names and isinstance(value, dict) else value
    if not isinstance(found, dict):
        raise FormatError(CONF, f"{names[0] if names else 'it'} is not an object")
    return found


def _number(costs: dict[str, Json], name: str) -> int:
    value = costs.get(name)
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 18 or int(value) < 1:
        raise FormatError(CONF, f"{name} is not a number above 0")
    return int(value)


def emit_config(costs: Costs) -> bytes:
    """A new ``/etc/fscrypt.conf`` with these costs and what `fscrypt setup` chooses for the rest."""
    return f"""{{
\t"source": "custom_passphrase",
\t"hash_costs": {{
\t\t"time": "{costs.time}",
\t\t"memory": "{costs.memory}",
\t\t"parallelism": "{costs.parallelism}",
\t\t"truncation_fixed": true
\t}},
\t"options": {{
\t\t"padding": "32",
\t\t"contents": "AES_256_XTS",
\t\t"filenames": "AES_256_CTS",
\t\t"policy_version": "2"
\t}},
\t"use_fs_keyring_for_v1_policies": false,
\t"allow_cross_user_metadata": false
}}
""".encode("ascii")


class _Parser:
    """JSON, strictly. Numbers stay text, because half of them are strings anyway. The json module takes long to import."""

    def __init__(self, text: str) -> None:
        """Start at the beginning."""
        self._text = text
        self._at = 0

    def parse(self) -> Json:
        """The one value that the text is."""
        value = self._value(0)
        if self._peek():
            raise self._fail("something follows")
        return value

    def _fail(self, reason: str) -> FormatError:
        return FormatError(CONF, f"{reason} at character {self._at}")

    def _peek(self) -> str:
        """The next character that is no space, or an empty string."""
        while self._text[self._at : self._at + 1] and self._text[self._at] in _SPACE:
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> bool:
        """Skip this character, if it is the next."""
        found = self._peek() == character
        self._at += found
        return found

    def _expect(self, character: str) -> None:
        if not self._take(character):
            raise self._fail(f"{character} is missing")

    def _value(self, depth: int) -> Json:
        if depth > _DEPTH:
            raise self._fail("too deep")
        first = self._peek()
        if first == "{":
            return self._object(depth)
        if first == "[":
            return self._array(depth)
        return self._string() if first == '"' else self._word()

    def _object(self, depth: int) -> Json:
        found: dict[str, Json] = {}
        self._expect("{")
        if self._take("}"):
            return found
        while True:
            name = self._string()
            self._expect(":")
            if name in found:
                raise self._fail("a name stands twice")
            found[name] = self._value(depth + 1)
            if self._take("}"):
                return found
            self._expect(",")

    def _array(self, depth: int) -> Json:
        found: list[Json] = []
        self._expect("[")
        if self._take("]"):
            return found
        while True:
            found.append(self._value(depth + 1))
            if self._take("]"):
                return found
            self._expect(",")

    def _string(self) -> str:
        self._expect('"')
        out = ""
        while True:
            letter = self._next()
            if letter == '"':
                return out
            if letter == "\\":
                letter = self._escape()
            elif letter < " ":
                raise self._fail("a control character")
            out += letter

    def _next(self) -> str:
        letter = self._text[self._at : self._at + 1]
        if not letter:
            raise self._fail("the end is missing")
        self._at += 1
        return letter

    def _escape(self) -> str:
        letter = self._next()
        if letter == "u":
            digits = "".join(self._next() for _ in range(4))
            if digits.strip("0123456789abcdefABCDEF"):
                raise self._fail("an escape is not one")
            return chr(int(digits, 16))
        if letter not in _ESCAPES:
            raise self._fail("an escape is not one")
        return _ESCAPES[letter]

    def _word(self) -> str | bool | None:
        start = self._at
        while self._text[self._at : self._at + 1].isalnum() or self._text[self._at : self._at + 1] in ("-", "+", "."):
            self._at += 1
        word = self._text[start : self._at]
        if word in _WORDS:
            return _WORDS[word]
        if not word.lstrip("-")[:1].isdigit():
            raise self._fail("a value is missing")
        return word
