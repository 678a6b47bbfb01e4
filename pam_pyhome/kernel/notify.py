"""One message to a unix socket, without the socket module's import time."""

from __future__ import annotations

import ctypes
import os
import sys

from pam_pyhome.kernel.libc import check, proto

AF_UNIX = 1
SOCK_SEQPACKET = 5
SOCK_NONBLOCK = 0o4000
SOCK_CLOEXEC = 0o2000000
MSG_NOSIGNAL = 0x4000
_PATH_SIZE = 108


def unix_address(path: str) -> bytes:
    """The `struct sockaddr_un` of a path."""
    return AF_UNIX.to_bytes(2, sys.byteorder) + os.fsencode(path).ljust(_PATH_SIZE, b"\0")


def send_once(path: str, message: bytes) -> None:
    """Connect to the sequenced-packet socket at `path`, send `message`, close. OSError if nobody listens; never blocks."""
    integer, text, size = ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
    address = unix_address(path)
    fd = check(
        proto(None, "socket", integer, integer, integer, integer)(
            AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0
        ),
        "socket",
    )
    try:
        check(proto(None, "connect", integer, integer, text, ctypes.c_uint)(fd, address, len(address)), path)
        send = proto(None, "send", ctypes.c_ssize_t, integer, text, size, integer)
        check(send(fd, message, len(message), MSG_NOSIGNAL), path)
    finally:
        os.close(fd)
