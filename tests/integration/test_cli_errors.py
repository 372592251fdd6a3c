"""Bad input from the first day: one clear message, the right exit status, and nothing changed.

Real Anvil, SoftHSM and Kubo, and the real command line. Every test takes everything that could have
changed before and after: the chain's height, every file, the journal's rows, the token's keys.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dpki.chain.connect import connect
from dpki.config.admin import AdminConfig, StoreConfig
from dpki.config.device import load_device_config, save_device_config
from dpki.devices.keys import load_device_keys
from dpki.devnet.anvil import Anvil
from dpki.devnet.kubo import Kubo
from dpki.issuance.database import Database
from dpki.issuance.index import Index
from dpki.issuance.plan import Recipient
from dpki.issuance.registration import load_issuer_key
from dpki.issuance.sealing import Signed, seal_batch
from dpki.model import Address, Hash32
from dpki.signer.pkcs11 import list_keys, open_signer
from dpki.store.kubo import KuboStore
from dpki.transactions.wallet import create_keystore, load_wallet
from dpki.transactions.writer import DomainWriter
from tests.admins import (
    MODULE,
    PASSPHRASE,
    Admin,
    Result,
    Run,
    make_admin,
    runner,
    state_of,
    with_domain,
)
from tests.hostile_server import hostile_server, say, whole
from tests.soft_tokens import SoftHsmFolder, SoftToken


@dataclass
class World:
    """A domain with two CAs, two devices and an engineer, to do wrong in."""

    directory: Path
    anvil: Anvil
    token: SoftToken
    admin: Admin
    domain: str = ""

    @property
    def key(self) -> Path:
        return self.directory / "alice.pub"

    @property
    def certificate(self) -> Path:
        return self.directory / "alice-cert.pub"

    def device(self, name: str) -> Path:
        return self.directory / name

    def keys_in_token(self) -> int:
        return len(list_keys(self.token.uri(), self.token.ask, MODULE))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


def done(result: Result) -> dict[str, object]:
    assert result.status == 0, result.err
    return result.document


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    softhsm: SoftHsmFolder,
    kubo_nodes: tuple[Kubo, Kubo],
) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("world")
    with Anvil(tmp_path_factory.mktemp("logs")) as anvil:
        token = softhsm.token()
        yield World(directory, anvil, token, make_admin(directory, anvil, kubo_nodes, token))


@pytest.fixture
def dpki(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def ready(world: World, dpki: Run) -> World:
    """The world after everything went well once; made by the first test that needs it."""
    if world.domain:
        return world
    home = world.admin.option
    domain = str(done(dpki("deploy", *home))["domain"])
    done(dpki("ca", "create", "users", "--kind", "ssh-user", *home))
    done(dpki("ca", "create", "hosts", "--kind", "ssh-host", "--key-type", "ed25519", *home))
    for name in ("gate-1", "gate-2", "gate-3"):
        make_device(world, dpki, domain, name)
        request = world.device(name) / "enroll.request"
        done(dpki("device", "enroll", request, "--name", name, *home))
    done(dpki("device", "retire", "gate-3", "--yes", *home))
    host = ("--device", "gate-1", "--hostname", "gate-1.example")
    done(dpki("ssh", "issue", "--ca", "hosts", *host, *home))
    key = world.directory / "alice"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    done(dpki(*issue_user(world), *home))
    world.domain = domain
    return world


def make_device(world: World, dpki: Run, domain: str, name: str) -> None:
    folder = world.device(name)
    folder.mkdir(mode=0o700)
    key = folder / "plain-host-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    drop_in = folder / "10-dpki.conf"
    (folder / "sshd_config").write_text(f"Include {drop_in}\nHostKey {key}\nUsePAM no\n")
    done(
        dpki(
            *("device", "init", "--dir", folder, "--domain", domain, "--rpc", world.anvil.url),
            *("--gateway", world.admin.config.store.gateways[0], "--console-access"),
            *("--sshd-dir", folder / "sshd", "--sshd-config", folder / "sshd_config"),
            *("--drop-in", drop_in, "--reload", ""),
        )
    )


def issue_user(world: World, *, principal: str = "ops") -> list[str | Path]:
    return [
        *("ssh", "issue", "--ca", "users", "--key", world.key, "--identity", "alice"),
        *("--principal", principal),
    ]


@contextmanager
def unchanged(world: World, *more: Path) -> Iterator[None]:
    """Assert that the block changes nothing: chain, files, journals, token."""
    before = state_of(world.anvil, world.directory, *more), world.keys_in_token()
    yield
    assert (state_of(world.anvil, world.directory, *more), world.keys_in_token()) == before


def refused(result: Result, status: int, message: str) -> str:
    """Assert one clear error, told the same way in words and as a document; return its hint."""
    assert result.status == status, result.err
    assert message in result.message
    error = result.document["error"]
    assert error["message"] == result.message
    assert error["exit_status"] == status
    assert "Traceback" not in result.err
    assert PASSPHRASE not in result.out + result.err
    return str(error["hint"])


class TestToken:
    def test_wrong_pin(self, ready: World, dpki: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WRONG_PIN", "00001111")
        for words in (issue_user(ready), ["ca", "create", "new", "--kind", "ssh-user"]):
            with unchanged(ready):
                result = dpki(*words, "--pin", "env:WRONG_PIN", *ready.admin.option)
            refused(result, 4, "PIN")
            assert "00001111" not in result.out + result.err

    def test_a_pin_given_itself(self, ready: World, dpki: Run) -> None:
        with unchanged(ready):
            result = dpki(*issue_user(ready), "--pin", ready.token.pin, *ready.admin.option)
        assert "env:NAME" in refused(result, 2, "never itself")
        assert ready.token.pin not in result.out + result.err

    def test_no_token(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        label = f"none-{secrets.token_hex(4)}"
        twin = ready.admin.copy(
            tmp_path / "home", lambda c: replace(c, token=replace(c.token, label=label))
        )
        for words in (issue_user(ready), ["ca", "create", "new", "--kind", "ssh-user"]):
            with unchanged(ready, tmp_path):
                refused(dpki(*words, *twin.option), 1, label)

    def test_no_module(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        library = tmp_path / "libnone.so"
        twin = ready.admin.copy(
            tmp_path / "home", lambda c: replace(c, token=replace(c.token, module=library))
        )
        with unchanged(ready, tmp_path):
            refused(dpki(*issue_user(ready), *twin.option), 1, "libnone.so")

    def test_two_keys_of_one_label(self, ready: World, dpki: Run, softhsm: SoftHsmFolder) -> None:
        for number in ("01", "02"):
            import_key(softhsm, ready.token, "twins", number)
        with unchanged(ready):
            result = dpki("ca", "create", "twins", "--kind", "ssh-user", *ready.admin.option)
        refused(result, 1, "twins")
        assert result.document["error"]["type"] == "AmbiguousKey"

    def test_a_name_that_is_taken(self, ready: World, dpki: Run) -> None:
        with unchanged(ready):
            result = dpki("ca", "create", "users", "--kind", "ssh-user", *ready.admin.option)
        refused(result, 2, "there is a CA named users already")


class TestWallet:
    def test_wrong_passphrase(
        self, ready: World, dpki: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WRONG", "incorrect horse")
        with unchanged(ready):
            result = dpki(*issue_user(ready), "--passphrase", "env:WRONG", *ready.admin.option)
        refused(result, 4, "passphrase does not open")
        assert "incorrect horse" not in result.out + result.err

    def test_an_account_without_the_role(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        stranger = ready.admin.with_account(tmp_path / "home", 5)
        address = Address.parse("0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc")
        with unchanged(ready, tmp_path):
            created = dpki("ca", "create", "new", "--kind", "ssh-user", *stranger.option)
            issued = dpki(*issue_user(ready), *stranger.option)
            revoked = dpki("ssh", "revoke", "--certificate", ready.certificate, *stranger.option)
            retired = dpki("device", "retire", "gate-1", "--yes", *stranger.option)
        refused(created, 4, f"AuthorityRegistryUnauthorized(caller={address})")
        refused(issued, 4, f"{address} is not the CA's operator")
        refused(revoked, 4, f"CertificateRegistryUnauthorized(caller={address})")
        refused(retired, 4, f"DeviceRegistryUnauthorized(caller={address})")


class TestChain:
    def test_endpoint_down(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        url = nowhere()
        twin = ready.admin.copy(
            tmp_path / "home", lambda c: replace(c, chain=replace(c.chain, rpc=(url,)))
        )
        public = ("--domain", ready.domain, "--rpc", url)
        with unchanged(ready, tmp_path):
            results = [
                dpki(*issue_user(ready), *twin.option),
                dpki("ca", "list", *twin.option),
                dpki(
                    "ssh", "known-hosts", *public, "--out", tmp_path / "a", "--krl", tmp_path / "b"
                ),
                dpki("device", "init", "--dir", tmp_path / "device", *public, "--console-access"),
            ]
            verified = dpki("verify", ready.certificate, *public)
        for result in results:
            refused(result, 5, url.removeprefix("http://"))
        assert (verified.status, verified.document["verdict"]) == (5, "could not check")

    def test_deploying_where_nobody_answers(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        url = nowhere()
        twin = ready.admin.copy(
            tmp_path / "home",
            lambda c: replace(c, domain=None, chain=replace(c.chain, rpc=(url,))),
        )
        with unchanged(ready, tmp_path):
            refused(dpki("deploy", *twin.option), 5, url)

    def test_wrong_chain_id(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        twin = ready.admin.copy(
            tmp_path / "home",
            lambda c: with_domain(replace(c, chain=replace(c.chain, chain_id=1135)), chain_id=1135),
        )
        other = ready.domain.replace("eip155:31337:", "eip155:1135:")
        words = "serves chain 31337, and the trust domain is on chain 1135"
        # Without its proof beside it, which names the true domain.
        lonely = tmp_path / "lonely-cert.pub"
        lonely.write_bytes(ready.certificate.read_bytes())
        with unchanged(ready, tmp_path):
            issued = dpki(*issue_user(ready), *twin.option)
            verified = dpki("verify", lonely, "--domain", other, "--rpc", ready.anvil.url)
        refused(issued, 3, words)
        refused(verified, 3, words)

    def test_no_contract_at_the_address(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        nothing = Address(b"\x12" * 20)
        twin = ready.admin.copy(tmp_path / "home", lambda c: with_domain(c, address=nothing))
        journal = twin.home.journal
        journal.unlink()
        with unchanged(ready, tmp_path):
            refused(dpki(*issue_user(ready), *twin.option), 5, f"created at {nothing}")

    def test_another_block(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        block = Hash32(b"\x34" * 32)
        twin = ready.admin.copy(tmp_path / "home", lambda c: with_domain(c, block_hash=block))
        with unchanged(ready, tmp_path):
            refused(dpki(*issue_user(ready), *twin.option), 5, f"does not show block {block}")

    def test_a_refusal_of_the_contract_by_name_and_value(self, ready: World, dpki: Run) -> None:
        keys = load_device_keys(ready.device("gate-3") / "keys")
        with unchanged(ready):
            result = dpki("device", "retire", "gate-3", "--yes", *ready.admin.option)
        message = f"the contract refused: DeviceRegistryNotActive(device={keys.address}, state="
        refused(result, 1, message)

    def test_an_empty_account(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        from dpki.transactions.wallet import Wallet, create_keystore

        twin = ready.admin.copy(tmp_path / "home", lambda c: replace(c, domain=None))
        twin.home.keystore.unlink()
        poor = create_keystore(
            twin.home.keystore, lambda _: PASSPHRASE, wallet=Wallet.create(), work=2**4
        )
        with unchanged(ready, tmp_path):
            refused(dpki("deploy", *twin.option), 1, str(poor.address))

    def test_a_second_domain_in_one_home(self, ready: World, dpki: Run) -> None:
        with unchanged(ready):
            refused(dpki("deploy", *ready.admin.option), 2, "already names the domain")


class TestIpfs:
    def issue_host(self, dpki: Run, admin: Admin) -> Result:
        host = ("--device", "gate-1", "--hostname", "gate-1.example")
        return dpki("ssh", "issue", "--ca", "hosts", *host, *admin.option)

    def test_node_down(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        down = f"/ip4/127.0.0.1/tcp/{free_port()}"
        gateways = ready.admin.config.store.gateways
        twin = ready.admin.copy(
            tmp_path / "home", lambda c: replace(c, store=StoreConfig((down,), gateways))
        )
        with unchanged(ready, tmp_path):
            result = self.issue_host(dpki, twin)
        assert "nothing was signed" in refused(result, 1, "nobody answers there")

    def test_nowhere_to_read_back_from(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        node = ready.admin.config.store.ipfs
        twin = ready.admin.copy(tmp_path / "home", lambda c: replace(c, store=StoreConfig(node)))
        with unchanged(ready, tmp_path):
            refused(self.issue_host(dpki, twin), 2, "no source to read back from")

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (whole(b"no such block", status="404 Not Found"), "answers 404"),
            (whole(b"other bytes"), "are not bafkrei"),
        ],
        ids=["missing", "of another hash"],
    )
    def test_content_missing_or_of_another_hash(
        self, ready: World, dpki: Run, answer: bytes, reason: str
    ) -> None:
        device = ready.device("gate-1")
        agent = ("agent", "once", "--dir", device)
        done(dpki(*agent))
        honest = dpki(*agent)  # the second run removes what the first one superseded
        done(honest)
        true = load_device_config(device)
        done(self.issue_host(dpki, ready.admin))
        installed = installed_on(ready, "gate-1")
        with hostile_server(say(answer)) as gateway:
            save_device_config(device, replace(true, gateways=(gateway.url,)))
            result = dpki(*agent)
            save_device_config(device, true)
        assert result.status == 5
        assert any(reason in problem for problem in result.document["problems"])
        assert result.document["host_serial"] == honest.document["host_serial"]
        assert installed_on(ready, "gate-1") == installed


class TestDevices:
    @pytest.mark.parametrize("place", [0.02, 0.3, 0.5, 0.7, 0.9, 0.97, 0.999])
    def test_an_altered_enrolment_request(
        self, ready: World, dpki: Run, tmp_path: Path, place: float
    ) -> None:
        data = bytearray((ready.device("gate-2") / "enroll.request").read_bytes())
        data[int(len(data) * place)] ^= 1
        altered = tmp_path / "altered.request"
        altered.write_bytes(data)
        with unchanged(ready):
            result = dpki("device", "enroll", altered, "--name", "x", *ready.admin.option)
        assert result.status == 3
        assert result.document["error"]["type"] in (
            "SignatureInvalid",
            "MalformedInput",
            "WrongDomain",
        )

    def test_a_cut_request(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        data = (ready.device("gate-2") / "enroll.request").read_bytes()
        for length in (0, 1, len(data) - 1):
            (tmp_path / "cut").write_bytes(data[:length])
            with unchanged(ready):
                result = dpki(
                    "device", "enroll", tmp_path / "cut", "--name", "x", *ready.admin.option
                )
            assert result.document["error"]["type"] == "MalformedInput"
            assert result.status == 3

    def test_a_name_that_is_taken(self, ready: World, dpki: Run) -> None:
        request = ready.device("gate-2") / "enroll.request"
        with unchanged(ready):
            result = dpki("device", "enroll", request, "--name", "gate-1", *ready.admin.option)
        refused(result, 2, "the name gate-1 already stands for")

    def test_enrolling_again_changes_nothing_and_is_no_error(self, ready: World, dpki: Run) -> None:
        request = ready.device("gate-2") / "enroll.request"
        with unchanged(ready):
            result = dpki("device", "enroll", request, "--name", "gate-2", *ready.admin.option)
        assert done(result)["transaction"] is None

    def test_a_retired_device_does_not_come_back(self, ready: World, dpki: Run) -> None:
        request = ready.device("gate-3") / "enroll.request"
        with unchanged(ready):
            result = dpki("device", "enroll", request, "--name", "gate-3", *ready.admin.option)
        refused(result, 3, "retired, for ever")

    def test_a_certificate_for_a_retired_device(self, ready: World, dpki: Run) -> None:
        host = ("--device", "gate-3", "--hostname", "gate-3.example")
        with unchanged(ready):
            result = dpki("ssh", "issue", "--ca", "hosts", *host, *ready.admin.option)
        refused(result, 3, "device gate-3")

    def test_retiring_without_saying_yes(self, ready: World, dpki: Run) -> None:
        with unchanged(ready):
            result = dpki("device", "retire", "gate-1", *ready.admin.option)
        assert "--yes" in refused(result, 2, "for ever")

    def test_a_bundle_for_another_device(
        self, ready: World, dpki: Run, softhsm: SoftHsmFolder
    ) -> None:
        anchor_a_bundle_sealed_for_another(ready, "gate-2", sealed_for="gate-1")
        before = installed_on(ready, "gate-2")
        result = dpki("agent", "once", "--dir", ready.device("gate-2"))
        assert result.status == 5
        (problem,) = result.document["problems"]
        assert "keys do not open the bundle" in problem
        assert result.document["host_serial"] is None
        assert "host" not in " ".join(installed_on(ready, "gate-2").keys() - before.keys())


class TestPrincipals:
    @pytest.mark.parametrize(
        "principal", ["", "ops,root", "*", "op?", "ops root", "ops\n", "ops\x00", "ö", "a" * 129]
    )
    def test_at_every_door(self, ready: World, dpki: Run, tmp_path: Path, principal: str) -> None:
        host = ("--device", "gate-1", "--hostname", principal)
        ca = "0x" + "11" * 32
        public = ("--domain", ready.domain, "--rpc", ready.anvil.url, "--console-access")
        device = ("--dir", tmp_path / "device", "--allow", f"root={ca}/{principal}")
        with unchanged(ready, tmp_path):
            results = [
                dpki(*issue_user(ready, principal=principal), *ready.admin.option),
                dpki("ssh", "issue", "--ca", "hosts", *host, *ready.admin.option),
                dpki("device", "init", *device, *public),
            ]
        for result in results:
            refused(result, 2, "is not a principal")
            assert result.document["error"]["type"] == "InvalidPrincipal"

    def test_none_at_all(self, ready: World, dpki: Run) -> None:
        key = ("--key", ready.key, "--identity", "alice")
        with unchanged(ready):
            result = dpki("ssh", "issue", "--ca", "users", *key, *ready.admin.option)
        refused(result, 2, "without principals")


class TestCertificates:
    def test_no_public_key(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        for content in ("", "ssh-ed25519 AAAA", ready.certificate.read_text()):
            (tmp_path / "x.pub").write_text(content)
            words = ("--key", tmp_path / "x.pub", "--identity", "a", "--principal", "ops")
            with unchanged(ready, tmp_path):
                result = dpki("ssh", "issue", "--ca", "users", *words, *ready.admin.option)
            assert result.status == 2, result.err

    def test_a_private_key_for_a_public_one_is_not_repeated(self, ready: World, dpki: Run) -> None:
        key = ready.directory / "alice"
        words = ("--key", key, "--identity", "a", "--principal", "ops")
        with unchanged(ready):
            result = dpki("ssh", "issue", "--ca", "users", *words, *ready.admin.option)
        assert result.status == 2
        assert key.read_text().splitlines()[2] not in result.out + result.err

    def test_nowhere_to_write_it_to(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        out = ("--out", tmp_path / "none" / "x-cert.pub")
        with unchanged(ready, tmp_path):
            result = dpki(*issue_user(ready), *out, *ready.admin.option)
        refused(result, 2, "there is no folder")

    def test_unknown_names(self, ready: World, dpki: Run) -> None:
        host = ("--hostname", "x.example")
        with unchanged(ready):
            results = [
                dpki("ssh", "issue", "--ca", "hosts", "--device", "x", *host, *ready.admin.option),
                dpki("ssh", "issue", "--ca", "x", "--device", "gate-1", *host, *ready.admin.option),
                dpki("ca", "show", "x", *ready.admin.option),
                dpki("ssh", "list", "--ca", "x", *ready.admin.option),
            ]
        for result in results:
            refused(result, 2, "named 'x'")

    @pytest.mark.parametrize("lifetime", ["", "8", "0h", "1y", "-1h"])
    def test_no_duration(self, ready: World, dpki: Run, lifetime: str) -> None:
        with unchanged(ready):
            result = dpki(*issue_user(ready), f"--for={lifetime}", *ready.admin.option)
        refused(result, 2, "is not a duration")

    def test_revoking_what_was_never_issued(self, ready: World, dpki: Run) -> None:
        serial = ("--ca", "users", "--serial", "4711")
        with unchanged(ready):
            result = dpki("ssh", "revoke", *serial, *ready.admin.option)
        refused(result, 2, "serial 4711 was never issued")

    def test_dry_runs_change_nothing(self, ready: World, dpki: Run) -> None:
        host = ("--device", "gate-1", "--hostname", "gate-1.example")
        make_device(ready, dpki, ready.domain, "gate-4")
        request = ready.device("gate-4") / "enroll.request"
        update = ready.device("gate-2") / "update.request"
        done(dpki("device", "rekey", "--dir", ready.device("gate-2"), "--out", update))
        commands = [
            issue_user(ready),
            ["ssh", "issue", "--ca", "hosts", *host],
            ["ssh", "rotate", "--device", "gate-1", "--ca", "hosts", "--revoke-old"],
            ["ssh", "revoke", "--certificate", ready.certificate],
            ["ca", "create", "new", "--kind", "ssh-user"],
            ["device", "enroll", request, "--name", "gate-4"],
            ["device", "update", update],
            ["device", "retire", "gate-2"],
        ]
        for words in commands:
            with unchanged(ready):
                document = done(dpki(*words, "--dry-run", *ready.admin.option))
            assert isinstance(document["gas"], int)
            assert document["gas"] > 21_000
            assert document["dry_run"] is True

    def test_a_dry_run_of_what_is_done_already_costs_nothing(self, ready: World, dpki: Run) -> None:
        request = ready.device("gate-1") / "enroll.request"
        words = ("device", "enroll", request, "--name", "gate-1")
        with unchanged(ready):
            document = done(dpki(*words, "--dry-run", *ready.admin.option))
        assert document["gas"] == 0

    def test_a_dry_run_is_refused_like_the_real_one(self, ready: World, dpki: Run) -> None:
        words = ("device", "retire", "gate-3", "--dry-run")
        with unchanged(ready):
            result = dpki(*words, *ready.admin.option)
        refused(result, 1, "DeviceRegistryNotActive")
        assert "dpki explain DeviceRegistryNotActive" in result.err


class TestDoctor:
    def examined(self, result: Result) -> dict[str, dict[str, str]]:
        """Return what is not well, by part."""
        findings = result.document["findings"]
        return {found["part"]: found for found in findings if found["level"] != "ok"}

    def test_all_is_well(self, ready: World, dpki: Run) -> None:
        with unchanged(ready):
            result = dpki("doctor", *ready.admin.option)
        assert self.examined(result) == {}
        assert result.status == 0
        parts = {found["part"] for found in result.document["findings"]}
        assert {"wallet", "token", "key of users", "key of hosts", "IPFS node", "gateway"} <= parts
        assert {"endpoint", "clock", "journal", "issuer's key"} <= parts

    @pytest.mark.parametrize(
        ("change", "part", "level", "status"),
        [
            ("endpoint", "endpoint", "could not check", 5),
            ("gateway", "gateway", "could not check", 5),
            ("node", "IPFS node", "problem", 3),
            ("module", "token", "problem", 3),
            ("token", "token", "problem", 3),
            ("pin", "key of hosts", "problem", 3),
            ("domain", "endpoint", "could not check", 3),
            ("wallet", "wallet", "problem", 3),
            ("poor", "wallet", "problem", 3),
            ("mode", "wallet's file", "problem", 3),
        ],
    )
    def test_each_broken_part_is_found_with_what_mends_it(
        self,
        ready: World,
        dpki: Run,
        tmp_path: Path,
        change: str,
        part: str,
        level: str,
        status: int,
    ) -> None:
        (tmp_path / "pin").write_text("00001111")
        (tmp_path / "pin").chmod(0o600)
        changes: dict[str, Callable[[AdminConfig], AdminConfig]] = {
            "endpoint": lambda c: replace(c, chain=replace(c.chain, rpc=(nowhere(),))),
            "gateway": lambda c: replace(c, store=replace(c.store, gateways=(nowhere(),))),
            "node": lambda c: replace(
                c, store=replace(c.store, ipfs=(f"/ip4/127.0.0.1/tcp/{free_port()}",))
            ),
            "module": lambda c: replace(c, token=replace(c.token, module=tmp_path / "no.so")),
            "token": lambda c: replace(c, token=replace(c.token, label="none-such")),
            "pin": lambda c: replace(c, token=replace(c.token, pin=f"file:{tmp_path / 'pin'}")),
            "domain": lambda c: with_domain(c, block_hash=Hash32(b"\x01" * 32)),
        }
        twin = ready.admin.copy(tmp_path / "home", changes.get(change, lambda c: c))
        keystore = twin.home.keystore
        if change in ("wallet", "poor"):
            keystore.unlink()
        if change == "poor":
            create_keystore(keystore, lambda _: PASSPHRASE, work=2**4)
        if change == "mode":
            keystore.chmod(0o644)
        with unchanged(ready):
            result = dpki("doctor", *twin.option)
        found = self.examined(result)[part]
        assert (found["level"], result.status) == (level, status), result.err
        assert found["mend"]
        assert "00001111" not in result.out + result.err

    def test_a_wrong_pin_is_tried_once(self, ready: World, dpki: Run, tmp_path: Path) -> None:
        counter = tmp_path / "asked"
        script = tmp_path / "pin"
        script.write_text(f"#!/bin/sh\necho x >> {counter}\necho 00001111\n")
        script.chmod(0o700)
        result = dpki("doctor", "--pin", f"command:{script}", *ready.admin.option)
        assert result.status == 3
        keys = [f["level"] for p, f in self.examined(result).items() if p.startswith("key of")]
        assert keys == ["problem", "warning"]
        assert counter.read_text() == "x\n"


class TestInit:
    def test_never_over_an_existing_home(self, ready: World, dpki: Run) -> None:
        chain = ("--rpc", ready.anvil.url, "--chain-id", "31337")
        token = ("--module", MODULE, "--token", ready.token.label)
        with unchanged(ready):
            result = dpki("init", *chain, *token, *ready.admin.option)
        refused(result, 2, "exists already")

    @pytest.mark.parametrize(
        ("words", "status", "message"),
        [
            ([], 2, "which chain?"),
            (["--chain", "nonsense"], 2, "no chain is called 'nonsense'"),
            (["--devnet", "/nonexistent"], 2, "no devnet runs"),
            (["--rpc", "RPC", "--chain-id", "1", "--passphrase", "hunter2"], 2, "never itself"),
            (["--rpc", "RPC", "--chain-id", "1"], 3, "serves chain 31337"),
            (["--rpc", "http://127.0.0.1:1", "--chain-id", "1"], 5, "127.0.0.1:1"),
            (["--rpc", "RPC", "--chain-id", "31337", "--token", "a;b"], 2, "token label"),
            (["--rpc", "RPC", "--chain-id", "31337", "--ipfs", "x"], 2, "Kubo RPC port"),
            (["--rpc", "RPC", "--chain-id", "31337", "--copies", "3"], 2, "3 copies"),
            (["--rpc", "RPC", "--chain-id", "31337", "--module", "/x.so"], 2, "PKCS#11 library"),
        ],
    )
    def test_nothing_is_written_when_something_is_wrong(
        self,
        ready: World,
        dpki: Run,
        tmp_path: Path,
        words: list[str],
        status: int,
        message: str,
    ) -> None:
        token = [] if "--devnet" in words else ["--module", str(MODULE), "--token", "acme"]
        given = [ready.anvil.url if word == "RPC" else word for word in words]
        home = ("--home", tmp_path / "home")
        result = dpki("init", *token, *given, *home)
        refused(result, status, message)
        assert "hunter2" not in result.out + result.err
        assert not (tmp_path / "home").exists()


def import_key(softhsm: SoftHsmFolder, token: SoftToken, label: str, number: str) -> None:
    """Put a key into a token with SoftHSM's own tool, which does not mind labels that repeat."""
    key = softhsm.directory / f"{label}-{number}.pem"
    environment = {"SOFTHSM2_CONF": str(softhsm.configuration), "PATH": "/usr/bin:/bin"}
    make = f"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {key}"
    put = f"softhsm2-util --import {key} --token {token.label} --label {label} --id {number}"
    for command in (make, f"{put} --pin {token.pin}"):
        subprocess.run(command.split(), check=True, capture_output=True, env=environment)


