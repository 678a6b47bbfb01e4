"""The small files of ``~/.ecryptfs`` and the mount options they lead to, as ecryptfs-utils reads and writes them."""

from __future__ import annotations

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.ecryptfs_key import SALT_SIZE, is_signature
from pam_pyhome.record import Record

AUTO_MOUNT = "auto-mount"
AUTO_UMOUNT = "auto-umount"
WRAPPED = "wrapped-passphrase"
RECOVERY = "recovery-wrapped-passphrase"  # ours: wrapped with a recovery key; ecryptfs-utils take no notice of it
WRAPPING_INDEPENDENT = "wrapping-independent"
MOUNTPOINT = "Private.mnt"
SIGNATURES = "Private.sig"
RC = ".ecryptfsrc"

SIGNATURES_MAX_SIZE = 34
PATH_MAX = 4096


_SHOWN = b"ecryptfs_sig="


class Signatures(Record):
    """What ``Private.sig`` names: the file key, and the filename key if names are encrypted; 16 hex digits each."""

    fekek: str
    fnek: str | None = None


class Cipher(Record):
    """With what the kernel encrypts: the name of a cipher, and how many bytes of the keys it takes."""

    name: str
    key_bytes: int


AES_128 = Cipher("aes", 16)  # what ecryptfs-utils mount homes with


def parse_signatures(data: bytes) -> Signatures:
    """Read ``Private.sig``: one or two lines, the last with or without its LF. Raises FormatError."""
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    # The setuid mount helper takes an empty second line for "no filename encryption", so files like that exist.
    if len(lines) == 2 and lines[1] == b"":
        lines.pop()
    if not 1 <= len(lines) <= 2:
        raise FormatError(SIGNATURES, f"{len(lines)} lines instead of one or two")
    if not all(is_signature(line) for line in lines):
        raise FormatError(SIGNATURES, "a line is not a signature of 16 lower-case hexadecimal digits")
    return Signatures(*(line.decode("ascii") for line in lines))


def parse_mountpoint(data: bytes) -> bytes:
    """Read ``Private.mnt``: one absolute path without ``..``; the LF may be missing. Raises FormatError.

    Repeated, trailing and ``.`` components are dropped, as the kernel does where it lists mounts.
    """
    path = data.removesuffix(b"\n")
    if not path.startswith(b"/") or len(path) >= PATH_MAX:
        raise FormatError(MOUNTPOINT, "not an absolute path of less than 4096 bytes")
    if b"\n" in path or b"\0" in path:
        raise FormatError(MOUNTPOINT, "more than one line, or a NUL")
    parts = [part for part in path.split(b"/") if part not in {b"", b"."}]
    if b".." in parts or not parts:
        raise FormatError(MOUNTPOINT, "the root directory, or a path with '..' in it")
    return b"/" + b"/".join(parts)


def parse_salt(rc_data: bytes) -> bytes | None:
    """The 8 bytes of ``salt=`` in ``~/.ecryptfsrc``, whose tokens end in comma or LF; None if it has none.

    As for ecryptfs-utils, the first value of 16 characters counts and any other length is no salt. Raises FormatError if
    those 16 are not hexadecimal digits.
    """
    for token in rc_data.replace(b"\n", b",").split(b","):
        name, _, value = token.partition(b"=")
        if name == b"salt" and len(value) == 2 * SALT_SIZE:
            return _salt_value(value)
    return None


def _salt_value(value: bytes) -> bytes:
    if value.strip(b"0123456789abcdefABCDEF"):
        raise FormatError(RC, "the salt is not 16 hexadecimal digits")
    return bytes.fromhex(value.decode("ascii"))


def mount_options(signatures: Signatures, ciphers: tuple[Cipher, Cipher] = (AES_128, AES_128), *, own: bool = True) -> str:
    """The options that mount.ecryptfs_private gives to the kernel: AES-128, and if `own`, the user's lower directory only.

    `ciphers`: those of contents and of names.
    """
    contents, names = ciphers
    options = "ecryptfs_check_dev_ruid," if own else ""
    options += f"ecryptfs_cipher={contents.name},ecryptfs_key_bytes={contents.key_bytes},ecryptfs_unlink_sigs"
    options += f",ecryptfs_sig={signatures.fekek}"
    if signatures.fnek is None:
        return options
    if names != contents:
        options += f",ecryptfs_fn_cipher={names.name},ecryptfs_fn_key_bytes={names.key_bytes}"
    return f"{options},ecryptfs_fnek_sig={signatures.fnek}"


def signature_of(super_options: bytes) -> str:
    """The signature of the key of a mount, as the kernel shows it among the options of the file system; "" if it does not."""
    found = [option for option in super_options.split(b",") if option.startswith(_SHOWN)]
    return found[0][len(_SHOWN) :].decode("ascii", "replace") if found else ""
