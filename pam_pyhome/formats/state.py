"""The files below ``/run/pyhome/<uid>``: leases and the record of an open home.

Lines of ``name=value``, each ended by LF. In values, control bytes, the backslash and everything beyond ASCII are
written as a backslash and three octal digits.
"""

from __future__ import annotations

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.escape import is_plain, to_octal, undo_octal
from pam_pyhome.record import Record

LEASE = "lease"
OPEN = "open record"
_LEASE_NAMES = ("pid", "start", "service", "tty", "rhost")
_OPEN_NAMES = ("backend", "mountpoint", "dev", "source", "user")
_OPEN_ONCE_AT_MOST = ("state", "inode", "signature")
_OPEN_LISTS = ("key", "mountkey", "claim", "left", *_OPEN_ONCE_AT_MOST)
_OPENING = b"opening"
NO_DEVICE = "0:0"
_LEASE_LISTS: tuple[str, ...] = ()
_DIGITS_MAX = 20
_IDENTIFIER_DIGITS = 32


class LeaseInfo(Record):
    """Who holds a lease, for people to read; `start` is in clock ticks after boot, field 22 of ``/proc/PID/stat``."""

    pid: int
    start: int
    service: str
    tty: str
    rhost: str


class Claim(Record):
    """The claim of `uid` on the key `identifier` (32 hexadecimal digits) of the file system `device`, seen at `mountpoint`.

    Records of 0.1.0 have no `device`.
    """

    uid: int
    identifier: str
    mountpoint: bytes
    device: str = ""


class OpenRecord(Record):
    """A home that is open, or is `opening`: whose, where, and what proves it, so that it is found wherever its path leads.

    `device` (``major:minor``) is that of its own mount, or with fscrypt of the file system that it is on; `inode` is the
    directory's, 0 if that is not known. `keys` are the serials of keys that sessions have; the home is locked without them as well.

    An eCryptfs home has a mount of its own: the kernel shows the `signature` of its key, and `mount_keys` are the serials of
    the keys that it uses. `left` are devices of earlier mounts of which some mount name space still had a copy.
    `claims` are what an fscrypt home has in its place, the home directory's first.
    """

    user: str
    backend: str
    mountpoint: bytes
    source: bytes
    device: str
    keys: tuple[int, ...]
    claims: tuple[Claim, ...] = ()
    inode: int = 0
    opening: bool = False
    signature: str = ""
    mount_keys: tuple[int, ...] = ()
    left: tuple[str, ...] = ()


def emit_lease(lease: LeaseInfo) -> bytes:
    """Write a lease. Raises FormatError for numbers below 0 and text that does not encode."""
    fields = [("pid", _digits(lease.pid, LEASE)), ("start", _digits(lease.start, LEASE))]
    texts = (("service", lease.service), ("tty", lease.tty), ("rhost", lease.rhost))
    return _emit(fields + [(name, _encode(text, LEASE)) for name, text in texts])


def parse_lease(data: bytes) -> LeaseInfo:
    """Read a lease. Raises FormatError for missing, repeated and unknown names and for values of another form."""
    fields = _parse(data, LEASE, _LEASE_NAMES, _LEASE_LISTS)
    pid, start = (_number(fields[name][0], LEASE) for name in ("pid", "start"))
    service, tty, rhost = (_decode(fields[name][0]) for name in ("service", "tty", "rhost"))
    return LeaseInfo(pid, start, service, tty, rhost)


def emit_open(record: OpenRecord) -> bytes:
    """Write the record of an open home. Raises FormatError for what `parse_open` would not read back."""
    fields = [
        ("backend", _encode(record.backend, OPEN)),
        ("mountpoint", record.mountpoint),
        ("dev", _emit_device(record.device)),
        ("source", record.source),
        ("user", _encode(record.user, OPEN)),
    ]
    if record.opening:
        fields.append(("state", _OPENING))
    if record.inode:
        fields.append(("inode", _digits(record.inode, OPEN)))
    if record.signature:
        fields.append(("signature", _encode(record.signature, OPEN)))
    fields += [("key", _digits(serial, OPEN)) for serial in record.keys]
    fields += [("mountkey", _digits(serial, OPEN)) for serial in record.mount_keys]
    fields += [("left", _emit_device(device)) for device in record.left]
    return _emit(fields + [("claim", _emit_claim(claim)) for claim in record.claims])


