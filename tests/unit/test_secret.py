"""Secrets: never shown, wiped, not copied."""

from __future__ import annotations

import copy
import pickle

import pytest

from pam_pyhome.secret import Secret


def test_nothing_is_shown() -> None:
    secret = Secret(b"hunter2")
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r}"):
        assert "hunter2" not in shown
    assert secret.reveal() == b"hunter2"


def test_wiping_forgets_and_may_be_done_twice() -> None:
    with Secret(b"hunter2") as secret:
        assert len(secret) == 7
    assert (len(secret), secret.reveal()) == (0, b"")
    secret.wipe()


@pytest.mark.guarantee(8)
def test_the_buffer_is_overwritten_before_it_is_given_back() -> None:
    secret = Secret(b"hunter2")
    with memoryview(secret._buffer) as view:
        with pytest.raises(BufferError):
            secret.wipe()  # the view keeps the buffer from shrinking, so that it can be looked at
        assert bytes(view) == bytes(7)


def test_comparison_is_by_content_with_secrets_only() -> None:
    assert Secret(b"a") == Secret(b"a")
    assert Secret(b"a") != Secret(b"b")
    assert Secret(b"a") != Secret(b"aa")
    assert Secret(b"a") != b"a"


def test_a_secret_is_not_pickled_copied_or_hashed() -> None:
    secret = Secret(b"a")
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy, hash):
        with pytest.raises(TypeError):
            attempt(secret)
