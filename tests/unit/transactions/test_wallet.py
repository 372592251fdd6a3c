from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from dpki.errors import ConfigError, PassphraseIncorrect, UsageError
from dpki.transactions.wallet import Wallet, create_keystore, load_wallet

FAST = 2
KEY = bytes(31) + b"\x07"


def saying(secret: str) -> object:
    return lambda what: secret


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wallets" / "admin.json"


def test_what_was_created_is_loaded(path: Path) -> None:
    wallet = create_keystore(path, lambda _: "correct horse", work=FAST)
    assert load_wallet(path, lambda _: "correct horse") == wallet
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["crypto"]["kdf"] == "scrypt"


def test_two_wallets_differ() -> None:
    assert Wallet.create().address != Wallet.create().address


def test_a_given_key_is_kept(path: Path) -> None:
    wallet = Wallet.from_key(KEY)
    create_keystore(path, lambda _: "p", wallet=wallet, work=FAST)
    assert load_wallet(path, lambda _: "p").address == wallet.address


def test_the_source_is_told_what_for(path: Path) -> None:
    asked: list[str] = []

    def source(what: str) -> str:
        asked.append(what)
        return "p"

    create_keystore(path, source, work=FAST)
    load_wallet(path, source)
    assert asked == [
        "passphrase for the new wallet admin.json",
        "passphrase for the wallet admin.json",
    ]


def test_nothing_is_overwritten_and_nothing_asked(path: Path) -> None:
    create_keystore(path, lambda _: "p", work=FAST)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        create_keystore(path, lambda _: pytest.fail("asked"), work=FAST)
    assert path.read_bytes() == before


def test_no_empty_passphrase(path: Path) -> None:
    with pytest.raises(UsageError, match="empty"):
        create_keystore(path, lambda _: "", work=FAST)
    assert not path.exists()


def test_a_wrong_passphrase(path: Path) -> None:
    create_keystore(path, lambda _: "right", work=FAST)
    with pytest.raises(PassphraseIncorrect) as caught:
        load_wallet(path, lambda _: "wr0ng-s3cret")
    assert caught.value.exit_status == 4
    assert "wr0ng" not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"


def test_a_missing_keystore(path: Path) -> None:
    with pytest.raises(ConfigError, match="no wallet"):
        load_wallet(path, lambda _: pytest.fail("asked"))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        '{"address": 1}',
        '{"address": "00", "crypto": 7}',
        "x" * 100_000,
    ],
)
def test_no_keystore_at_all(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(Exception, match=r"keystore|larger than") as caught:
        load_wallet(path, lambda _: "p")
    assert caught.type.__module__ == "dpki.errors"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kdf", "md5"),
        ("ciphertext", "00"),
        ("ciphertext", 7),
        ("kdfparams", {}),
        ("mac", None),
    ],
)
def test_a_damaged_keystore(path: Path, key: str, value: object) -> None:
    create_keystore(path, lambda _: "p", work=FAST)
    keystore = json.loads(path.read_text())
    keystore["crypto"][key] = value
    path.write_text(json.dumps(keystore))
    with pytest.raises((ConfigError, PassphraseIncorrect)):
        load_wallet(path, lambda _: "p")


def test_a_keystore_that_names_another_account(path: Path) -> None:
    create_keystore(path, lambda _: "p", work=FAST)
    keystore = json.loads(path.read_text())
    keystore["address"] = "00" * 20
    path.write_text(json.dumps(keystore))
    with pytest.raises(ConfigError, match="another account"):
        load_wallet(path, lambda _: "p")


@pytest.mark.parametrize("key", [b"", bytes(32), b"\xff" * 32, b"\x01" * 31])
def test_no_private_key(key: bytes) -> None:
    with pytest.raises(UsageError, match="no secp256k1 private key"):
        Wallet.from_key(key)


def test_the_key_shows_nowhere(path: Path) -> None:
    wallet = Wallet.from_key(bytes(range(1, 33)))
    create_keystore(path, lambda _: "p", wallet=wallet, work=FAST)
    hexadecimal = bytes(range(1, 33)).hex()
    assert hexadecimal not in f"{wallet!r} {wallet} {path.read_text()}"
    assert "_account" not in repr(wallet)
