"""The scripts, units and pages that go into the packages as they are."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from pathlib import Path

import pytest

from pam_pyhome.formats.settings import Settings, parse_tokens
from pam_pyhome.policy import messages
from tests.packaging.conftest import REPOSITORY

PROFILE = (REPOSITORY / "packaging/debian/pam-configs/pyhome").read_text()
INSTALL_SCRIPT = REPOSITORY / "packaging/arch/pyhome.install"
PAGES = sorted((REPOSITORY / "docs/man").iterdir())

#: Settings of systemd.exec(5) that give a service a mount namespace of its own, by their beginnings.
OWN_NAMESPACE = (
    "Bind", "ConfigurationDirectory", "Dynamic", "ExecPaths", "Extension", "Inaccessible", "LoadCredential", "Mount", "NoExec",
    "Private", "Proc", "Protect", "ReadOnly", "ReadWrite", "RootDirectory", "RootImage", "Temporary",
)  # fmt: skip


#: These are system calls that are refused, and name spaces of other kinds.
NO_NAMESPACE = {"ProtectClock", "ProtectHostname", "PrivateNetwork", "PrivateMounts"}

#: Fields that are no lines of the file: one setting for the PAM line of sshd only, and what comes with the value of another.
NO_LINES = {"ssh_unlock", "locked_wait", "unknown"}


def profile_lines() -> dict[str, str]:
    """Kind (auth, …) to what stands in the profile for it, with single spaces."""
    return {
        kind.lower(): " ".join(line.split())
        for kind, line in re.findall(r"^(Auth|Account|Session|Password)-Final:\n\t(.*)$", PROFILE, re.MULTILINE)
    }


def test_service_stays_in_the_mount_namespace_of_the_system() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep the case of names
    unit.read(REPOSITORY / "packaging/files/pyhomed.service")
    assert not [name for name in unit["Service"] if name.startswith(OWN_NAMESPACE) and name not in NO_NAMESPACE]
    assert unit["Service"]["PrivateMounts"] == "no", "which systemd since 254 needs beside PrivateNetwork="


@pytest.mark.parametrize("name", ["pyhome", "pyhome-sync", "pyhome-worker", "pyhomed"])
def test_entry_scripts_trust_nothing_around_them(name: str) -> None:
    first, *code = (REPOSITORY / "packaging/files" / name).read_text().splitlines()
    assert first.startswith("#!/usr/bin/python3 -I")
    before = code[: code.index('sys.path[:0] = ["/usr/lib/pyhome"]')]
    assert {line.partition(" #")[0].rstrip() for line in before if line} <= {"import gc", "import sys", "gc.disable()"}


def test_configuration_file_shows_every_setting_at_its_default() -> None:
    lines = (REPOSITORY / "packaging/files/pyhome.conf").read_text().splitlines()
    shown = [line[1:] for line in lines if re.match(r"#[a-z_]+( =( |$)|$)", line)]
    assert not [line for line in lines if line and not line.startswith("#")]
    tokens = [re.sub(r"\s*=\s*", "=", line, count=1).encode() for line in shown]
    assert {token.partition(b"=")[0].decode() for token in tokens} == set(Settings._fields) - NO_LINES
    assert parse_tokens(token for token in tokens if b"=" in token) == Settings()


@pytest.mark.parametrize("page", [INSTALL_SCRIPT, REPOSITORY / "docs/man/pam_pyhome.8"], ids=lambda path: path.name)
def test_lines_to_paste_are_those_of_the_profile(page: Path) -> None:
    text = " ".join(page.read_text().split())
    for kind, line in profile_lines().items():
        assert f"{kind} {line}" in text


def shell(function: str, pam: Path) -> str:
    """What a function of the Arch package's script prints, when `pam` stands for /etc/pam.d."""
    script = INSTALL_SCRIPT.read_text().replace("/etc/pam.d/*", f"{pam}/*")
    argv = ["bash", "-euc", f"{script}\n{function}"]
    return subprocess.run(argv, check=True, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}).stdout


def test_arch_package_prints_lines_and_never_edits(tmp_path: Path) -> None:
    (tmp_path / "system-auth").write_text("auth required pam_unix.so\nauth optional pam_pyhome.so unwrap\n")
    (tmp_path / "other").write_text("auth required pam_deny.so\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert "system-auth" in shell("post_install", tmp_path)
    removed = shell("post_remove", tmp_path)
    assert "system-auth:2:auth optional pam_pyhome.so unwrap" in removed
    assert "pam_deny" not in removed
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_manual_page_renders_without_warnings(page: Path) -> None:
    environment = os.environ | {"LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"}
    argv = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)]
    done = subprocess.run(
        argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert done.stderr == ""


def test_every_message_has_its_place_in_troubleshooting() -> None:
    text = (REPOSITORY / "docs/troubleshooting.md").read_text()
    headings = {line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")}
    functions = [value for value in vars(messages).values() if getattr(value, "__module__", "") == messages.__name__]
    names = {function: function.__code__.co_varnames[: function.__code__.co_argcount] for function in functions}
    sentences = {function(*map(str.upper, given)) for function, given in names.items()}
    assert len(sentences) > 5
    assert sentences <= headings
