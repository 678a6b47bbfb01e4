"""A login by password, as sshd or login would ask libpam for it; and libcrypt, which makes what /etc/shadow keeps."""

from __future__ import annotations

import ctypes
import os

from pam_pyhome.errors import StorageError
from pam_pyhome.kernel.libc import proto
from pam_pyhome.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SUCCESS = 0
_LIBRARY = "libpam.so.0"
_CRYPT = ("libcrypt.so.1", "libcrypt.so.2")
_TTY, _FAIL_DELAY = 3, 10
_ECHO_OFF, _ECHO_ON = 1, 2
_ESTABLISH, _DELETE, _SILENT = 0x2, 0x4, 0x8000
_BUFFER_ERROR = 5


class Login(Record):
    """The codes of libpam, None for a step that was not taken because one before it failed."""

    auth: int
    account: int | None = None
    credentials: int | None = None
    session: int | None = None


class _Message(ctypes.Structure):
    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class _Response(ctypes.Structure):
    _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))


def crypt(password: bytes, salt: bytes) -> bytes:
    """The hash of a password with SHA-512, `salt` being letters and digits. StorageError if there is no libcrypt."""
    for name in _CRYPT:
        try:
            function = proto(name, "crypt", ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p)
        except OSError:
            continue
        found = function(password, b"$6$" + salt + b"$")
        if isinstance(found, bytes) and found.startswith(b"$6$"):
            return found
    raise StorageError("libcrypt", "is not there, or has no SHA-512")


def log_in(service: str, user: str, password: bytes, during: Callable[[], None]) -> Login:
    """Authenticate, open a session, call `during`, close the session. Every prompt is answered with the password."""
    pam = _Pam(password)
    handle = pam.start(service, user)
    try:
        auth = pam.call("pam_authenticate", handle, _SILENT)
        if auth != SUCCESS:
            return Login(auth)
        account = pam.call("pam_acct_mgmt", handle, _SILENT)
        if account != SUCCESS:
            return Login(auth, account)
        credentials = pam.call("pam_setcred", handle, _ESTABLISH)
        session = pam.call("pam_open_session", handle, 0)
        if session == SUCCESS:
            during()
            pam.call("pam_close_session", handle, 0)
        pam.call("pam_setcred", handle, _DELETE)
        return Login(auth, account, credentials, session)
    finally:
        pam.call("pam_end", handle, 0)


def authenticate(service: str, user: str, password: bytes) -> int:
    """The code of pam_authenticate alone. Every prompt is answered with the password. StorageError if libpam refuses."""
    pam = _Pam(password)
    handle = pam.start(service, user)
    try:
        return pam.call("pam_authenticate", handle, _SILENT)
    finally:
        pam.call("pam_end", handle, 0)


class _Pam:
    """The library, and the callbacks, which have to stay alive as long as a handle."""

    def __init__(self, password: bytes) -> None:
        self._password = password
        pointer, integer = ctypes.c_void_p, ctypes.c_int
        messages = ctypes.POINTER(ctypes.POINTER(_Message))
        talk = ctypes.CFUNCTYPE(integer, integer, messages, ctypes.POINTER(pointer), pointer)
        delay = ctypes.CFUNCTYPE(None, integer, ctypes.c_uint, pointer)
        self._talk = talk(self._answer)
        # A wrong password is not to take any longer than a right one.
        self._delay = delay(lambda _code, _microseconds, _data: None)
        self._pair = (pointer * 2)(ctypes.cast(self._talk, pointer), None)
        self._allocate = proto(None, "calloc", pointer, ctypes.c_size_t, ctypes.c_size_t)
        self._copy = proto(None, "strdup", pointer, ctypes.c_char_p)

    def start(self, service: str, user: str) -> ctypes.c_void_p:
        """A handle. StorageError if libpam refuses."""
        handle, pointer, text = ctypes.c_void_p(), ctypes.c_void_p, ctypes.c_char_p
        function = proto(_LIBRARY, "pam_start", ctypes.c_int, text, text, pointer, pointer)
        code = function(service.encode(), os.fsencode(user), self._pair, ctypes.byref(handle))
        if code != SUCCESS:
            raise StorageError(f"PAM service {service}", f"cannot be started (code {code})")
        item = proto(_LIBRARY, "pam_set_item", ctypes.c_int, pointer, ctypes.c_int, pointer)
        item(handle, _FAIL_DELAY, ctypes.cast(self._delay, pointer))
        item(handle, _TTY, ctypes.cast(ctypes.c_char_p(b"pyhome"), pointer))
        return handle

    def call(self, name: str, handle: ctypes.c_void_p, flags: int) -> int:
        """One of the functions of a handle and flags."""
        return int(proto(_LIBRARY, name, ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(handle, flags))

    def _answer(self, count: int, messages: Any, responses: Any, _data: object) -> int:
        """The conversation."""
        array = self._allocate(count, ctypes.sizeof(_Response))
        if not array:
            return _BUFFER_ERROR
        answers = ctypes.cast(array, ctypes.POINTER(_Response))
        for at in range(count):
            if messages[at].contents.style in (_ECHO_OFF, _ECHO_ON):
                answers[at].text = self._copy(self._password)
        responses[0] = array
        return SUCCESS
