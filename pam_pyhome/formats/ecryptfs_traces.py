"""What the ciphertext of an eCryptfs home tells about its keys: which ones open it, and with which cipher.

========  ==================================================================================================================
where     what
========  ==================================================================================================================
name      ``ECRYPTFS_FNEK_ENCRYPTED.`` and then 6 bits in each character, highest first, of a packet: 0x46, its length in one or
          two bytes, the signature of the filename key (8 bytes), the number of a cipher, and more
header    in the first kibibyte of a file, a packet: 0x8c, its length, 4, the number of a cipher, 3, 1, a salt (8 bytes), 0x60, the
          file's own key; then one with ``b``, 8, ``_CONSOLE``, four NULs, the signature of the file key (8 bytes)
========  ==================================================================================================================

The characters stand for 0 to 63 in the order of ``-.``, the digits, capitals, small letters. The packets are modelled on RFC 2440
and are those of the kernel, fs/ecryptfs/keystore.c. Nothing authenticates them: they say which key to try, as ``Private.sig`` does.
"""

from __future__ import annotations

from pam_pyhome.formats.ecryptfs_layout import AES_128, Cipher
from pam_pyhome.record import Record

PREFIX = b"ECRYPTFS_FNEK_ENCRYPTED."
HEADER_SIZE = 1024

_CHARACTERS = b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NAME_PACKET = 0x46
_TWO_BYTES = 192  # the first byte of a length that has a second one
_FILE_PACKET = b"b\x08_CONSOLE\0\0\0\0"
_SIGNATURE_SIZE = 8
_ENOUGH = 16  # characters: 12 bytes, of which the signature and the cipher are the last 9 at most

_KEY_PACKET = 0x8C
_KEY_PACKETS_AT = (26, 20)  # in files of this format, and of the first one
_BESIDES_KEY = 13  # bytes of the packet
#: The kernel's numbers of the ciphers; with how many bytes of a key, where no header says that.
_CIPHERS = {
    2: Cipher("des3_ede", 24),
    3: Cipher("cast5", 16),
    4: Cipher("blowfish", 16),
    7: AES_128,
    8: Cipher("aes", 24),
    9: Cipher("aes", 32),
    10: Cipher("twofish", 32),
    11: Cipher("cast6", 32),
}
_SIZES = {"cast5": (16,), "blowfish": (16, 24, 32, 56), "twofish": (16, 24, 32), "cast6": (16, 24, 32)}  # those that vary


class Trace(Record):
    """The key that a name or a file is encrypted with: its signature, 16 hexadecimal digits; the cipher, None if not known."""

    signature: str
    cipher: Cipher | None


def parse_name(name: bytes) -> Trace | None:
    """What encrypts a name; None for a name that is not encrypted."""
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
    end = start + _SIGNATURE_SIZE
    return Trace(packet[start:end].hex(), _CIPHERS.get(packet[end]))


def parse_header(data: bytes) -> Trace | None:
    """What encrypts a file, from its first bytes; None if they do not say."""
    _, found, rest = data[:HEADER_SIZE].partition(_FILE_PACKET)
    signature = rest[:_SIGNATURE_SIZE]
    if not found or len(signature) != _SIGNATURE_SIZE:
        return None
    ciphers = (_cipher_at(data[start:]) for start in _KEY_PACKETS_AT)
    return Trace(signature.hex(), next(filter(None, ciphers), None))


def _cipher_at(packet: bytes) -> Cipher | None:
    """The cipher of a file, and how many bytes its key has, if a packet with the key begins here."""
    if packet[:1] != bytes([_KEY_PACKET]) or packet[2:3] != b"\x04":
        return None
    cipher = _CIPHERS.get(packet[3]) if len(packet) > _BESIDES_KEY else None
    size = packet[1] - _BESIDES_KEY
    return cipher.but(key_bytes=size) if cipher is not None and size in _SIZES.get(cipher.name, ()) else cipher
