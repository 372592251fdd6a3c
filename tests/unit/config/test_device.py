import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import public_key_line, ssh_blob
from dpki.config.device import (
    Access,
    DeviceConfig,
    Grant,
    Outage,
    dump_device_config,
    load_device_config,
    parse_allowances,
    parse_device_config,
    save_device_config,
)
from dpki.config.finality import Finality
from dpki.config.outbound import Outbound
from dpki.config.sshd import CommandHook, Mode, PidHook, Sshd, SystemdHook
from dpki.config.values import verify_break_glass
from dpki.errors import ConfigError, DpkiError, InvalidPrincipal, MalformedInput, UsageError
from dpki.model import Address, AuthorityId, DomainId, Hash32

DOMAIN = DomainId(31337, Address(b"\x11" * 20), Hash32(b"\x22" * 32))
CA = AuthorityId(b"\x33" * 32)
KEY = public_key_line(ssh_blob(Ed25519PrivateKey.generate().public_key()), "night@safe")

MINIMAL = f"""version = 1
domain = "{DOMAIN}"
rpc = ["http://127.0.0.1:8545"]
[access]
console_access = true
"""

FULL = DeviceConfig(
    domain=DOMAIN,
    rpc=("https://a.example", "https://b.example"),
    gateways=("https://gateway.example",),
    directories=(Path("/media/bundles"),),
    sshd=Sshd(
        directory=Path("/tmp/x"),
        login_user="nobody",
        reload=PidHook(Path("/run/sshd.pid")),
        mode=Mode.FILES,
        fence=True,
        overlap=timedelta(hours=6),
    ),
    access=Access(KEY, False, Outage.OPEN, timedelta(hours=3), {CA: Outage.CLOSED}),
    accounts={
        "root": (Grant(CA, "ops"), Grant(CA, "a/b")),
        "machine$": (Grant(CA, "x"),),
    },
    successors=True,
    chain=Finality(3, "latest"),
    outbound=Outbound("telemetry", Path("/srv/client"), "*.example.org,10.0.0.?"),
)


def write(directory: Path, text: str) -> Path:
    path = directory / "device.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_successors_are_not_followed_unless_somebody_says_so(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    assert not load_device_config(tmp_path).successors
    write(tmp_path, "successors = true\n" + MINIMAL)
    assert load_device_config(tmp_path).successors


def test_reads_back_what_it_writes(tmp_path: Path) -> None:
    path = save_device_config(tmp_path, FULL)
    assert load_device_config(tmp_path) == FULL
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert dump_device_config(load_device_config(tmp_path)) == path.read_text()


def test_how_many_endpoints_must_agree() -> None:
    three = MINIMAL.replace(
        'rpc = ["http://127.0.0.1:8545"]',
        'rpc = ["https://a.example", "https://b.example", "https://c.example"]\nquorum = 2',
    )
    config = parse_device_config(three)
    assert config.quorum == 2
    assert parse_device_config(dump_device_config(config)) == config
    assert parse_device_config(MINIMAL).quorum is None
    for wrong in ("0", "4", '"2"'):
        with pytest.raises(ConfigError, match="quorum"):
            parse_device_config(three.replace("quorum = 2", f"quorum = {wrong}"))


