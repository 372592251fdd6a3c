from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dpki.cli.init import Wishes, make_config, make_wallet
from dpki.cli.output import Output
from dpki.config.admin import Home
from dpki.errors import ConfigError, UsageError

NOTHING = Wishes(
    devnet=None,
    preset=None,
    rpc=(),
    chain_id=None,
    module=None,
    token=None,
    pin=None,
    passphrase=None,
    ipfs=(),
    gateways=(),
    directory=None,
    copies=None,
    keystore=None,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def wishes(tmp_path: Path) -> Wishes:
    module = tmp_path / "libhsm.so"
    module.touch()
    return replace(NOTHING, preset="lisk-sepolia", module=module, token="acme")


class TestConfig:
    def test_a_known_chain(self, home: Home, wishes: Wishes) -> None:
        config = make_config(home, wishes)
        assert config.chain.chain_id == 4202
        assert config.chain.optimism
        assert (config.token.pin, config.passphrase) == ("prompt", "prompt")

    def test_one_s_own_endpoint_on_a_known_chain(self, home: Home, wishes: Wishes) -> None:
        config = make_config(home, replace(wishes, rpc=("https://rpc.example",)))
        assert (config.chain.chain_id, config.chain.rpc) == (4202, ("https://rpc.example",))

    def test_any_other_chain_by_url(self, home: Home, wishes: Wishes) -> None:
        config = make_config(
            home, replace(wishes, preset=None, rpc=("https://rpc.example",), chain_id=10)
        )
        assert (config.chain.chain_id, config.chain.finality.authority_finality) == (
            10,
            "finalized",
        )

    def test_several_endpoints_of_which_some_must_agree(self, home: Home, wishes: Wishes) -> None:
        three = tuple(f"https://rpc-{number}.example" for number in range(3))
        for preset, chain_id in (("lisk-sepolia", None), (None, 10)):
            asked = replace(wishes, preset=preset, chain_id=chain_id, rpc=three, quorum=3)
            chain = make_config(home, asked).chain
            assert (chain.rpc, chain.quorum) == (three, 3)
        assert make_config(home, replace(wishes, rpc=three)).chain.quorum is None

    def test_without_an_ipfs_node_a_folder(self, home: Home, wishes: Wishes) -> None:
        assert make_config(home, wishes).store.directories == (home.store,)

    def test_ipfs_nodes_and_no_folder(self, home: Home, wishes: Wishes) -> None:
        nodes = ("/ip4/127.0.0.1/tcp/5001", "/ip4/127.0.0.1/tcp/5002")
        store = make_config(home, replace(wishes, ipfs=nodes, copies=2)).store
        assert (store.ipfs, store.directories, store.copies) == (nodes, (), 2)

    def test_files_with_secrets_are_found_from_every_folder(
        self, home: Home, wishes: Wishes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", "/home/somebody")
        config = make_config(home, replace(wishes, pin="file:pin", passphrase="file:~/pass"))
        assert config.token.pin == f"file:{tmp_path}/pin"
        assert config.passphrase == "file:/home/somebody/pass"

    @pytest.mark.parametrize(
        "change",
        [
            {"preset": "nonsense"},
            {"preset": None},
            {"preset": None, "rpc": ("https://rpc.example",)},
            {"preset": None, "chain_id": 10},
            {"chain_id": 10},
            {"rpc": ("rpc.example",)},
            {"rpc": ("https://me:secret@rpc.example",)},
            {"token": None},
            {"token": "a;b"},
            {"module": None},
            {"module": Path("/nonexistent.so")},
            {"pin": "1234"},
            {"passphrase": "hunter2"},
            {"ipfs": ("localhost",)},
            {"gateways": ("localhost",)},
            {"copies": 2},
            {"quorum": 3},
            {"devnet": Path("/nonexistent")},
        ],
        ids=str,
    )
    def test_what_makes_no_sense(
        self, home: Home, wishes: Wishes, change: dict[str, object]
    ) -> None:
        with pytest.raises(UsageError) as caught:
            make_config(home, replace(wishes, **change))  # type: ignore[arg-type]
        told = caught.value.message + caught.value.hint
        assert not [secret for secret in ("1234", "hunter2", "me:secret") if secret in told]
        assert not home.directory.exists()


class TestWallet:
    @pytest.fixture
    def answers(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
        given: list[str] = []
        monkeypatch.setattr("getpass.getpass", lambda prompt: given.pop(0))
        monkeypatch.setattr("dpki.transactions.wallet.SCRYPT_WORK", 2**4)
        yield given
        assert given == []

    def test_a_typed_passphrase_is_asked_for_twice(
        self, home: Home, wishes: Wishes, answers: list[str]
    ) -> None:
        answers += ["correct horse", "correct horse"]
        config = make_config(home, wishes)
        wallet = make_wallet(home, wishes, config, Output(json=False))
        assert home.keystore.stat().st_mode & 0o777 == 0o600
        answers += ["correct horse"]
        again = make_wallet(home, wishes, config, Output(json=False))
        assert again.address == wallet.address

    def test_two_that_differ(self, home: Home, wishes: Wishes, answers: list[str]) -> None:
        answers += ["correct horse", "correct house"]
        with pytest.raises(UsageError, match="differ") as caught:
            make_wallet(home, wishes, make_config(home, wishes), Output(json=False))
        assert "correct" not in caught.value.message
        assert not home.keystore.exists()

    def test_a_keystore_that_is_brought_along(
        self, home: Home, wishes: Wishes, answers: list[str], tmp_path: Path
    ) -> None:
        from dpki.transactions.wallet import create_keystore

        brought = create_keystore(tmp_path / "old.json", lambda _: "correct horse", work=2**4)
        answers += ["correct horse"]
        wishes = replace(wishes, keystore=tmp_path / "old.json")
        wallet = make_wallet(home, wishes, make_config(home, wishes), Output(json=False))
        assert wallet.address == brought.address

    def test_one_that_is_not_there(
        self, home: Home, wishes: Wishes, answers: list[str], tmp_path: Path
    ) -> None:
        answers += ["correct horse"]
        wishes = replace(wishes, keystore=tmp_path / "none.json")
        with pytest.raises(ConfigError):
            make_wallet(home, wishes, make_config(home, wishes), Output(json=False))
        assert not home.keystore.exists()
