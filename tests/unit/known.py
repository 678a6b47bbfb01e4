"""The known answers of ``tests/vectors``, typed."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent.parent / "vectors"


@functools.cache
def ecryptfs() -> dict[str, Any]:
    """Everything that the eCryptfs binaries did."""
    loaded: dict[str, Any] = json.loads((VECTORS / "ecryptfs.json").read_text())
    return loaded


def version2() -> list[dict[str, Any]]:
    """Wrapped files of version 2 with their keys."""
    return list(ecryptfs()["vectors"])


def version1() -> list[dict[str, Any]]:
    """Wrapped files of version 1."""
    return list(ecryptfs()["v1_vectors"])


def rejects() -> list[dict[str, Any]]:
    """What the binaries refused."""
    return list(ecryptfs()["rejects"])


def name(vector: dict[str, Any]) -> str:
    """What to call a vector in a report."""
    return str(vector.get("id") or vector["name"])


def raw(vector: dict[str, Any], field: str) -> bytes:
    """The bytes of a ``*_hex`` field."""
    return bytes.fromhex(vector[f"{field}_hex"])
