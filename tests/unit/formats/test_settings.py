"""Tokens of the configuration file and of the PAM line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.formats.settings import Settings, config_tokens, parse_tokens


def test_defaults() -> None:
    assert parse_tokens([]) == Settings()
    assert Settings() == Settings(
        authenticate=False,
        debug=False,
        skip_services=("cron", "crond", "atd", "sudo", "sudo-i", "systemd-user"),
        keyring="session",
        jobs="run",
        locked_command="fail",
        locked_wait=0,
        unknown=(),
    )


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([b"unwrap"], Settings()),
        ([b"authenticate", b"debug"], Settings(authenticate=True, debug=True)),
        ([b"keyring=user", b"keyring=none"], Settings(keyring="none")),
        ([b"jobs=refuse"], Settings(jobs="refuse")),
        ([b"repair=no", b"repair=ask", b"repair=perhaps"], Settings(repair="ask", unknown=("repair=perhaps",))),
        ([b"skip_services=a,b c,,d"], Settings(skip_services=("a", "b", "c", "d"))),
        ([b"skip_services="], Settings(skip_services=())),
        ([b"keyring=user", b"keyring=mine"], Settings(keyring="user", unknown=("keyring=mine",))),
        (
            [b"Debug", b"debug=yes", b"unwrap=1", b"jobs", b""],
            Settings(unknown=("Debug", "debug=yes", "unwrap=1", "jobs", "")),
        ),
        (
            [b"locked_command_users=backup:plain, ada:wait:9 bob:fail"],
            Settings(locked_command_users=(("backup", "plain", 0), ("ada", "wait", 9), ("bob", "fail", 0))),
        ),
        ([b"locked_command_users=ada:plain,bob"], Settings(unknown=("locked_command_users=ada:plain,bob",))),
        ([b"locked_command_users=:plain"], Settings(unknown=("locked_command_users=:plain",))),
        ([b"ask"], Settings(ask=True)),
        ([b"locked_command=plain"], Settings(locked_command="plain")),
        ([b"locked_command=wait:30"], Settings(locked_command="wait", locked_wait=30)),
        ([b"locked_command=wait:30", b"locked_command=fail"], Settings(locked_command="fail", locked_wait=30)),
        (
            [b"locked_command=wait:", b"locked_command=wait:-1", b"locked_command=wait:86401"],
            Settings(unknown=("locked_command=wait:", "locked_command=wait:-1", "locked_command=wait:86401")),
        ),
        ([b"x=\xff"], Settings(unknown=("x=\\xff",))),
    ],
)
def test_tokens(tokens: list[bytes], expected: Settings) -> None:
    assert parse_tokens(tokens) == expected


@given(
    st.lists(
        st.one_of(st.binary(max_size=20), st.sampled_from([b"debug", b"keyring=", b"jobs=run", b"skip_services=\xff"]))
    )
)
def test_no_token_is_an_error_and_none_is_lost(tokens: list[bytes]) -> None:
    settings = parse_tokens(tokens)
    assert len(settings.unknown) <= len(tokens)
    assert settings.locked_for("ada")[0] in {"fail", "plain", "wait"}
    assert settings.keyring in {"session", "user", "none"}
    assert settings.jobs in {"run", "refuse"}
    "".join(settings.unknown).encode()


def test_the_file_is_cut_into_tokens_as_the_shim_cuts_it() -> None:
    text = b"# a comment\n\n  debug\t\r\nskip_services = a, b=c \n #too\n=\nkeyring=\vuser\nlast = one"
    assert config_tokens(text) == [b"debug", b"skip_services=a, b=c", b"=", b"keyring=user", b"last=one"]
    assert config_tokens(b"debug\n\0") == []