def _emit_device(device: str) -> bytes:
    value = device.encode("ascii", "replace")
    _parse_device(value)
    return value


def _parse_device(value: bytes) -> str:
    major, _, minor = value.partition(b":")
    _number(major, OPEN)
    _number(minor, OPEN)
    return value.decode("ascii")


def _emit_claim(claim: Claim) -> bytes:
    words = [_digits(claim.uid, OPEN), claim.identifier.encode("ascii", "replace")]
    if claim.device:
        words.append(_emit_device(claim.device))
    value = b" ".join((*words, claim.mountpoint))
    _parse_claim(value)
    return value


def _parse_claim(value: bytes) -> Claim:
    uid, _, rest = value.partition(b" ")
    identifier, _, place = rest.partition(b" ")
    device = b""
    if not place.startswith(b"/"):
        device, _, place = place.partition(b" ")
    if len(identifier) != _IDENTIFIER_DIGITS or identifier.strip(b"0123456789abcdef") or not place.startswith(b"/"):
        raise FormatError(OPEN, "a claim is not one")
    return Claim(_number(uid, OPEN), identifier.decode("ascii"), place, _parse_device(device) if device else "")


def parse_open(data: bytes) -> OpenRecord:
    """Read the record of an open home, also one of 0.1.0. Raises FormatError."""
    fields = _parse(data, OPEN, _OPEN_NAMES, _OPEN_LISTS)
    if any(len(fields[name]) > 1 for name in _OPEN_ONCE_AT_MOST):
        raise FormatError(OPEN, "a name stands twice")
    if fields["state"] not in ([], [_OPENING]):
        raise FormatError(OPEN, "an unknown state")
    return OpenRecord(
        user=_decode(fields["user"][0]),
        backend=_decode(fields["backend"][0]),
        mountpoint=fields["mountpoint"][0],
        source=fields["source"][0],
        device=_parse_device(fields["dev"][0]),
        keys=tuple(_number(serial, OPEN) for serial in fields["key"]),
        claims=tuple(map(_parse_claim, fields["claim"])),
        inode=_number(fields["inode"][0], OPEN) if fields["inode"] else 0,
        opening=bool(fields["state"]),
        signature=_decode(fields["signature"][0]) if fields["signature"] else "",
        mount_keys=tuple(_number(serial, OPEN) for serial in fields["mountkey"]),
        left=tuple(map(_parse_device, fields["left"])),
    )


def _emit(fields: list[tuple[str, bytes]]) -> bytes:
    return b"".join(name.encode("ascii") + b"=" + to_octal(value) + b"\n" for name, value in fields)


def _parse(data: bytes, what: str, once: tuple[str, ...], many: tuple[str, ...]) -> dict[str, list[bytes]]:
    """All values by name: those in `once` stand exactly once, those in `many` as often as they like."""
    if not data.endswith(b"\n"):
        raise FormatError(what, "the last line is not complete")
    fields: dict[str, list[bytes]] = {name: [] for name in (*once, *many)}
    for line in data.split(b"\n")[:-1]:
        name, _, value = line.partition(b"=")
        values = fields.get(name.decode("ascii", "replace"))
        if values is None or not all(is_plain(byte) or byte == ord("\\") for byte in value):
            raise FormatError(what, "a line is not name=value with a known name")
        values.append(undo_octal(value, what))
    if any(len(fields[name]) != 1 for name in once):
        raise FormatError(what, "a name is missing or stands twice")
    return fields


def _digits(number: int, what: str) -> bytes:
    if number < 0 or len(str(number)) > _DIGITS_MAX:
        raise FormatError(what, f"{number} is out of range")
    return str(number).encode("ascii")


def _number(value: bytes, what: str) -> int:
    if not value.isdigit() or len(value) > _DIGITS_MAX or (value[:1] == b"0" and value != b"0"):
        raise FormatError(what, "a number is not one")
    return int(value)


def _encode(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise FormatError(what, "text that cannot be encoded") from None


def _decode(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
