"""Runs inside a test machine: a process whose memory map is locked for ever. Prints its number, and whom to kill to end it.

A page is being written to a file system whose server never answers a WRITE; one thread writes to that page again and waits, with
the map locked for reading; a second one waits to change the map. Whoever wants to read the map from now on waits behind that one.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
import threading
import time

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, INIT, BATCH_FORGET = 1, 2, 3, 4, 14, 15, 16, 26, 42
HEADER = struct.Struct("=IIQQ16x")
SYNC_FILE_RANGE_WRITE = 2
PAGE = 4096


def attributes(inode: int) -> bytes:
    mode = 0o40755 if inode == 1 else 0o100644
    return struct.pack("=QQ44xIIIIIII", inode, PAGE, mode, 1, 0, 0, 0, PAGE, 0)


def answer(opcode: int, inode: int, body: bytes) -> bytes:
    if opcode == INIT:
        return struct.pack("=IIIIHHI40x", 7, min(31, struct.unpack_from("=II", body)[1]), PAGE, 0, 12, 9, PAGE)
    if opcode == LOOKUP:
        return struct.pack("=QQQQII", 2, 0, 1000, 1000, 0, 0) + attributes(2)
    if opcode in (GETATTR, SETATTR):
        return struct.pack("=QII", 1000, 0, 0) + attributes(inode)
    if opcode == OPEN:
        return struct.pack("=QII", 1, 0, 0)
    return bytes(PAGE) if opcode == READ else b""


def serve(device: int) -> None:
    while True:
        request = os.read(device, 1 << 20)
        _, opcode, unique, inode = HEADER.unpack_from(request)
        if opcode not in (FORGET, WRITE, BATCH_FORGET):
            said = answer(opcode, inode, request[HEADER.size :])
            os.write(device, struct.pack("=IiQ", 16 + len(said), 0, unique) + said)


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    place = sys.argv[1]
    options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % device
    assert libc.mount(b"hang", place.encode(), b"fuse", 0, options) == 0, os.strerror(ctypes.get_errno())
    server = os.fork()
    if server == 0:
        serve(device)
    os.close(device)
    fd = os.open(f"{place}/file", os.O_RDWR)
    page = mmap.mmap(fd, PAGE)
    page[0] = 1
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    libc.sync_file_range(fd, ctypes.c_long(0), ctypes.c_long(PAGE), SYNC_FILE_RANGE_WRITE)
    time.sleep(0.3)
    print(os.getpid(), server, flush=True)
    # From here on nothing in this process may need memory.
    threading.Thread(target=lambda: ctypes.memset(address, 2, 1)).start()
    threading.Timer(0.3, libc.mprotect, (ctypes.c_void_p(address), PAGE, mmap.PROT_READ)).start()
    time.sleep(600)


if __name__ == "__main__":
    main()
