"""The metadata of google/fscrypt: protectors (what a passphrase opens) and policies (what a directory is encrypted with).

Protocol Buffers, version 3; docs/formats.md has the tables. Fields that are not known here are kept as they are, so that what a
newer fscrypt or another tool has put there survives a change of password. Nothing authenticates the names, numbers and lists in
these files: only the wrapped keys are. A file has at most 16 KiB.
"""

from __future__ import annotations

from pam_pyhome.errors import FormatError
from pam_pyhome.formats.protobuf import Field, Message, build, bytes_field, integer_field, parse_message
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

PROTECTOR, POLICY = "fscrypt protector", "fscrypt policy"
MAX_SIZE = 16384

LOGIN, CUSTOM, RAW = 1, 2, 3  # sources of a protector's wrapping key: the login passphrase, one of its own, no passphrase at all
RECOVERY_NAME = "Recovery passphrase for "  # how the names of protectors begin that a recovery key opens; fscrypt has the same
XTS_AES_256, CTS_AES_256 = 1, 4  # the kernel's numbers of the modes
PADDINGS = (4, 8, 16, 32)

IV_SIZE, MAC_SIZE, SALT_SIZE = 16, 32, 16
PROTECTOR_KEY_SIZE, POLICY_KEY_SIZE = 32, 64
DESCRIPTOR_DIGITS, IDENTIFIER_DIGITS = 16, 32

_SLOTS = 3  # the field of a policy in which its protectors are
_INT64_MAX = (1 << 63) - 1
_LONGEST_PARALLELISM = 255


class Costs(Record):
    """What Argon2id is to spend: passes, KiB of memory, lanes."""

    time: int
    memory: int
    parallelism: int


class WrappedKey(Record):
    """A key under another: AES-256-CTR `ciphertext` with its `iv` (16 bytes), authenticated by `mac` (32 bytes)."""

    iv: bytes
    ciphertext: bytes
    mac: bytes


class Protector(Record):
    """A protector. `costs` is None and `salt` empty where no passphrase is stretched; `uid` counts for login protectors only."""

    descriptor: str
    source: int
    name: str
    costs: Costs | None
    salt: bytes
    uid: int
    wrapped: WrappedKey
    message: Message


class Policy(Record):
    """A policy of `version` 1 or 2: its `identifier` (32 hexadecimal digits, or 16), its key as each protector wraps it."""

    identifier: str
    version: int
    slots: tuple[tuple[str, WrappedKey], ...]
    message: Message

    def slot(self, descriptor: str) -> WrappedKey | None:
        """The key of the policy as the protector `descriptor` wraps it, or None."""
        return next((wrapped for name, wrapped in self.slots if name == descriptor), None)


def parse_protector(data: bytes, descriptor: str) -> Protector:
    """Read the protector that the file is named after. FormatError for anything that no protector of that name can be."""
    message = _parse(data, PROTECTOR)
    source = message.integer(2)
    if message.text(1) != descriptor or not is_hex(descriptor, DESCRIPTOR_DIGITS):
        raise FormatError(PROTECTOR, "its descriptor is not the one that its file is named after")
    if source not in (LOGIN, CUSTOM, RAW):
        raise FormatError(PROTECTOR, f"its source {source} is not known")
    wrapped = _parse_wrapped(message.message(7, PROTECTOR), PROTECTOR, PROTECTOR_KEY_SIZE)
    stretched = source != RAW
    salt = message.data(5) or b""
    if stretched and len(salt) != SALT_SIZE:
        raise FormatError(PROTECTOR, f"a salt of {len(salt)} bytes")
    uid = _signed(message.integer(6), PROTECTOR)
    costs = _parse_costs(message.message(4, PROTECTOR)) if stretched else None
    return Protector(descriptor, source, message.text(3), costs, salt, uid, wrapped, message)


def descriptor_of(data: bytes) -> str:
    """The descriptor that a protector has in it. FormatError."""
    return _parse(data, PROTECTOR).text(1)


def _parse(data: bytes, what: str) -> Message:
    if len(data) > MAX_SIZE:
        raise FormatError(what, f"{len(data)} bytes, more than {MAX_SIZE}")
    if not data:
        raise FormatError(what, "the file is empty")
    return parse_message(data, what)


def _signed(value: int, what: str) -> int:
    """An int64 that must not be negative."""
    if value > _INT64_MAX:
        raise FormatError(what, "a number is negative")
    return value


def _parse_costs(message: Message | None) -> Costs:
    """The costs; files that do not say that it was mended have a parallelism of which early versions took the last 8 bits."""
    if message is None:
        raise FormatError(PROTECTOR, "the costs are missing")
    time, memory, parallelism = (_signed(message.integer(number), PROTECTOR) for number in (2, 3, 4))
    if parallelism > _LONGEST_PARALLELISM and not message.integer(5):
        parallelism &= _LONGEST_PARALLELISM
    if time < 1 or not 1 <= parallelism <= _LONGEST_PARALLELISM or memory < 8 * parallelism:
        raise FormatError(PROTECTOR, f"costs that Argon2 does not take: {time}, {memory}, {parallelism}")
    return Costs(time, memory, parallelism)


def _parse_wrapped(message: Message | None, what: str, size: int) -> WrappedKey:
    if message is None:
        raise FormatError(what, "a wrapped key is missing")
    wrapped = WrappedKey(*(message.data(number) or b"" for number in (1, 2, 3)))
    if (len(wrapped.iv), len(wrapped.ciphertext), len(wrapped.mac)) != (IV_SIZE, size, MAC_SIZE):
        raise FormatError(what, "a wrapped key is not of the right size")
    return wrapped


