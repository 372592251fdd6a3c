"""The command line with every place that a key can be in: token, file, and the wallet's in both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from dpki.chain.rpc import Endpoint
from dpki.config.admin import Home, StoreConfig, TokenConfig
from dpki.devnet.anvil import Anvil
from dpki.files import write_atomic
from dpki.signer.pkcs11 import list_keys
from tests.admins import MODULE, Admin, Result, Run, make_admin_of, runner, state_of
from tests.openssh import keygen
from tests.soft_tokens import SoftHsmFolder, SoftToken

PASSPHRASE = "twelve letters and more"


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with Anvil(tmp_path_factory.mktemp("anvil")) as anvil:
        yield anvil


@pytest.fixture
def dpki(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def token(softhsm: SoftHsmFolder) -> SoftToken:
    return softhsm.token()


@pytest.fixture
def admin(tmp_path: Path, anvil: Anvil, token: SoftToken) -> Admin:
    return make_admin_of(tmp_path, anvil, StoreConfig(directories=(tmp_path / "store",)), token)


@pytest.fixture
def engineer(tmp_path: Path) -> Path:
    assert keygen("-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "alice").returncode == 0
    return tmp_path / "alice.pub"


def done(result: Result) -> dict[str, object]:
    assert result.status == 0, result.err
    return result.document


def issue(dpki: Run, admin: Admin, key: Path) -> Result:
    who = ("--identity", "alice", "--principal", "ops", "--for", "1h")
    return dpki("ssh", "issue", "--ca", "users", "--key", key, *who, *admin.option)


def balance(anvil: Anvil, account: object, wei: int) -> None:
    with Endpoint(anvil.url) as endpoint:
        endpoint.call("anvil_setBalance", [str(account), hex(wei)])


def test_with_keys_in_the_token_only(
    dpki: Run, anvil: Anvil, token: SoftToken, engineer: Path, tmp_path: Path
) -> None:
    """No key that signs anything is on a disk: neither a CA's nor an account's."""
    pin, home = tmp_path / "pin", tmp_path / "home"
    write_atomic(pin, token.pin.encode())
    words = (
        *("init", "--rpc", anvil.url, "--chain-id", "31337", "--module", MODULE),
        *("--token", token.label, "--pin", f"file:{pin}", "--directory", tmp_path / "bundles"),
        *("--wallet", str(token.uri("operator")), "--home", home),
    )
    made = done(dpki(*words))
    assert made["key"] == str(token.uri("operator"))
    balance(anvil, made["account"], 10**18)
    admin = Admin(Home(home))
    done(dpki("deploy", *admin.option))
    done(dpki("ca", "create", "users", "--kind", "ssh-user", *admin.option))
    assert done(issue(dpki, admin, engineer))["serial"] == 1
    assert done(dpki("wallet", "show", *admin.option))["protection"] == "token"
    assert done(dpki("wallet", "pending", *admin.option))["account"] == made["account"]

    files = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    # That one only masks locators (X25519); it signs nothing.
    assert {name for name in files if name.endswith((".key", ".pem", ".json"))} == {
        "issuers/users.key"
    }
    for name in files:
        content = (home / name).read_bytes()
        assert b"PRIVATE KEY" not in content
        assert b"ciphertext" not in content
    # Made once: another home opens the same.
    again = done(dpki(*words[:-1], tmp_path / "second"))
    assert again["account"] == made["account"]


@pytest.mark.parametrize(
    ("uri", "more", "status", "message"),
    [
        ("pkcs11:token={}", (), 2, "--wallet names no key"),
        ("operator", (), 2, "this is not a PKCS#11 URI"),
        ("pkcs11:token=nowhere;object=operator", (), 1, "nowhere"),
        ("pkcs11:token={};object=operator", ("--import-keystore", "x.json"), 2, "two wallets"),
    ],
)
def test_a_wallet_that_can_not_be_made_leaves_nothing(
    dpki: Run,
    anvil: Anvil,
    token: SoftToken,
    tmp_path: Path,
    uri: str,
    more: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    pin, home = tmp_path / "pin", tmp_path / "home"
    write_atomic(pin, token.pin.encode())
    result = dpki(
        *("init", "--rpc", anvil.url, "--chain-id", "31337", "--module", MODULE),
        *("--token", token.label, "--pin", f"file:{pin}", "--directory", tmp_path / "bundles"),
        *("--wallet", uri.format(token.label), "--home", home, *more),
    )
    assert result.status == status, result.err
    assert message in result.message
    assert not home.exists()
    assert list_keys(token.uri(), token.ask, MODULE) == ()


def test_without_any_hsm(dpki: Run, admin: Admin, engineer: Path, tmp_path: Path) -> None:
    """CA keys in files, and that they are weaker is said wherever they show."""
    secret = tmp_path / "secrets" / "ca"
    write_atomic(secret, PASSPHRASE.encode())
    admin.write(replace(admin.config, token=TokenConfig(pin=f"file:{secret}")))
    done(dpki("deploy", *admin.option))
    made = dpki("ca", "create", "users", "--kind", "ssh-user", "--key-type", "p384", *admin.option)
    assert done(made)["protection"] == "file (weaker)"
    assert "warning: its key is in a file: weaker than a token" in made.err
    (listed,) = done(dpki("ca", "list", *admin.option))["authorities"]  # type: ignore[misc]
    assert listed["protection"] == "file (weaker)"  # type: ignore[index]
    shown = dpki("ca", "show", "users", *admin.option)
    assert done(shown)["protection"] == "file (weaker)"
    assert done(shown)["key"] == f"file:{admin.home.directory}/keys/users.pem"
    assert "protection: file (weaker)" in shown.err
    assert done(issue(dpki, admin, engineer))["serial"] == 1
    write_atomic(secret, b"another passphrase")
    before = state_of_admin(admin)
    refused = issue(dpki, admin, engineer)
    assert (refused.status, refused.document["error"]["type"]) == (4, "PassphraseIncorrect")
    assert state_of_admin(admin) == before


def state_of_admin(admin: Admin) -> dict[str, tuple[int, str]]:
    class Url:
        url = admin.config.chain.rpc[0]

    return state_of(Url, admin.home.directory).files  # type: ignore[arg-type]


def test_no_key_on_any_disk(
    dpki: Run, admin: Admin, anvil: Anvil, engineer: Path, token: SoftToken
) -> None:
    """The operator's key is in the token, beside the CA's: made, funded, used for everything."""
    account = done(dpki("wallet", "create", "operator", *admin.option))["account"]
    poor = dpki("deploy", *admin.option)
    assert poor.status == 1
    assert f"{account} has 0 ETH" in poor.message
    balance(anvil, account, 10**18)
    admin.home.keystore.unlink()
    done(dpki("deploy", *admin.option))
    key = f"pkcs11:token={token.label};object=the-ca"
    created = ("ca", "create", "users", "--kind", "ssh-user", "--key-type", "rsa3072")
    assert done(dpki(*created, "--key", key, *admin.option))["key"] == key
    assert done(issue(dpki, admin, engineer))["serial"] == 1
    assert "rsa-sha2-512" in keygen("-L", "-f", engineer.with_name("alice-cert.pub")).stdout
    shown = done(dpki("wallet", "show", *admin.option))
    assert (shown["account"], shown["protection"], shown["waiting"]) == (account, "token", 0)
    other = dpki(*created, "--key", "file:/x/ca.pem", *admin.option)
    assert (other.status, other.document["error"]["type"]) == (2, "ConfigError")


@pytest.mark.parametrize(
    ("key", "status", "error"),
    [
        ("pkcs11:token=none;object=x", 1, "TokenNotFound"),
        ("pkcs11:token={};object=x?pin-source=/no/pin", 2, "ConfigError"),
        ("file:/dev/null/x.pem", 1, "DpkiError"),
        ("x", 2, "ConfigError"),
    ],
)
def test_a_key_that_can_not_be_made_is_not_remembered(
    dpki: Run, admin: Admin, token: SoftToken, key: str, status: int, error: str
) -> None:
    """Or its name would be taken, by nothing."""
    done(dpki("deploy", *admin.option))
    before = admin.home.config.read_bytes()
    wrong = dpki(
        *("ca", "create", "x", "--kind", "ssh-user", "--key", key.format(token.label)),
        *admin.option,
    )
    assert (wrong.status, wrong.document["error"]["type"]) == (status, error), wrong.err
    assert admin.home.config.read_bytes() == before
    done(dpki("ca", "create", "x", "--kind", "ssh-user", *admin.option))


def test_a_wallet_that_runs_dry_is_warned_about(dpki: Run, admin: Admin, anvil: Anvil) -> None:
    account = done(dpki("wallet", "show", *admin.option))["account"]
    balance(anvil, account, 10**16)
    deployed = dpki("deploy", *admin.option)
    assert done(deployed)["balance_wei"] is not None
    assert "warning: the wallet has 0.0" in deployed.err
    balance(anvil, account, 10**20)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (("--gas-limit", "100000"), "gas, and the limit is 100,000"),
        (("--max-fee", "0.00001"), "ETH, and the limit is 0.00001 ETH"),
    ],
)
def test_limits_that_are_too_low(
    dpki: Run, admin: Admin, limit: tuple[str, ...], message: str
) -> None:
    before = state_of_admin(admin)
    refused = dpki("deploy", *limit, *admin.option)
    assert refused.status == 1
    assert message in refused.message
    assert "nothing was sent" in refused.document["error"]["hint"]
    assert state_of_admin(admin) == before


def test_limits_from_the_configuration(dpki: Run, admin: Admin) -> None:
    config = admin.config
    admin.write(replace(config, wallet=replace(config.wallet, maximum_gas=100_000)))
    assert "the limit is 100,000" in dpki("deploy", *admin.option).message
    done(dpki("deploy", "--gas-limit", "9000000", "--max-fee", "1", *admin.option))


@pytest.mark.parametrize("amount", ["", "much", "-1", "0", "nan", "1e-18", "0.0000000001"])
def test_amounts_that_are_none(dpki: Run, admin: Admin, amount: str) -> None:
    assert dpki("deploy", f"--max-fee={amount}", *admin.option).status == 2


def test_the_keystore_again(dpki: Run, admin: Admin) -> None:
    before = done(dpki("wallet", "show", *admin.option))["account"]
    made = done(dpki("wallet", "create", "operator", *admin.option))
    assert made["account"] != before
    assert done(dpki("wallet", "use", "keystore", *admin.option))["account"] == before
    assert done(dpki("wallet", "show", *admin.option))["account"] == before
    assert (
        done(dpki("wallet", "use", str(made["key"]), *admin.option))["account"] == made["account"]
    )
    missing = dpki("wallet", "use", f"{made['key']}-2", *admin.option)
    assert (missing.status, missing.document["error"]["type"]) == (1, "KeyNotFound")
    assert done(dpki("wallet", "show", *admin.option))["account"] == made["account"]


class TestDoctor:
    """Looks at keys wherever they are, and says where that was and what mends it."""

    def examine(self, dpki: Run, admin: Admin, *words: str) -> dict[str, dict[str, str]]:
        result = dpki("doctor", *words, *admin.option)
        return {found["part"]: found for found in result.document["findings"]}

    def test_a_wallet_in_the_token(
        self, dpki: Run, anvil: Anvil, admin: Admin, token: SoftToken
    ) -> None:
        account = done(dpki("wallet", "create", "operator", *admin.option))["account"]
        assert self.examine(dpki, admin)["wallet"]["level"] == "problem"
        balance(anvil, account, 10**18)
        found = self.examine(dpki, admin)
        assert found["wallet"]["level"] == "ok"
        assert found["wallet"]["where"] == str(token.uri("operator"))
        assert str(account) in found["wallet"]["said"]
        assert "source of the wallet's passphrase" not in found
        assert found["source of the PIN"]["level"] == "ok"

        quiet = replace(admin.config.token, pin="prompt")
        admin.write(replace(admin.config, token=quiet))
        unopened = self.examine(dpki, admin)["wallet"]
        assert (unopened["level"], unopened["mend"]) == ("warning", "dpki doctor --pin prompt")
        gone = replace(admin.config.wallet, key=token.uri("elsewhere"))
        admin.write(replace(admin.config, wallet=gone))
        missing = self.examine(
            dpki, admin, "--pin", f"file:{admin.home.directory.parent}/secrets/pin"
        )
        assert missing["wallet"]["level"] == "problem"
        assert missing["wallet"]["where"] == str(token.uri("elsewhere"))

    def test_a_wrong_pin_is_tried_once(self, dpki: Run, admin: Admin, tmp_path: Path) -> None:
        done(dpki("deploy", *admin.option))
        for name in ("one", "two"):
            done(dpki("ca", "create", name, "--kind", "ssh-user", *admin.option))
        done(dpki("wallet", "create", "operator", *admin.option))
        wrong = tmp_path / "wrong"
        write_atomic(wrong, b"000000")
        found = self.examine(dpki, admin, "--pin", f"file:{wrong}")
        levels = [found[part]["level"] for part in ("key of one", "key of two", "wallet")]
        assert levels == ["problem", "warning", "warning"]

    def test_keys_in_files_and_in_other_places(
        self, dpki: Run, admin: Admin, token: SoftToken, tmp_path: Path
    ) -> None:
        done(dpki("deploy", *admin.option))
        secret, file = tmp_path / "pin-of-users", tmp_path / "users.pem"
        write_atomic(secret, token.pin.encode())
        there = str(token.uri("users-2026", pin_source=str(secret)))
        for name, key in (("users", there), ("hosts", f"file:{file}")):
            made = dpki(
                "ca", "create", name, "--kind", f"ssh-{name[:-1]}", "--key", key, *admin.option
            )
            done(made)
        found = self.examine(dpki, admin)
        assert (found["key of users"]["level"], found["key of users"]["where"]) == ("ok", there)
        assert found["key of hosts"]["level"] == "ok"
        weaker = found["key's file of hosts"]
        assert (weaker["level"], weaker["where"]) == ("warning", str(file))
        assert "weaker" in weaker["said"]
        assert found["pin-source of keys.users"]["level"] == "ok"

        secret.chmod(0o644)
        file.chmod(0o640)
        found = self.examine(dpki, admin)
        assert found["pin-source of keys.users"]["mend"] == f"chmod 0600 {secret}"
        assert found["key's file of hosts"]["mend"] == f"chmod 0600 {file}"
        assert found["key of users"]["level"] == "problem"

    def test_without_a_token(self, dpki: Run, admin: Admin, tmp_path: Path) -> None:
        admin.write(replace(admin.config, token=TokenConfig(pin="prompt")))
        found = self.examine(dpki, admin)
        assert found["token"]["level"] == "warning"
        assert "weaker" in found["token"]["said"]

    def test_the_token_of_the_ipfs_nodes(self, dpki: Run, admin: Admin, tmp_path: Path) -> None:
        bearer = tmp_path / "bearer"

        class Node(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                known = self.headers["Authorization"] == "Bearer right"
                body = b'{"Version": "0.39.0"}' if known else b"Unauthorized"
                self.send_response(200 if known else 403)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Node) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            store = replace(
                admin.config.store,
                ipfs=(f"/ip4/127.0.0.1/tcp/{server.server_port}",),
                ipfs_token=f"file:{bearer}",
            )
            admin.write(replace(admin.config, store=store))
            missing = self.examine(dpki, admin)
            write_atomic(bearer, b"wrong")
            wrong = self.examine(dpki, admin)
            write_atomic(bearer, b"right")
            right = self.examine(dpki, admin)
            bearer.chmod(0o644)
            open_ = self.examine(dpki, admin)
            server.shutdown()
        source = "source of the IPFS nodes' token"
        assert [one[source]["level"] for one in (missing, wrong, right, open_)] == [
            *("problem", "ok", "ok", "problem")
        ]
        assert [one["IPFS node"]["level"] for one in (missing, wrong, right, open_)] == [
            *("problem", "problem", "ok", "problem")
        ]
        assert open_[source]["mend"] == f"chmod 0600 {bearer}"
        assert "ipfs_token" in wrong["IPFS node"]["mend"]
        assert "wrong" not in str(wrong["IPFS node"]["said"])