def test_defaults_are_the_safe_ones(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    config = load_device_config(tmp_path)
    assert config.access.outage is Outage.CLOSED
    assert config.access.maximum_age == timedelta(hours=24)
    assert config.access.break_glass is None
    assert config.accounts == {}
    assert config.chain == Finality(1, "finalized")
    assert config.sshd.login_user == "nobody"
    assert config.sshd.mode is Mode.STRICT
    assert not config.sshd.fence
    assert config.sshd.overlap == timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("typo = 1\n" + MINIMAL, "typo is not a known key"),
        (MINIMAL + "tpyo = 1", "access.tpyo is not a known key"),
        (MINIMAL + "[sshd]\nbinry = '/x'", "sshd.binry is not a known key"),
        (MINIMAL + "[chain]\nx = 1", "chain.x is not a known key"),
        (MINIMAL.replace("http://", ""), "rpc is wrong"),
        (MINIMAL.replace('["http://127.0.0.1:8545"]', "[]"), "rpc names no endpoint"),
        (MINIMAL.replace("eip155", "eip156"), "domain is wrong"),
        (MINIMAL.replace("console_access = true", ""), "no way in during an outage"),
        (MINIMAL.replace("true", "false"), "no way in during an outage"),
        (MINIMAL + "outage = 'maybe'", "access.outage must be closed or open"),
        (MINIMAL + f"[access.authorities]\n'{CA}' = 'maybe'", "must be closed or open"),
        (MINIMAL + "[access.authorities]\nusers = 'open'", "access.authorities.users is wrong"),
        (MINIMAL + "[sshd]\nmode = 'reduced'", "sshd.mode must be strict or files"),
        (MINIMAL + "[sshd]\nfence = true", "sshd.fence is for files mode"),
        (MINIMAL + "[sshd]\noverlap = 'long'", "sshd.overlap is wrong"),
        (MINIMAL + "[sshd]\nreload = 'systemctl reload ssh'", "sshd.reload is wrong"),
        (MINIMAL + "[sshd]\nreload = 'systemd:a b'", "sshd.reload is wrong"),
        (MINIMAL + "[sshd]\nreload = 'pid:sshd.pid'", "sshd.reload is wrong"),
        (MINIMAL + "[sshd]\nreload = 1", "sshd.reload must be a list of strings"),
        (MINIMAL + "maximum_age = '0h'", "access.maximum_age is wrong"),
        (MINIMAL + "break_glass = 'x'", "access.break_glass is wrong"),
        (MINIMAL + "[sshd]\ndirectory = 'etc'", "sshd.directory must be a plain absolute path"),
        (MINIMAL + "[sshd]\ndirectory = '/a%u'", "sshd.directory must be a plain absolute path"),
        (MINIMAL + "[sshd]\ndirectory = '/a\"b'", "sshd.directory must be a plain absolute path"),
        (MINIMAL + '[sshd]\ndirectory = "/a\\nb"', "sshd.directory must be a plain"),
        (MINIMAL + "[sshd]\nlogin_user = 'a b'", "sshd.login_user is wrong"),
        (
            MINIMAL + "[chain]\nconfirmations = 0",
            "chain.confirmations is 0, but must be at least 1",
        ),
        (MINIMAL + "[chain]\nauthority_finality = 'x'", "chain.authority_finality must be"),
        (MINIMAL + f"[accounts]\nroot = ['{CA}/']", "accounts.root is wrong"),
        (MINIMAL + f"[accounts]\nroot = ['{CA}/*']", "accounts.root is wrong"),
        (MINIMAL + f"[accounts]\nroot = ['{CA}/a,b']", "accounts.root is wrong"),
        (MINIMAL + f"[accounts]\nroot = ['{CA}']", "accounts.root is wrong"),
        (MINIMAL + "[accounts]\nroot = ['ops']", "accounts.root is wrong"),
        (MINIMAL + f"[accounts]\nroot = ['{CA}/a', '{CA}/a']", "accounts.root is wrong"),
        (MINIMAL + f"[accounts]\n'a b' = ['{CA}/a']", "accounts.a b is wrong"),
        (MINIMAL + "[accounts]\nroot = 'ops'", "accounts.root must be a list of strings"),
        ("accounts = []\n" + MINIMAL, "accounts must be a table"),
        ("directories = ['x']\n" + MINIMAL, "directories must be a plain absolute path"),
    ],
)
def test_bad_configuration_names_file_and_key(tmp_path: Path, text: str, problem: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_device_config(tmp_path)
    assert caught.value.message.startswith(f"{path}: ")
    assert problem in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_status == 2


def test_missing_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_device_config(tmp_path)
    assert "dpki device init" in caught.value.hint


class TestAllowances:
    def test_collects_by_account(self) -> None:
        assert parse_allowances(
            [f"root={CA}/ops", f"www={CA}/web", f"root={CA}/a=b".replace("=b", "")]
        ) == {
            "root": (Grant(CA, "ops"), Grant(CA, "a")),
            "www": (Grant(CA, "web"),),
        }

    @pytest.mark.parametrize("text", ["", "root", f"{CA}/ops", f"Root={CA}/ops", f"={CA}/ops"])
    def test_refuses_no_or_an_impossible_account(self, text: str) -> None:
        with pytest.raises(UsageError):
            parse_allowances([text])

    @pytest.mark.parametrize("principal", ["", "*", "a,b", "a b", "a\n", "?"])
    def test_refuses_bad_principals(self, principal: str) -> None:
        with pytest.raises(InvalidPrincipal):
            parse_allowances([f"root={CA}/{principal}"])

    def test_refuses_a_name_for_a_ca_id(self) -> None:
        with pytest.raises(MalformedInput):
            parse_allowances(["root=ssh-user-ca/ops"])


class TestBreakGlass:
    def test_returns_the_tidied_line(self) -> None:
        assert verify_break_glass(KEY + "\n") == KEY

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            f"{KEY}\n{KEY}",
            f'command="x" {KEY}',
            f"restrict {KEY}",
            KEY.replace("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com"),
            "-----BEGIN OPENSSH PRIVATE KEY-----",
        ],
    )
    def test_refuses_everything_but_one_plain_key(self, line: str) -> None:
        with pytest.raises(DpkiError):
            verify_break_glass(line)