def parse_policy(data: bytes, identifier: str) -> Policy:
    """Read the policy that the file is named after. FormatError for anything that no policy of that name can be."""
    message = _parse(data, POLICY)
    options = message.message(2, POLICY)
    if options is None:
        raise FormatError(POLICY, "the options are missing")
    version = options.integer(4) or 1
    digits = {1: DESCRIPTOR_DIGITS, 2: IDENTIFIER_DIGITS}.get(version)
    if digits is None or message.text(1) != identifier or not is_hex(identifier, digits):
        raise FormatError(POLICY, "its version or identifier is not the one that its file is named after")
    slots = [_parse_slot(slot) for slot in message.messages(_SLOTS, POLICY)]
    if not slots or len({name for name, _ in slots}) != len(slots):
        raise FormatError(POLICY, "no protector opens it, or one stands twice")
    return Policy(identifier, version, tuple(slots), message)


def _parse_slot(message: Message) -> tuple[str, WrappedKey]:
    descriptor = message.text(1)
    if not is_hex(descriptor, DESCRIPTOR_DIGITS):
        raise FormatError(POLICY, "a protector's descriptor is not one")
    return descriptor, _parse_wrapped(message.message(2, POLICY), POLICY, POLICY_KEY_SIZE)


def is_hex(text: str, digits: int) -> bool:
    """Whether `text` is so many lower-case hexadecimal digits."""
    return len(text) == digits and not text.strip("0123456789abcdef")


def _wrapped_message(wrapped: WrappedKey) -> bytes:
    fields = (bytes_field(1, wrapped.iv), bytes_field(2, wrapped.ciphertext), bytes_field(3, wrapped.mac))
    return build(PROTECTOR, *fields).emit()


def rewrapped(protector: Protector, salt: bytes, wrapped: WrappedKey, costs: Costs | None = None) -> bytes:
    """The protector's file with another passphrase's salt and wrapped key, and with other `costs` if there are any.

    All else stays as it is, unknown fields included.
    """
    message = protector.message if costs is None else protector.message.replaced(4, _costs_message(costs))
    return message.replaced(5, salt).replaced(7, _wrapped_message(wrapped)).emit()


def _costs_message(costs: Costs) -> bytes:
    """With the mark that the parallelism is as it says."""
    numbers = (costs.time, costs.memory, costs.parallelism, 1)
    return build(PROTECTOR, *(integer_field(field, number) for field, number in enumerate(numbers, 2))).emit()


def emit_protector(
    descriptor: str, source: int, name: str, costs: Costs, salt: bytes, uid: int, wrapped: WrappedKey
) -> bytes:
    """The file of a new protector. FormatError for what `parse_protector` would not read back."""
    data = build(
        PROTECTOR,
        bytes_field(1, descriptor.encode()),
        integer_field(2, source),
        bytes_field(3, name.encode()) if name else None,
        bytes_field(4, _costs_message(costs)),
        bytes_field(5, salt),
        integer_field(6, uid),
        bytes_field(7, _wrapped_message(wrapped)),
    ).emit()
    parse_protector(data, descriptor)
    return data


def as_custom(protector: Protector, name: str) -> bytes:
    """The file of a login protector as one of a custom passphrase, called `name`: what opened it still does."""
    changed = {2: integer_field(2, CUSTOM), 3: None, 6: None}
    fields = [changed.get(field.number, field) for field in protector.message.fields]
    named = (*(field for field in fields if field is not None), bytes_field(3, name.encode()))
    data = Message(PROTECTOR, named).emit()
    parse_protector(data, protector.descriptor)
    return data


def of_another(protector: Protector, *, uid: int, name: str) -> bytes:
    """The file of a protector as that of a user with another `uid`, and called `name`: what opened it still does."""
    changed = {3: bytes_field(3, name.encode()) if name else None, 6: integer_field(6, uid)}
    fields = [changed.pop(field.number, field) for field in protector.message.fields]
    data = Message(PROTECTOR, tuple(field for field in (*fields, *changed.values()) if field is not None)).emit()
    parse_protector(data, protector.descriptor)
    return data


def with_slots(policy: Policy, drop: Collection[str], add: Sequence[tuple[str, WrappedKey]]) -> bytes:
    """The policy's file with other slots, without those of the protectors in `drop`; all else stays as it is."""
    gone = {index for index, (name, _) in enumerate(policy.slots) if name in drop}
    fields, slot = [], -1
    for field in policy.message.fields:
        slot += field.number == _SLOTS
        if field.number != _SLOTS or slot not in gone:
            fields.append(field)
    data = Message(POLICY, (*fields, *(_slot_field(name, wrapped) for name, wrapped in add))).emit()
    parse_policy(data, policy.identifier)
    return data


def _slot_field(name: str, wrapped: WrappedKey) -> Field:
    message = build(POLICY, bytes_field(1, name.encode()), bytes_field(2, _wrapped_message(wrapped)))
    return bytes_field(_SLOTS, message.emit())


def emit_policy(
    identifier: str,
    slots: tuple[tuple[str, WrappedKey], ...],
    *,
    padding: int = 32,
    contents: int = XTS_AES_256,
    filenames: int = CTS_AES_256,
) -> bytes:
    """The file of a new policy of version 2. FormatError for what `parse_policy` would not read back."""
    numbers = (integer_field(1, padding), integer_field(2, contents), integer_field(3, filenames), integer_field(4, 2))
    wraps = [_slot_field(name, wrapped) for name, wrapped in slots]
    options = bytes_field(2, build(POLICY, *numbers).emit())
    data = build(POLICY, bytes_field(1, identifier.encode()), options, *wraps).emit()
    parse_policy(data, identifier)
    return data
