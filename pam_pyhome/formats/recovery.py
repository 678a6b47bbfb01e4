"""Recovery keys: 160 random bits as a person writes them down and types them in.

::

    1a2bc-d3e4f-…          8 groups of 4 symbols and a check symbol, with dashes between them: 47 characters
    symbols                0 to 9 and a to z without i, l, o, u; the first has the highest 5 bits of its group's 20
    check symbol           c so that  c + 2·s1 + 2²·s2 + 2³·s3 + 2⁴·s4 + 2⁵·p = 0  in GF(32) with x⁵ + x² + 1
                           s1 to s4 are the values of the symbols, p is the number of the group from 0, 2 is the element x

So one wrong symbol, two symbols of a group in each other's place, or a group in another's place never goes unnoticed. Capitals
are the same as small letters; o is read as 0, i and l as 1; spaces and dashes do not count.

What opens the home is the text itself as `emit_recovery` writes it, so that it can be typed into other tools as well: it is the
passphrase of an fscrypt protector, or the mount passphrase of an eCryptfs home, which has at most 64 bytes.
"""

from __future__ import annotations

from pam_pyhome.errors import FormatError

WHAT = "recovery key"
SIZE = 20
GROUPS = 8
TEXT_MAX = 256
FOREIGN_DIGITS = 32
FSCRYPT_LETTERS = 20
MISTYPED = "mistyped"

_SYMBOLS = "0123456789abcdefghjkmnpqrstvwxyz"
_DATA, _BITS = 4, 5
_REDUCE = 0b100101
_LOOK_ALIKE = str.maketrans("oil", "011", " -\t\r\n")


def emit_recovery(key: bytes) -> str:
    """The text of a key of 20 bytes. ValueError for another size."""
    if len(key) != SIZE:
        raise ValueError(f"a recovery key has {SIZE} bytes, not {len(key)}")
    number = int.from_bytes(key, "big")
    width = _DATA * _BITS
    groups = [(number >> width * (GROUPS - 1 - place)) & ((1 << width) - 1) for place in range(GROUPS)]
    return "-".join(_emit_group(group, place) for place, group in enumerate(groups))


def _emit_group(group: int, place: int) -> str:
    values = [(group >> _BITS * (_DATA - 1 - index)) & 31 for index in range(_DATA)]
    return "".join(_SYMBOLS[value] for value in (*values, _check(values, place)))


def _check(values: list[int], place: int) -> int:
    """The value of the check symbol: Horner's rule, from the highest power of x down."""
    total = place
    for value in reversed(values):
        total = _double(total) ^ value
    return _double(total)


def _double(value: int) -> int:
    """Times x in GF(32)."""
    value <<= 1
    return value ^ _REDUCE if value > 31 else value


def parse_recovery(text: str) -> bytes:
    """The 20 bytes of a key that a person has typed in. FormatError, which names the group, for one that is mistyped."""
    letters = text[:TEXT_MAX].lower().translate(_LOOK_ALIKE)
    strange = letters.strip(_SYMBOLS)
    if strange or len(text) > TEXT_MAX:
        raise FormatError(WHAT, f"{strange[:1]!r} is not in any" if strange else f"more than {TEXT_MAX} characters")
    length = _DATA + 1
    if len(letters) != GROUPS * length:
        raise FormatError(WHAT, f"{len(letters)} letters and digits instead of {GROUPS * length}")
    wrong = [place for place in range(GROUPS) if not _is_good(letters[place * length :][:length], place)]
    if wrong:
        groups = ", ".join(str(place + 1) for place in wrong)
        raise FormatError(WHAT, f"{MISTYPED} in group {groups}")
    number = 0
    for place in range(GROUPS):
        for letter in letters[place * length :][:_DATA]:
            number = number << _BITS | _SYMBOLS.index(letter)
    return number.to_bytes(SIZE, "big")


def mistyped(answer: bytes) -> str:
    """Where an answer that is meant for a recovery key is wrong, in words; empty for one that is right, or is none."""
    try:
        parse_recovery(answer.decode("ascii", "replace"))
    except FormatError as error:
        return error.reason if error.reason.startswith(MISTYPED) else ""
    return ""


def typed_key(answer: bytes) -> bytes | None:
    """The text of the key that an answer is, however it was typed; None for an answer that is none."""
    try:
        return emit_recovery(parse_recovery(answer.decode("ascii"))).encode("ascii")
    except (UnicodeDecodeError, FormatError):
        return None


def typed_passphrase(answer: bytes) -> bytes | None:
    """The mount passphrase of an eCryptfs home that an answer is: a recovery key, or what ecryptfs-utils make; else None.

    Theirs are 32 hexadecimal digits, here also with capitals and spaces.
    """
    digits = answer[:TEXT_MAX].lower().translate(None, b" -\t\r\n")
    if len(digits) == FOREIGN_DIGITS and not digits.strip(b"0123456789abcdef"):
        return digits
    return typed_key(answer)


def typed_fscrypt(answer: bytes) -> bytes | None:
    """The passphrase that opens a protector for recovery: a recovery key, or what fscrypt makes; else None.

    Its own are 20 letters, here also with capitals and spaces.
    """
    letters = answer[:TEXT_MAX].lower().translate(None, b" -\t\r\n")
    if len(letters) == FSCRYPT_LETTERS and not letters.strip(b"abcdefghijklmnopqrstuvwxyz"):
        return letters
    return typed_key(answer)


def _is_good(group: str, place: int) -> bool:
    *values, check = (_SYMBOLS.index(letter) for letter in group)
    return check == _check(values, place)
