"""The root folder of a host that does not run, for putting the agent on it and taking it off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpki.agent.host import Deed, Host
from dpki.agent.sshd import HEADER
from dpki.bundle.codec import dumps
from dpki.config.device import Access, DeviceConfig, save_device_config
from dpki.config.sshd import Sshd
from tests.fakes.systemd import FakeSystemd
from tests.world import DOMAIN

DIRECTORY = Path("/etc/dpki")
CONFIG = DeviceConfig(
    domain=DOMAIN.id,
    rpc=("https://rpc.example",),
    access=Access(console_access=True),
    sshd=Sshd(login_user="dpki-login"),
)
PROGRAM = Path("/opt/dpki/bin/dpki")


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file, link and folder below, with its mode and what it holds."""
    found = {}
    for path in root.rglob("*"):
        if path.is_symlink():
            content = str(path.readlink()).encode()
        else:
            content = path.read_bytes() if path.is_file() else b""
        # useradd and userdel keep a copy and a lock of what was before.
        if not path.name.endswith("-") and path.name != ".pwd.lock":
            found[str(path.relative_to(root))] = (path.lstat().st_mode, content)
    return found


def make_root(folder: Path) -> Path:
    """Make one with sshd, accounts and a device that was set up."""
    root = folder / "root"
    for folder in ("etc/ssh/sshd_config.d", "etc/systemd/system", "etc/dpki/keys"):
        (root / folder).mkdir(parents=True)
    (root / "etc/ssh/sshd_config").write_text("Include /etc/ssh/sshd_config.d/*.conf\n")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/shadow").write_text("root:*:19000:0:99999:7:::\n")
    (root / "etc/gshadow").write_text("root:*::\n")
    (root / "etc/dpki/keys/identity.key").write_text("secret")
    save_device_config(root / "etc/dpki", CONFIG)
    return root


def host_of(root: Path, systemd: FakeSystemd | None = None) -> Host:
    return Host(DIRECTORY, CONFIG, systemd or FakeSystemd(root), PROGRAM, root)


def carry_out(deeds: Sequence[Deed]) -> list[str]:
    for deed in deeds:
        deed.do()
    return [deed.says for deed in deeds]


def installed_by_the_agent(root: Path) -> None:
    """Leave what a run of the agent leaves."""
    files = root / "etc/ssh/dpki"
    (files / "accounts").mkdir(parents=True, exist_ok=True)
    for name in ("user_ca.pub", "revoked.krl", "login.py", "login.db", "lock", "hold.cbor"):
        (files / name).write_bytes(b"x")
    (files / "host-0123456789abcdef").write_bytes(b"private")
    (files / "accounts/ops").write_bytes(b"line")
    record = {"v": 1, "told": "", "pairs": [], "files": {"accounts/ops": [], "drop-in": []}}
    (files / "installed.cbor").write_bytes(dumps(record))
    drop_in = root / "etc/ssh/sshd_config.d/10-dpki.conf"
    lines = f"{HEADER}; changes here are overwritten.\nRevokedKeys /etc/ssh/dpki/revoked.krl\n"
    drop_in.write_text(lines)
