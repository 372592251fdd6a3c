import stat
from dataclasses import replace
from pathlib import Path

import pytest

from dpki.config.admin import (
    AdminConfig,
    ChainConfig,
    Home,
    StoreConfig,
    TokenConfig,
    create_admin_config,
    dump_admin_config,
    find_home,
    load_admin_config,
    save_domain,
    save_key,
)
from dpki.config.finality import Finality
from dpki.config.signing import WalletConfig
from dpki.errors import ConfigError, UsageError
from dpki.model import Address, DomainId, Hash32
from dpki.signer.uri import FileUri, Pkcs11Uri

DOMAIN = DomainId(31337, Address(b"\x11" * 20), Hash32(b"\x22" * 32))
CONFIG = AdminConfig(
    chain=ChainConfig(
        31337, ("http://127.0.0.1:8545",), "https://explorer.example", True, Finality(2), 1
    ),
    token=TokenConfig(
        Path("/usr/lib/softhsm/libsofthsm2.so"),
        "acme",
        "file:/run/pin",
        {"SOFTHSM2_CONF": Path("/x/softhsm2.conf")},
    ),
    passphrase="env:PASSPHRASE",
    store=StoreConfig(
        ("/ip4/127.0.0.1/tcp/5001",), ("http://127.0.0.1:8080",), (Path("/x"),), 2, "file:/x/token"
    ),
    wallet=WalletConfig(Pkcs11Uri("acme", "operator"), 5 * 10**16, 5_000_000),
    keys={"hosts": Pkcs11Uri("other", "h", b"\x01"), "users": FileUri("/etc/ca.pem")},
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


class TestRoundTrip:
    def test_reads_back_what_it_writes_privately(self, home: Home) -> None:
        create_admin_config(home, CONFIG)
        assert load_admin_config(home) == CONFIG
        assert dump_admin_config(CONFIG) == home.config.read_text()
        assert stat.S_IMODE(home.config.stat().st_mode) == 0o600
        assert stat.S_IMODE(home.directory.stat().st_mode) == 0o700

    def test_a_home_without_a_token(self, home: Home) -> None:
        config = replace(CONFIG, token=TokenConfig(pin="env:PIN"))
        create_admin_config(home, config)
        assert load_admin_config(home) == config
        assert not config.token.is_there

    def test_where_a_key_is_is_said_once(self, home: Home) -> None:
        create_admin_config(home, CONFIG)
        save_key(home, "more", FileUri("/etc/more.pem"))
        save_key(home, "more", FileUri("/etc/more.pem"))
        with pytest.raises(ConfigError, match="already says that the key of more"):
            save_key(home, "more", FileUri("/etc/another.pem"))
        assert load_admin_config(home).keys == {**CONFIG.keys, "more": FileUri("/etc/more.pem")}

    def test_never_overwrites(self, home: Home) -> None:
        create_admin_config(home, CONFIG)
        before = home.config.read_bytes()
        with pytest.raises(ConfigError, match="exists already"):
            create_admin_config(home, replace(CONFIG, passphrase="prompt"))
        assert home.config.read_bytes() == before


class TestDomain:
    def test_is_required_where_needed(self) -> None:
        with pytest.raises(ConfigError, match="no trust domain yet") as caught:
            CONFIG.require_domain()
        assert "dpki deploy" in caught.value.hint

    def test_is_saved_once(self, home: Home) -> None:
        create_admin_config(home, CONFIG)
        assert save_domain(home, DOMAIN).require_domain() == DOMAIN
        assert load_admin_config(home) == replace(CONFIG, domain=DOMAIN)
        before = home.config.read_bytes()
        with pytest.raises(ConfigError, match="already names the domain"):
            save_domain(home, replace(DOMAIN, address=Address(b"\x12" * 20)))
        assert home.config.read_bytes() == before

    def test_must_be_on_the_configured_chain(self, home: Home) -> None:
        create_admin_config(home, replace(CONFIG, domain=replace(DOMAIN, chain_id=1135)))
        with pytest.raises(ConfigError, match="domain is on chain 1135"):
            load_admin_config(home)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[chain]", "[chain]\nx = 1", "chain.x is not a known key"),
        ("[token]", "[token]\nPIN = '1234'", "token.PIN is not a known key"),
        ('"pkcs11:token=acme;object=operator"', '"0x"', "wallet.key is wrong"),
        ("[wallet]", "[wallet]\nsecret = '0x'", "wallet.secret is not a known key"),
        ('"0.05"', '"much"', "wallet.max_fee is wrong"),
        ("gas_limit = 5000000", "gas_limit = 20999", "wallet.gas_limit is 20999"),
        ("[keys]", "[keys]\nusers2 = '/ca.pem'", "keys.users2 is wrong"),
        ("[keys]", "[keys]\n'Us ers' = 'file:/ca.pem'", "keys.Us ers is wrong"),
        ("[store]", "[store]\nx = 1", "store.x is not a known key"),
        ("[token]", "[tokens]", "tokens is not a known key"),
        ('label = "acme"', "", "token.label is missing"),
        ('"file:/run/pin"', '"1234"', "token.pin is wrong"),
        ('"env:PASSPHRASE"', '"hunter2"', "wallet.passphrase is wrong"),
        ('"acme"', '"ac;me"', "token.label is wrong"),
        ('"/usr/lib', '"usr/lib', "token.module must be an absolute path"),
        ("/x/softhsm2.conf", "hunter2", "token.environment.SOFTHSM2_CONF must be an absolute path"),
        ("SOFTHSM2_CONF", "bad-name", "token.environment.bad-name is not the name"),
        ("chain_id = 31337", "chain_id = 0", "chain.chain_id is 0"),
        ("chain_id = 31337", "chain_id = '31337'", "chain.chain_id must be a whole number"),
        ('["http://127.0.0.1:8545"]', "[]", "chain.rpc names no endpoint"),
        ("http://127.0.0.1:8545", "http://a:b@c", "chain.rpc is wrong"),
        ("quorum = 1", "quorum = 0", "chain.quorum is 0"),
        ("quorum = 1", "quorum = 2", "chain.quorum is 2, and only 1 endpoints are named"),
        ("/ip4/127.0.0.1/tcp/5001", "localhost:5001", "store.ipfs is wrong"),
        ("http://127.0.0.1:8080", "localhost", "store.gateways is wrong"),
        ('["/x"]', '["x"]', "store.directories must hold absolute paths"),
        ("copies = 2", "copies = 0", "store.copies is 0"),
        (
            'ipfs_token = "file:/x/token"',
            'ipfs_token = "s3cret"',
            "store.ipfs_token is wrong: a secret",
        ),
        ("copies = 2", "copies = 3", "store.copies is wrong: 3 copies are asked for"),
    ],
)
def test_bad_configuration_names_file_and_key(home: Home, old: str, new: str, problem: str) -> None:
    create_admin_config(home, CONFIG)
    text = home.config.read_text()
    assert old in text
    home.config.write_text(text.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_admin_config(home)
    assert caught.value.message.startswith(f"{home.config}: ")
    assert problem in caught.value.message
    assert "1234" not in caught.value.message
    assert caught.value.hint


class TestHome:
    def test_option_then_environment_then_default(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("DPKI_HOME", raising=False)
        assert find_home(None).directory == tmp_path / ".config/dpki"
        monkeypatch.setenv("DPKI_HOME", str(tmp_path / "b"))
        assert find_home(None).directory == tmp_path / "b"
        assert find_home(tmp_path / "c").directory == tmp_path / "c"

    def test_names_cannot_leave_it(self, home: Home) -> None:
        assert home.issuer_key("ssh-user").parent == home.directory / "issuers"
        with pytest.raises(UsageError):
            home.issuer_key("../../etc/x")