@pytest.mark.parametrize(
    ("text", "hook"),
    [
        ("'systemd:sshd.service'", SystemdHook("sshd.service")),
        ("'pid:/run/sshd.pid'", PidHook(Path("/run/sshd.pid"))),
        ("'none'", CommandHook(())),
        ("[]", CommandHook(())),
        ("['rc-service', 'sshd', 'reload']", CommandHook(("rc-service", "sshd", "reload"))),
    ],
)
def test_how_sshd_is_told(text: str, hook: object) -> None:
    config = parse_device_config(MINIMAL + f"[sshd]\nreload = {text}")
    assert config.sshd.reload == hook
    assert parse_device_config(dump_device_config(config)) == config


@pytest.mark.parametrize("folder", ["/etc/ssh", "/etc/ssh/sshd_config.d"])
def test_sshds_own_folders_are_not_the_agents(folder: str) -> None:
    """It would write over what is there, and sshd would include what is none of its business."""
    with pytest.raises(ConfigError, match="own configuration lies"):
        parse_device_config(MINIMAL + f'[sshd]\ndirectory = "{folder}"\n')


class TestOutage:
    """`closed` needs another way in; the policy may be another one for single CAs."""

    @pytest.mark.parametrize(
        ("default", "single", "closes"),
        [
            ("closed", "closed", True),
            ("closed", "open", True),
            ("open", "closed", True),
            ("open", "open", False),
        ],
    )
    def test_nothing_closes_without_another_way_in(
        self, default: str, single: str, closes: bool
    ) -> None:
        text = MINIMAL.replace("console_access = true", f"outage = '{default}'")
        text += f"[access.authorities]\n'{CA}' = '{single}'\n"
        if closes:
            with pytest.raises(ConfigError, match="no way in during an outage"):
                parse_device_config(text)
        else:
            parse_device_config(text)
        for way in ("console_access = true", f"break_glass = '{KEY}'"):
            parse_device_config(text.replace("[access]", f"[access]\n{way}"))


class TestOutbound:
    """Who logs in elsewhere."""

    def test_nobody_unless_somebody_is_named(self) -> None:
        assert parse_device_config(MINIMAL).outbound is None

    def test_an_account_is_enough(self) -> None:
        config = parse_device_config(f'{MINIMAL}[outbound]\naccount = "telemetry"\n')
        assert config.outbound == Outbound("telemetry", Path("/etc/ssh/dpki-client"), "*")

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            ('hosts = "*"', "account"),
            ('account = "Tele Metry"', "not an account name"),
            ('account = "t"\ndirectory = "relative"', "plain absolute path"),
            ('account = "t"\ndirectory = "/with space"', "plain absolute path"),
            ('account = "t"\ndirectory = "/100%"', "plain absolute path"),
            ('account = "t"\nhosts = "a b"', "not a host pattern"),
            ('account = "t"\nhost = "a"', "not a known key"),
            ('account = "t"\ndirectory = "/etc/ssh/dpki"', "uses sshd's folder"),
            ('account = "t"\ndirectory = "/etc/ssh"', "uses sshd's folder"),
        ],
    )
    def test_what_ssh_could_not_be_given(self, lines: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            parse_device_config(f"{MINIMAL}[outbound]\n{lines}\n")
