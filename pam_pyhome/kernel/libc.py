"""Prototypes of the C functions that Python does not offer, and the way their errors become OSError."""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_libraries: dict[str, ctypes.CDLL] = {}


def library(name: str | None) -> ctypes.CDLL:
    """The shared library `name` (None: the C library), loaded at first use. OSError if there is none."""
    key = name or ""
    if key not in _libraries:
        _libraries[key] = ctypes.CDLL(name, use_errno=True)
    return _libraries[key]


def proto(name: str | None, function: str, restype: Any, *argtypes: Any) -> Callable[..., Any]:
    """`function` of library `name` with its result and argument types declared."""
    found = library(name)[function]
    found.restype = restype
    found.argtypes = argtypes
    return found


def check(result: int, what: str) -> int:
    """`result` of a call that answers -1 on failure; OSError with errno and `what` then."""
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result
