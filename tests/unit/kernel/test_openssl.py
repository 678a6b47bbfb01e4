"""The cipher and the derivation against the `openssl` program and the recorded answers of ecryptfs-utils."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from pam_pyhome.formats.ecryptfs_key import SALT_FNEK, derive_key
from pam_pyhome.kernel.cipher import aes128_ecb_decrypt, aes128_ecb_encrypt
from pam_pyhome.kernel.digest import stretch, stretch_both
from tests.unit.known import name, raw, version2


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_aes_as_openssl_does_it(blocks: int) -> None:
    key, plain = os.urandom(16), os.urandom(16 * blocks)
    command = ["openssl", "enc", "-aes-128-ecb", "-nopad", "-K", key.hex()]
    theirs = subprocess.run(command, input=plain, capture_output=True, check=True).stdout
    assert aes128_ecb_encrypt(key, plain) == theirs
    assert aes128_ecb_decrypt(key, theirs) == plain


@pytest.mark.parametrize("vector", version2(), ids=name)
def test_the_fast_derivation_gives_the_recorded_signatures(vector: dict[str, Any]) -> None:
    passphrase = raw(vector, "mount_passphrase")
    salt = bytes.fromhex(vector["fekek"]["salt_hex"])
    first, second = stretch_both(salt + passphrase, SALT_FNEK + passphrase)
    assert first == bytes.fromhex(vector["fekek"]["key_hex"])
    assert second == stretch(SALT_FNEK + passphrase)
    assert derive_key(passphrase, SALT_FNEK, lambda _: second).signature == vector["sig_fnek"]
