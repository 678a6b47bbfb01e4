"""The PAM handle as a module written in pam_python's style sees it. Every access is one verb on the wire to the shim.

Differences from pam_python: secrets and responses are bytes, because passwords need not be text; `set_data` and `get_data`
exist; `service`, `account` and `pid` are known without asking.
"""

from __future__ import annotations

from pam_pyhome.formats import wire
from pam_pyhome.kernel.log import log
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pam_pyhome.backends.base import Account
    from pam_pyhome.events import Event

    Exchange = Callable[[bytes], tuple[int, bytes]]


class Message(Record):
    """One message of a conversation: its style (`PAM_PROMPT_ECHO_OFF`, …) and text."""

    msg_style: int
    msg: str


class Response(Record):
    """The answer to one message; `resp` is None where there is none."""

    resp: bytes | None
    resp_retcode: int = 0

    def __repr__(self) -> str:
        """Never the answer."""
        return "Response(hidden)"


class Handle:
    """One PAM transaction, for the length of one phase."""

    # The numbers of <security/_pam_types.h>.
    PAM_SUCCESS = 0
    PAM_SYSTEM_ERR = 4
    PAM_PERM_DENIED = 6
    PAM_AUTH_ERR = 7
    PAM_AUTHINFO_UNAVAIL = 9
    PAM_USER_UNKNOWN = 10
    PAM_SESSION_ERR = 14
    PAM_CONV_ERR = 19
    PAM_AUTHTOK_ERR = 20
    PAM_AUTHTOK_RECOVERY_ERR = 21
    PAM_IGNORE = 25

    PAM_CHANGE_EXPIRED_AUTHTOK = 0x0020
    PAM_UPDATE_AUTHTOK = 0x2000
    PAM_PRELIM_CHECK = 0x4000
    PAM_SILENT = 0x8000

    PAM_PROMPT_ECHO_OFF = 1
    PAM_ERROR_MSG = 3

    def __init__(self, account: Account, service: str, pid: int, exchange: Exchange) -> None:
        """`exchange` sends a frame and returns the status and the rest of its answer; `pid` is the PAM process."""
        self.account = account
        self.service = service
        self.pid = pid
        self._exchange = exchange

    def _item(self, item: int) -> bytes | None:
        """A string item, or None if it is unset or cannot be had."""
        status, rest = self._exchange(wire.emit_get_item(item))
        return wire.parse_blob(rest) if status == self.PAM_SUCCESS else None

    @property
    def authtok(self) -> bytes | None:
        """The password that was typed at this login."""
        return self._item(wire.ITEM_AUTHTOK)

    @authtok.setter
    def authtok(self, value: bytes) -> None:
        """Offer a password to the modules that follow."""
        self._exchange(wire.emit_set_item(wire.ITEM_AUTHTOK, value))

    @property
    def oldauthtok(self) -> bytes | None:
        """The present password, during a change."""
        return self._item(wire.ITEM_OLDAUTHTOK)

    def get_user(self) -> str:
        """The name of the user."""
        return self.account.name

    def conversation(self, messages: Message | Sequence[Message]) -> tuple[Response, ...] | None:
        """Show messages and collect answers; None if the application holds no conversation."""
        batch = (messages,) if isinstance(messages, Message) else tuple(messages)
        status, rest = self._exchange(wire.emit_converse([(message.msg_style, message.msg) for message in batch]))
        if status != self.PAM_SUCCESS:
            return None
        return tuple(Response(answer) for answer in wire.parse_blobs(rest, len(batch)))

    def tell(self, text: str) -> None:
        """Show one sentence; as an error message, because applications print plain information to standard output."""
        self.conversation(Message(self.PAM_ERROR_MSG, text))

    def ask(self, prompt: str, *, explanation: str | None = None) -> bytes | None:
        """Ask for a secret; None if there was no answer.

        The explanation is part of the prompt: an application that answers without asking anybody, as sshd's password method
        does, then shows neither.
        """
        text = prompt if explanation is None else f"{explanation} {prompt}"
        answers = self.conversation(Message(self.PAM_PROMPT_ECHO_OFF, text))
        return (answers[-1].resp or None) if answers else None

    def fail_delay(self, microseconds: int) -> None:
        """Slow down a transaction that fails."""
        self._exchange(wire.emit_fail_delay(microseconds))

    def set_data(self, name: str, value: bytes | None) -> None:
        """Keep a secret in the PAM handle for later phases; None forgets it."""
        self._exchange(wire.emit_set_data(self._data_name(name), value))

    def get_data(self, name: str) -> bytes | None:
        """What an earlier phase kept, or None."""
        status, rest = self._exchange(wire.emit_get_data(self._data_name(name)))
        return wire.parse_blob(rest) if status == self.PAM_SUCCESS else None

    def _data_name(self, name: str) -> str:
        """With the user in it, because sudo changes the user inside one handle."""
        return f"pyhome.{name}.{self.account.name}"

    def add_session_key(self, description: str, payload: bytes, permissions: int) -> int | None:
        """Add a key to the session keyring of the login; its serial, or None if that was not possible."""
        status, rest = self._exchange(wire.emit_add_session_key(description, payload, permissions))
        return wire.parse_serial(rest) if status == self.PAM_SUCCESS else None

    def log(self, event: Event, why: str = "") -> None:
        """To the system's log, with the user and the service."""
        log(event, why, self.account, service=self.service)
