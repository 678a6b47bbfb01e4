"""Installing, upgrading and removing the Debian package, on Debian 12 and 13."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.packaging.chroot import Chroot
from tests.packaging.conftest import install

PAM = ("/etc/pam.d", "/var/lib/pam")


def modules(system: Chroot, name: str) -> list[str]:
    """The modules of /etc/pam.d/common-`name` in their order."""
    lines = (system.path / "etc/pam.d" / f"common-{name}").read_text().splitlines()
    return [word for line in lines if not line.startswith("#") for word in line.split() if word.endswith(".so")]


def assert_order(found: list[str], *wanted: str) -> None:
    """All of `wanted` are in `found`, in that order, each once."""
    assert [name for name in found if name in wanted] == list(wanted), found


def newer(package: Path, version: str, into: Path) -> Path:
    """The same package under a later version."""
    tree = into / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines()
    control.write_text(
        "".join(f"Version: {version}\n" if line.startswith("Version:") else f"{line}\n" for line in lines)
    )
    result = into / f"pyhome_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, result], check=True, stdout=subprocess.DEVNULL)
    return result


def test_removal_leaves_pam_as_it_was_to_the_byte(debian: Chroot, deb: Path) -> None:
    before = debian.snapshot(*PAM)
    install(debian, deb)
    assert any(b"pam_pyhome.so" in text for _, text in debian.snapshot("/etc/pam.d").values())
    debian.run("apt-get remove -q -y pyhome")
    assert debian.snapshot(*PAM) == before


def test_purge_leaves_nothing(debian: Chroot, deb: Path) -> None:
    everywhere = "find / -xdev -name '*pyhome*' ! -path '/tmp/*' ! -path '/proc/*'"
    before = debian.run(everywhere).stdout
    install(debian, deb)
    assert debian.run(everywhere).stdout != before
    debian.run("apt-get purge -q -y pyhome")
    assert debian.run(everywhere).stdout == before
    assert not (debian.path / "run/pyhome").exists()


def test_purge_after_use_leaves_nothing(installed: Chroot) -> None:
    """Locks and empty directories go; what says that a session holds a home stays."""
    state = "/var/lib/pyhome"
    used = (
        "/run/pyhome/1000/gate", "/run/pyhome/derive/share.0", f"{state}/converting/.lock.ada", f"{state}/setup/journal",
        f"{state}/sshd/lock", f"{state}/sshd/reverted",
    )  # fmt: skip
    alive = "/run/pyhome/1001/lease.1.2"
    for path in (*used, alive):
        installed.run(f"mkdir -p $(dirname {path}) && touch {path}")
    installed.run("apt-get purge -q -y pyhome")
    assert not (installed.path / "var/lib/pyhome").exists()
    assert installed.run("find /run/pyhome -type f").stdout.split() == [alive]


def test_purge_keeps_copies_of_key_files_and_says_so(installed: Chroot) -> None:
    installed.run("mkdir -m 0700 -p /var/lib/pyhome/1000.ada && echo key > /var/lib/pyhome/1000.ada/wrapped-passphrase")
    done = installed.run("apt-get purge -q -y pyhome")
    assert "stay in /var/lib/pyhome" in done.stdout + done.stderr
    assert (installed.path / "var/lib/pyhome/1000.ada/wrapped-passphrase").read_text() == "key\n"


def test_lines_come_after_the_password_and_before_systemd(installed: Chroot) -> None:
    assert_order(modules(installed, "auth"), "pam_unix.so", "pam_permit.so", "pam_mount.so", "pam_pyhome.so")
    assert_order(modules(installed, "auth"), "pam_pyhome.so", "pam_fscrypt.so", "pam_ecryptfs.so")
    assert_order(modules(installed, "account"), "pam_unix.so", "pam_permit.so", "pam_pyhome.so")
    assert_order(modules(installed, "session"), "pam_unix.so", "pam_mount.so", "pam_pyhome.so", "pam_systemd.so")
    assert_order(modules(installed, "session"), "pam_pyhome.so", "pam_fscrypt.so", "pam_ecryptfs.so")
    assert_order(modules(installed, "session-noninteractive"), "pam_unix.so", "pam_pyhome.so", "pam_ecryptfs.so")
    assert_order(modules(installed, "password"), "pam_unix.so", "pam_permit.so", "pam_pyhome.so", "pam_ecryptfs.so")


def test_libpam_knows_every_word_in_the_lines(installed: Chroot) -> None:
    (library,) = installed.path.glob("usr/lib/*/libpam.so.0")
    known = (
        library.resolve().read_bytes()
        if not library.is_symlink()
        else (library.parent / library.readlink()).read_bytes()
    )
    for kind in ("auth", "account", "session", "password"):
        for line in (installed.path / f"etc/pam.d/common-{kind}").read_text().splitlines():
            if "pam_pyhome.so" in line and "[" in line:
                for pair in line.partition("[")[2].partition("]")[0].split():
                    value, _, action = pair.partition("=")
                    assert b"\0" + value.encode() + b"\0" in known
                    assert action in ("ok", "bad", "ignore")


def test_upgrade_keeps_what_the_administrator_chose(
    installed: Chroot, deb: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    installed.run("pam-auth-update --disable pyhome && echo debug >> /etc/pyhome.conf")
    before = installed.snapshot("/etc/pam.d", "/etc/pyhome.conf")
    assert not any(b"pam_pyhome.so" in text for _, text in before.values())
    # As 0.1.0 wrote it: the line for everybody gets its mark, a site's own in a Match block does not.
    methods = "AuthenticationMethods publickey,keyboard-interactive:pam"
    drop_in = installed.path / "etc/ssh/sshd_config.d/0-pyhome.conf"
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text(f"{methods} password\n\nMatch User bob\n    {methods}\n")
    for version in ("9.0", "9.1"):
        install(installed, newer(deb, version, tmp_path_factory.mktemp("newer")))
        marked = f"{methods} {methods.split()[1]} password\n\nMatch User bob\n    {methods}\n"
        assert drop_in.read_text() == marked
    assert installed.snapshot("/etc/pam.d", "/etc/pyhome.conf") == before
    assert (installed.path / "etc/pyhome.conf").read_text().endswith("\ndebug\n")


def test_upgrade_never_takes_the_lines_away(
    installed: Chroot, deb: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = installed.snapshot(*PAM)
    install(installed, newer(deb, "9.0", tmp_path_factory.mktemp("newer")))
    assert installed.snapshot(*PAM) == before


def test_switching_from_pam_ecryptfs_and_back(debian: Chroot, deb: Path) -> None:
    before = debian.snapshot("/etc/pam.d")
    install(debian, deb)
    debian.run("pam-auth-update --disable ecryptfs-utils")
    for kind in ("auth", "session", "password"):
        assert "pam_ecryptfs.so" not in modules(debian, kind)
        assert "pam_pyhome.so" in modules(debian, kind)
    debian.run("pam-auth-update --enable ecryptfs-utils && apt-get remove -q -y pyhome")
    assert debian.snapshot("/etc/pam.d") == before


def test_removal_names_open_homes_and_leaves_them_alone(installed: Chroot) -> None:
    installed.run("mkdir -m 0700 -p /run/pyhome/1000 && echo mountpoint=/home/ada > /run/pyhome/1000/open")
    done = installed.run("apt-get remove -q -y pyhome")
    assert "/home/ada is open and stays so" in done.stdout + done.stderr
    assert (installed.path / "run/pyhome/1000/open").exists()


def test_every_module_is_compiled_and_loads_without_site(installed: Chroot) -> None:
    listed = installed.run("dpkg -L pyhome").stdout.splitlines()
    tree = [Path(path) for path in listed if path.endswith(".py")]
    assert len(tree) > 20
    for path in tree:
        assert list((installed.path / str(path.parent)[1:] / "__pycache__").glob(f"{path.stem}.cpython-*.pyc")), path
    rooms = ("backends", "formats", "host", "kernel", "policy", "shell_stub", "slots")
    names = [str(path.with_suffix("")).removeprefix("/usr/lib/pyhome/").replace("/", ".") for path in tree]
    wanted = [name.removesuffix(".__init__") for name in names if name.split(".")[1] in rooms]
    program = "import sys; sys.path[:0] = ['/usr/lib/pyhome']\nfor name in sys.argv[1:]: __import__(name)"
    installed.run(f'/usr/bin/python3 -ISB -W error -c "{program}" {" ".join(wanted)}')


def test_the_command_runs(installed: Chroot) -> None:
    assert "ecryptfs" in installed.run("pyhome --help").stdout


def test_installed_files_are_those_of_the_package(installed: Chroot) -> None:
    assert installed.run("dpkg --verify pyhome").stdout == ""
    assert (installed.path / "run/pyhome").stat().st_mode & 0o7777 == 0o700


def test_units_are_valid_and_the_socket_is_enabled(installed: Chroot) -> None:
    done = installed.run("systemd-analyze verify --man=no pyhomed.socket pyhomed.service")
    assert "pyhome" not in done.stdout + done.stderr
    assert installed.run("systemctl is-enabled pyhomed.socket").stdout == "enabled\n"


def test_user_without_encrypted_home_logs_in_through_the_whole_stack(installed: Chroot) -> None:
    installed.run("useradd --create-home --shell /bin/sh ada && echo ada:correct-horse | chpasswd")
    phases = "authenticate acct_mgmt open_session close_session"
    assert installed.run(f"pamtester login ada {phases}", stdin="correct-horse\n").returncode == 0
    assert installed.run(f"pamtester login ada {phases}", stdin="wrong\n", check=False).returncode != 0
    assert installed.run("su -l ada -c 'id -un'").stdout == "ada\n"


@pytest.mark.guarantee(9)
def test_nobody_is_locked_out_if_the_worker_is_missing(installed: Chroot) -> None:
    installed.run("useradd --create-home --shell /bin/sh ada && echo ada:correct-horse | chpasswd")
    installed.run(
        "install -d -o ada -g ada ~ada/.ecryptfs && install -o ada -g ada /dev/null ~ada/.ecryptfs/wrapped-passphrase"
    )
    installed.run("rm -r /usr/lib/pyhome")
    phases = "authenticate acct_mgmt open_session close_session"
    assert installed.run(f"pamtester login ada {phases}", stdin="correct-horse\n").returncode == 0
