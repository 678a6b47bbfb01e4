"""The kernel's own encryption of directories, one function for each ioctl of linux/fscrypt.h. All raise OSError.

A *claim* is one user's hold on a key: the key goes when the last claim does. The claim is that of the file-system uid, so callers
take the user's rights first.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from pam_pyhome.record import Record

GET_POLICY_EX = 0xC0096616
SET_POLICY = 0x800C6613
ADD_KEY = 0xC0506617
REMOVE_KEY = 0xC0406618
KEY_STATUS = 0xC080661A

ABSENT, PRESENT, INCOMPLETELY_REMOVED = 1, 2, 3
ADDED_BY_SELF = 1
FILES_BUSY, OTHER_USERS = 1, 2

_BY_IDENTIFIER = 2
_SPECIFIER = struct.Struct("=II32s")
_ADD = struct.Struct("=40sIII28x")
_REMOVE = struct.Struct("=40sI20x")
_STATUS = struct.Struct("=40s24xIII52x")
_POLICY_V2 = struct.Struct("=BBBBB3x16s")
_POLICY_MAX = 24
_UNENCRYPTED = (errno.ENODATA, errno.ENOTTY, errno.EOPNOTSUPP)
_PADDING_FLAGS = {4: 0, 8: 1, 16: 2, 32: 3}

_REASONS = {
    errno.ENOTTY: "this file system, or this kernel, has no encryption",
    errno.EOPNOTSUPP: "the file system was made without the encrypt feature",
    errno.ENOPKG: "this kernel lacks the cipher of the home",
    errno.EDQUOT: "the user's quota of keys is used up (/proc/sys/kernel/keys)",
    errno.ENOKEY: "the key is not there",
    errno.EROFS: "the file system is read-only",
}


class DirectoryPolicy(Record):
    """What a directory is encrypted with: the `version`, 1 or 2, and the name of the key in hexadecimal."""

    version: int
    identifier: str


class KeyStatus(Record):
    """A key in a file system: ABSENT, PRESENT or INCOMPLETELY_REMOVED, and whether the present rights have a claim on it."""

    state: int
    own: bool


def reason(error: OSError) -> str:
    """What is missing, in words that help."""
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def policy_of(directory: int) -> DirectoryPolicy | None:
    """The policy of the directory open as `directory`, or None if it is not encrypted or cannot be. OSError otherwise."""
    argument = bytearray(struct.pack("=Q", _POLICY_MAX) + bytes(_POLICY_MAX))
    try:
        fcntl.ioctl(directory, GET_POLICY_EX, argument)
    except OSError as error:
        if error.errno in _UNENCRYPTED:
            return None
        raise
    policy = bytes(argument[8:])
    if policy[0] == 0:
        return DirectoryPolicy(1, policy[4:12].hex())
    return DirectoryPolicy(2, policy[8:24].hex())


def support(directory: int) -> str | None:
    """Why the directory open as `directory` cannot be encrypted, in words; None if it can be. Its emptiness is not looked at."""
    argument = bytearray(struct.pack("=Q", _POLICY_MAX) + bytes(_POLICY_MAX))
    try:
        fcntl.ioctl(directory, GET_POLICY_EX, argument)
    except OSError as error:
        return None if error.errno == errno.ENODATA else reason(error)
    return "it is encrypted already"


def set_policy(directory: int, identifier: str, *, padding: int, contents: int, filenames: int) -> None:
    """Encrypt the empty directory open as `directory` from now on. The key must be there, claimed by whose rights are used."""
    policy = _POLICY_V2.pack(2, contents, filenames, _PADDING_FLAGS[padding], 0, bytes.fromhex(identifier))
    fcntl.ioctl(directory, SET_POLICY, policy)
    os.fsync(directory)


def add_key(directory: int, key: bytes) -> str:
    """Give the file system of `directory` a key, with a claim on it; the key's identifier."""
    argument = bytearray(_ADD.pack(_SPECIFIER.pack(_BY_IDENTIFIER, 0, b""), len(key), 0, 0) + key)
    try:
        fcntl.ioctl(directory, ADD_KEY, argument)
        return bytes(argument[8:24]).hex()
    finally:
        argument[:] = bytes(len(argument))


def remove_key(directory: int, identifier: str) -> int:
    """Give up the claim on a key, and lock what it opens if nobody else has one: the flags FILES_BUSY and OTHER_USERS, or 0."""
    argument = bytearray(_REMOVE.pack(_specifier(identifier), 0))
    fcntl.ioctl(directory, REMOVE_KEY, argument)
    _, flags = _REMOVE.unpack(argument)
    return int(flags)


def key_status(directory: int, identifier: str) -> KeyStatus:
    """How it is with a key in the file system of `directory`."""
    argument = bytearray(_STATUS.pack(_specifier(identifier), 0, 0, 0))
    fcntl.ioctl(directory, KEY_STATUS, argument)
    _, state, flags, _ = _STATUS.unpack(argument)
    return KeyStatus(state, bool(flags & ADDED_BY_SELF))


def _specifier(identifier: str) -> bytes:
    return _SPECIFIER.pack(_BY_IDENTIFIER, 0, bytes.fromhex(identifier))
