"""What is in the packages, that they agree, and that building them again gives the same bytes."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.packaging.conftest import build

#: Everything but the Python tree, path to mode; MODULES stands for the directory of PAM modules, ZSH for that of completions.
EXPECTED = {
    "etc/pyhome.conf": 0o644,
    "MODULES/pam_pyhome.so": 0o644,
    "usr/bin/pyhome": 0o755,
    "usr/lib/pyhome/pyhome-shell": 0o755,
    "usr/lib/pyhome/pyhome-sync": 0o755,
    "usr/lib/pyhome/pyhome-worker": 0o755,
    "usr/lib/pyhome/pyhomed": 0o755,
    "usr/lib/systemd/system/pyhome-sync.path": 0o644,
    "usr/lib/systemd/system/pyhome-sync.timer": 0o644,
    "usr/lib/systemd/system/pyhome-sync.service": 0o644,
    "usr/lib/systemd/system/pyhomed-unlock.socket": 0o644,
    "usr/lib/systemd/system/pyhomed.service": 0o644,
    "usr/lib/systemd/system/pyhomed.socket": 0o644,
    "usr/lib/systemd/catalog/pyhome.catalog": 0o644,
    "usr/lib/tmpfiles.d/pyhome.conf": 0o644,
    "usr/share/bash-completion/completions/pyhome": 0o644,
    "usr/share/doc/pyhome/README.md": 0o644,
    "usr/share/doc/pyhome/design.md": 0o644,
    "usr/share/doc/pyhome/formats.md": 0o644,
    "usr/share/doc/pyhome/journal.md": 0o644,
    "usr/share/doc/pyhome/json.md": 0o644,
    "usr/share/doc/pyhome/threat-model.md": 0o644,
    "usr/share/doc/pyhome/troubleshooting.md": 0o644,
    "usr/share/fish/vendor_completions.d/pyhome.fish": 0o644,
    "usr/share/man/man1/pyhome.1": 0o644,
    "usr/share/man/man5/pyhome.conf.5": 0o644,
    "usr/share/man/man8/pam_pyhome.8": 0o644,
    "usr/share/man/man8/pyhome-shell.8": 0o644,
    "usr/share/man/man8/pyhomed.8": 0o644,
    "usr/share/zsh/ZSH/_pyhome": 0o644,
}
DEBIAN_ONLY = {
    "usr/share/doc/pyhome/changelog",
    "usr/share/doc/pyhome/changelog.Debian",
    "usr/share/doc/pyhome/copyright",
    "usr/share/pam-configs/pyhome",
    "usr/share/python3/runtime.d/pyhome.rtupdate",
}
ARCH_ONLY = {"usr/share/libalpm/hooks/pyhome.hook", "usr/share/licenses/pyhome/LICENSE"}
TREE = "usr/lib/pyhome/pam_pyhome/"

Contents = dict[str, tuple[int, bytes]]


def contents(archive: Path) -> Contents:
    """Mode and bytes of every file of a tar archive, under names that both packages share: uncompressed, units in /usr."""
    found: Contents = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            assert (member.uid, member.gid) == (0, 0), member.name
            assert member.mode & 0o7022 == 0, member.name
            name = re.sub(r"^lib/systemd/", "usr/lib/systemd/", member.name.removeprefix("./"))
            name = re.sub(r"^usr/lib/(.*-linux-gnu/)?security/", "MODULES/", name)
            name = re.sub(r"^usr/share/zsh/(vendor-completions|site-functions)/", "usr/share/zsh/ZSH/", name)
            if member.isdir() or name.startswith("."):
                continue
            file = tar.extractfile(member)
            assert file is not None, f"{name} is not a regular file"
            data = file.read()
            found[name.removesuffix(".gz")] = (member.mode, gzip.decompress(data) if name.endswith(".gz") else data)
    return found


@pytest.fixture(scope="session")
def in_deb(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """The files of the Debian package."""
    archive = tmp_path_factory.mktemp("contents") / "deb.tar"
    archive.write_bytes(subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True).stdout)
    return contents(archive)


@pytest.fixture(scope="session")
def in_arch(arch: Path, tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """The files of the Arch package."""
    archive = tmp_path_factory.mktemp("contents") / "arch.tar"
    archive.write_bytes(subprocess.run(["zstd", "-dc", arch], check=True, capture_output=True).stdout)
    return contents(archive)


def test_deb_holds_what_the_design_lists(in_deb: Contents) -> None:
    fixed = {name: mode for name, (mode, _) in in_deb.items() if not name.startswith(TREE)}
    assert {name: mode for name, mode in fixed.items() if name not in DEBIAN_ONLY} == EXPECTED
    assert in_deb.keys() >= DEBIAN_ONLY


def test_programs_and_people_can_read_the_documents(deb: Path) -> None:
    """As they are: a contract for programs is looked up with grep."""
    names = subprocess.run(["dpkg-deb", "-c", deb], check=True, capture_output=True, text=True).stdout
    assert names.count("/usr/share/doc/pyhome/json.md\n") == 1
    assert ".md.gz" not in names


def test_tree_is_every_module_and_nothing_else(in_deb: Contents, tree: Path) -> None:
    sources = {path.relative_to(tree / "pam_pyhome") for path in (tree / "pam_pyhome").rglob("*.py")}
    linked = {path.relative_to(tree) for name in ("sshd", "shell_stub") for path in (tree / name).rglob("*.py")}
    shipped = {Path(name.removeprefix(TREE)): mode for name, (mode, _) in in_deb.items() if name.startswith(TREE)}
    assert shipped == dict.fromkeys(sources | linked, 0o644)


def test_both_packages_hold_the_same(in_deb: Contents, in_arch: Contents) -> None:
    built = "MODULES/pam_pyhome.so"  # the same source, but each distribution has its own compiler flags
    common = in_deb.keys() - DEBIAN_ONLY
    assert in_arch.keys() - ARCH_ONLY == common
    assert {name: in_arch[name] for name in common - {built}} == {name: in_deb[name] for name in common - {built}}
    assert in_arch[built][0] == in_deb[built][0]
    assert in_arch.keys() >= ARCH_ONLY


@pytest.mark.parametrize("kind", ["deb", "arch"])
def test_module_is_hardened_and_needs_only_libc_and_libpam(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    module = tmp_path / "pam_pyhome.so"
    module.write_bytes(request.getfixturevalue(f"in_{kind}")["MODULES/pam_pyhome.so"][1])
    dynamic = subprocess.run(["readelf", "-dlW", module], check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r"Shared library: \[(.*?)\]", dynamic)) == {"libc.so.6", "libpam.so.0"}
    assert "BIND_NOW" in dynamic
    assert "GNU_RELRO" in dynamic
    assert re.search(r"GNU_STACK .* RW ", dynamic)
    symbols = subprocess.run(["readelf", "--dyn-syms", "-W", module], check=True, capture_output=True, text=True).stdout
    assert "__stack_chk_fail" in symbols
    exported = {
        line.split()[-1].partition("@")[0] for line in symbols.splitlines() if " FUNC " in line and " UND " not in line
    }
    phases = ("authenticate", "setcred", "acct_mgmt", "open_session", "close_session", "chauthtok")
    assert exported == {f"pam_sm_{phase}" for phase in phases}


@pytest.mark.parametrize("kind", ["deb", "arch"])
def test_building_again_gives_the_same_bytes(
    kind: str, tree: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    first: Path = request.getfixturevalue(kind)
    elsewhere = tmp_path / "another" / "place"
    elsewhere.parent.mkdir()
    subprocess.run([tree / "packaging/copy-tree", elsewhere], check=True)
    second = build(elsewhere, kind, tmp_path / "built")
    assert second.name == first.name
    assert second.read_bytes() == first.read_bytes()


def test_lintian_has_nothing_to_say(deb: Path) -> None:
    done = subprocess.run(["lintian", "--allow-root", "--pedantic", deb], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_dependencies_are_in_debian_main(deb: Path) -> None:
    depends = subprocess.run(["dpkg-deb", "-f", deb, "Depends"], check=True, capture_output=True, text=True).stdout
    assert {item.split()[0].removesuffix(":any") for item in depends.split(",")} <= {
        "libargon2-1", "libc6", "libkeyutils1", "libpam0g", "libpam-runtime", "passwd", "python3", "python3-click",
        "rsync",
    }  # fmt: skip


def test_versions_agree(deb: Path, arch: Path, tree: Path) -> None:
    program = "import pam_pyhome; print(pam_pyhome.__version__)"
    asked = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=tree)
    version = asked.stdout.strip()
    assert deb.name.startswith(f"pyhome_{version}_")
    assert arch.name.startswith(f"pyhome-{version}-")
    assert f"\n## {version}\n" in (tree / "NEWS.md").read_text()
