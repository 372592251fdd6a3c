from __future__ import annotations

import json
from pathlib import Path

import pytest

from dpki.devnet.devnet import down, up
from dpki.devnet.kubo import KuboAddresses
from dpki.devnet.process import ProcessIdentity
from dpki.devnet.state import FILE, DevnetState, TokenState, load_state, save_state
from dpki.errors import ConfigError, ServiceFailed, UsageError

NODE = KuboAddresses("http://127.0.0.1:5001", "http://127.0.0.1:8080", "/ip4/127.0.0.1/tcp/1/p2p/x")
GONE = ProcessIdentity("Anvil", 2**22 + 1, 1, "another boot")
STATE = DevnetState(
    rpc="http://127.0.0.1:8545",
    chain_id=31337,
    optimism=True,
    ipfs=(NODE,),
    token=TokenState(Path("/m.so"), "t", Path("/pin"), {"SOFTHSM2_CONF": "/c"}),
    accounts=("0x1",),
    logs=Path("/logs"),
    processes=(GONE,),
)


@pytest.mark.parametrize("state", [STATE, DevnetState("u", 1, False, (), None, (), Path("/l"), ())])
def test_what_was_saved_is_loaded(tmp_path: Path, state: DevnetState) -> None:
    save_state(tmp_path, state)
    assert load_state(tmp_path) == state
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_nothing_saved(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "{}", '{"version": 2}', '{"version": 1}', "null", "7"]
)
def test_damaged(tmp_path: Path, damage: str) -> None:
    (tmp_path / FILE).write_text(damage)
    with pytest.raises(ConfigError, match="damaged"):
        load_state(tmp_path)


@pytest.mark.parametrize("key", ["rpc", "ipfs", "token", "processes", "logs"])
def test_incomplete(tmp_path: Path, key: str) -> None:
    save_state(tmp_path, STATE)
    fields = json.loads((tmp_path / FILE).read_text())
    del fields[key]
    (tmp_path / FILE).write_text(json.dumps(fields))
    with pytest.raises(ConfigError):
        load_state(tmp_path)


def test_the_rpc_port_of_a_node_as_a_multiaddress() -> None:
    assert NODE.api_multiaddr == "/ip4/127.0.0.1/tcp/5001"


def test_down_without_up(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no devnet was started"):
        down(tmp_path)


def test_down_when_everything_is_gone_already(tmp_path: Path) -> None:
    save_state(tmp_path, STATE)
    (tmp_path / "token").mkdir()
    assert down(tmp_path) == ()
    assert not (tmp_path / FILE).exists()
    assert (tmp_path / "token").exists()


def test_down_can_remove_everything(tmp_path: Path) -> None:
    folder = tmp_path / "devnet"
    folder.mkdir()
    save_state(folder, STATE)
    down(folder, remove=True)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("variable", "message"),
    [("DPKI_KUBO", "Kubo, the IPFS node, is not"), ("DPKI_ANVIL", "Anvil is not")],
)
def test_what_is_not_installed_is_named_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, message: str
) -> None:
    monkeypatch.setenv("DPKI_KUBO", "true")
    monkeypatch.setenv(variable, "/nowhere/at/all")
    if variable == "DPKI_ANVIL":
        monkeypatch.setattr("dpki.devnet.devnet.start_nodes", lambda *_, **__: [])
    with pytest.raises(ServiceFailed, match=message) as caught:
        up(tmp_path)
    assert variable in caught.value.hint
    assert "scripts/setup" in caught.value.hint
    assert load_state(tmp_path) is None
