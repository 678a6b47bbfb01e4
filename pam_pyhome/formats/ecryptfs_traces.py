"""What the ciphertext of an eCryptfs home tells about its keys: names and files carry the signatures of the keys that open them.

========  ==================================================================================================================
where     what
========  ==================================================================================================================
name      ``ECRYPTFS_FNEK_ENCRYPTED.`` and then 6 bits in each character, highest first, of a packet: 0x46, its length in one or
          two bytes, the signature of the filename key (8 bytes), and more
header    in the first kibibyte of a file, in a packet of its own: ``b``, 8, ``_CONSOLE``, four NULs, the signature of the file
          key (8 bytes)
========  ==================================================================================================================

The characters stand for 0 to 63 in the order of ``-.``, the digits, capitals, small letters. The packets are modelled on RFC 2440
and are those of the kernel, fs/ecryptfs/keystore.c. Nothing authenticates them: they say which key to try, as ``Private.sig`` does.
"""

from __future__ import annotations

PREFIX = b"ECRYPTFS_FNEK_ENCRYPTED."
HEADER_SIZE = 1024

_CHARACTERS = b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NAME_PACKET = 0x46
_TWO_BYTES = 192  # the first byte of a length that has a second one
_FILE_PACKET = b"b\x08_CONSOLE\0\0\0\0"
_SIGNATURE_SIZE = 8
_ENOUGH = 16  # characters: 12 bytes, of which the signature is the last 8 at most


def parse_name(name: bytes) -> str | None:
    """The signature of the key that encrypts a name, 16 hexadecimal digits; None for a name that is not encrypted."""
    letters = name.removeprefix(PREFIX)[:_ENOUGH]
    if not name.startswith(PREFIX) or len(letters) < _ENOUGH or letters.strip(_CHARACTERS):
        return None
    number = 0
    for letter in letters:
        number = number << 6 | _CHARACTERS.index(letter)
    packet = number.to_bytes(_ENOUGH * 6 // 8, "big")
    if packet[0] != _NAME_PACKET:
        return None
    start = 3 if packet[1] >= _TWO_BYTES else 2
    return packet[start : start + _SIGNATURE_SIZE].hex()


def parse_header(data: bytes) -> str | None:
    """The signature of the key that encrypts a file, 16 hexadecimal digits, from its first bytes; None if there is none."""
    _, found, rest = data[:HEADER_SIZE].partition(_FILE_PACKET)
    signature = rest[:_SIGNATURE_SIZE]
    return signature.hex() if found and len(signature) == _SIGNATURE_SIZE else None
