import os
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import public_key_line, ssh_blob
from dpki.cli.device_setup import Wishes, make_config, make_outbound, set_up
from dpki.config.device import Grant
from dpki.config.finality import Finality
from dpki.config.outbound import Outbound
from dpki.config.sshd import CommandHook, PidHook, SystemdHook
from dpki.errors import ConfigError, UsageError
from tests.world import DOMAIN, Ca

CA = Ca.users().id
PLAIN = Wishes(
    domain=str(DOMAIN.id),
    rpc=("http://127.0.0.1:8545",),
    quorum=None,
    gateways=(),
    directories=(),
    allow=(),
    successors=False,
    break_glass=None,
    console_access=True,
    sshd_directory=None,
    sshd_config=None,
    drop_in=None,
    reload=None,
)


@pytest.fixture
def rescue(tmp_path: Path) -> Path:
    path = tmp_path / "rescue.pub"
    path.write_text(
        public_key_line(ssh_blob(Ed25519PrivateKey.generate().public_key()), "rescue") + "\n"
    )
    return path


class TestConfig:
    def test_everything_that_was_asked_for(self, rescue: Path) -> None:
        config = make_config(
            replace(
                PLAIN,
                gateways=("https://ipfs.example",),
                directories=(Path("/media/x"),),
                allow=(f"root={CA}/ops", f"root={CA}/admins", f"www={CA}/web"),
                break_glass=rescue,
                console_access=False,
                sshd_directory=Path("/x/sshd"),
                reload="kill -HUP 1",
            )
        )
        assert config.accounts["root"] == (Grant(CA, "ops"), Grant(CA, "admins"))
        assert config.access.break_glass == rescue.read_text().strip()
        assert config.sshd.directory == Path("/x/sshd")
        assert config.sshd.reload == CommandHook(("kill", "-HUP", "1"))
        assert config.directories == (Path("/media/x"),)

    @pytest.mark.parametrize(
        ("text", "hook"),
        [
            ("systemd:sshd.service", SystemdHook("sshd.service")),
            ("pid:/run/sshd.pid", PidHook(Path("/run/sshd.pid"))),
            ("none", CommandHook(())),
            ("rc-service sshd reload", CommandHook(("rc-service", "sshd", "reload"))),
        ],
    )
    def test_how_sshd_is_told(self, text: str, hook: object) -> None:
        assert make_config(replace(PLAIN, reload=text)).sshd.reload == hook

    def test_relative_paths_are_made_absolute(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        config = make_config(replace(PLAIN, drop_in=Path("x.conf"), directories=(Path("d"),)))
        assert config.sshd.drop_in == tmp_path / "x.conf"
        assert config.directories == (tmp_path / "d",)

    @pytest.mark.parametrize(("uid", "user"), [(0, "nobody"), (os.geteuid() or 1, None)])
    def test_the_login_command_runs_as_nobody_where_that_is_possible(
        self, monkeypatch: pytest.MonkeyPatch, uid: int, user: str | None
    ) -> None:
        import pwd

        monkeypatch.setattr("os.geteuid", lambda: uid)
        sshd = make_config(PLAIN).sshd
        assert sshd.login_user == (user or pwd.getpwuid(uid).pw_name)
        assert sshd.reload == (SystemdHook("ssh.service") if uid == 0 else CommandHook(()))

    def test_finality_is_the_chain_s(self) -> None:
        assert make_config(PLAIN).chain.authority_finality == "latest"
        elsewhere = str(replace(DOMAIN.id, chain_id=10))
        assert make_config(replace(PLAIN, domain=elsewhere)).chain == Finality()

    @pytest.mark.parametrize(
        "change",
        [
            {"domain": "x"},
            {"rpc": ("x",)},
            {"rpc": ()},
            {"gateways": ("x",)},
            {"console_access": False},
            {"allow": ("root",)},
            {"allow": ("root=ops",)},
            {"allow": (f"root={CA}/*",)},
            {"allow": (f"Root={CA}/ops",)},
            {"drop_in": Path("/x%u")},
            {"drop_in": Path('/x"y')},
            {"drop_in": Path("/x\ny")},
            {"reload": "'"},
        ],
        ids=str,
    )
    def test_what_makes_no_sense(self, change: dict[str, object]) -> None:
        with pytest.raises(UsageError):
            make_config(replace(PLAIN, **change))  # type: ignore[arg-type]

    def test_both_ways_in_at_once(self, rescue: Path) -> None:
        with pytest.raises(UsageError, match="how does one get in"):
            make_config(replace(PLAIN, break_glass=rescue))

    @pytest.mark.parametrize("content", ["", "x", "ssh-ed25519 AAAA", "a\nb"])
    def test_a_break_glass_file_without_a_key(self, rescue: Path, content: str) -> None:
        rescue.write_text(content)
        with pytest.raises(UsageError):
            make_config(replace(PLAIN, break_glass=rescue, console_access=False))


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "device.toml").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        set_up(tmp_path, make_config(PLAIN), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["device.toml"]
    assert (tmp_path / "device.toml").read_text() == "mine"


def test_successors_are_followed_where_that_is_asked_for() -> None:
    assert not make_config(PLAIN).successors
    assert make_config(replace(PLAIN, successors=True)).successors


class TestOutbound:
    """The device as SSH client: asked for by the account that logs in elsewhere."""

    def test_nobody_by_default(self) -> None:
        assert make_outbound(None, None, None) is None
        assert make_config(PLAIN).outbound is None

    def test_an_account_is_enough(self) -> None:
        outbound = make_outbound("telemetry", None, None)
        assert outbound == Outbound("telemetry")
        assert make_config(replace(PLAIN, outbound=outbound)).outbound == outbound

    def test_everything_that_can_be_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        outbound = make_outbound("telemetry", "*.example.org,gate", Path("client"))
        assert outbound == Outbound("telemetry", tmp_path / "client", "*.example.org,gate")
        assert make_config(replace(PLAIN, outbound=outbound)).outbound == outbound

    @pytest.mark.parametrize(
        "said",
        [
            (None, "*.example.org", None),
            (None, None, Path("/x")),
            ("Tele metry", None, None),
            ("telemetry", "a b", None),
            ("telemetry", "", None),
        ],
        ids=str,
    )
    def test_what_makes_no_sense(self, said: tuple[str | None, str | None, Path | None]) -> None:
        with pytest.raises(UsageError):
            make_outbound(*said)

    def test_a_folder_that_ssh_would_not_take(self) -> None:
        outbound = make_outbound("telemetry", None, Path("/x y"))
        with pytest.raises(UsageError, match="directory"):
            make_config(replace(PLAIN, outbound=outbound))