def installed_on(world: World, name: str) -> dict[str, bytes]:
    """Return what sshd reads on a device, but for what bears the block that it was made from."""
    folder = world.device(name)
    files = [folder / "10-dpki.conf", *(folder / "sshd").rglob("*")]
    return {
        str(file): file.read_bytes()
        for file in files
        if file.is_file() and file.name not in ("login.db", "revoked.krl")
    }


def anchor_a_bundle_sealed_for_another(world: World, name: str, *, sealed_for: str) -> None:
    """Do what a careless issuer might: send a device what only another one can open."""
    config, home = world.admin.config, world.admin.home
    wallet = load_wallet(home.keystore, lambda _: PASSPHRASE)
    with (
        connect(config.chain.rpc, config.require_domain()) as (reader, domain),
        Database(home.journal, domain.id) as database,
        open_signer(world.token.uri("hosts"), world.token.ask, MODULE) as signer,
    ):
        index = Index(database)
        victim, other = index.find_device(name), index.find_device(sealed_for)
        ca = index.find_authority("hosts")
        writer = DomainWriter(reader, domain, wallet)
        from dpki.chain.snapshot import fetch_snapshot
        from dpki.issuance.authority import sign_batch
        from dpki.issuance.plan import CertificateRequest, plan_batch

        request = CertificateRequest(
            subject=name,
            principals=(f"{name}.example",),
            until=datetime.now(UTC) + timedelta(hours=1),
            public_key=victim.document.ssh_host[-1],
            # x25519 of the right device, so that the locator leads there
            recipient=Recipient(victim.address, other.document.sealing),
        )
        snapshot = fetch_snapshot(reader, domain, devices=[victim.address])
        plan = plan_batch(snapshot, ca, [request], operator=wallet.address, now=datetime.now(UTC))
        (certificate,) = sign_batch(signer, plan, lambda _: None)
        issuer_key = load_issuer_key(home.issuer_key("hosts"))
        (sealed,) = seal_batch(
            domain, ca, issuer_key, [Signed(certificate, request.recipient)], lambda _: None
        )
        assert sealed.bundle is not None
        from dpki.bundle.locator import locator_for

        store = KuboStore(config.store.ipfs[0])
        digest = store.put(sealed.bundle)
        store.close()
        locator = locator_for(
            issuer_key,
            victim.document.sealing.x25519,
            ca,
            victim.address,
            certificate.hash,
            digest,
        )
        writer.issue(ca, plan.first_serial, [replace(sealed.entry, locator=locator)])
