"""`dpki agent run`, as a process, on a real chain: it follows, it lasts, and it ends when told."""

from __future__ import annotations

import queue
import secrets
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dpki.agent.once import run_once
from dpki.chain.domain import fetch_domain
from dpki.chain.rpc import Call
from dpki.cli.device_setup import make_joining
from dpki.config.device import DomainConfig, Grant
from dpki.config.finality import Finality
from dpki.config.following import Following, Metrics
from dpki.devices.document import parse_key_document
from dpki.devices.enrollment import parse_request
from dpki.devnet.accounts import development_wallet
from dpki.errors import CouldNotCheck, UsageError
from dpki.model import Address, Entry, Hash32
from dpki.transactions.deploy import deploy_domain
from dpki.transactions.writer import DomainWriter
from scripts.stage import dpki_command
from tests.agents import PATIENCE, Site, open_site
from tests.chain_world import ChainWorld, open_world
from tests.relay import Relay, open_relay

SLOW = Following(interval=timedelta(hours=1))
"""Nothing comes of polling: what happens, a subscription brought about."""

DEAF: dict[str, object] = {"subscribe": ()}
"""Nothing comes of a subscription."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainWorld]:
    with open_world(tmp_path_factory.mktemp("world")) as world:
        world.anchor_users(world.sign_user())
        world.issue_host()
        yield world


@pytest.fixture
def site(world: ChainWorld) -> Iterator[Site]:
    with open_site(world) as site:
        yield site


@pytest.fixture
def relay(world: ChainWorld) -> Iterator[Relay]:
    with open_relay(world.reader) as relay:
        yield relay


def issue(world: ChainWorld) -> int:
    """Anchor one more user certificate, and return its serial."""
    serial = world.users.next_serial
    world.anchor_users(world.sign_user())
    return serial


def is_revoked(site: Site, world: ChainWorld, serial: int) -> bool:
    return site.krl.is_revoked(world.users.blob, serial)


def test_it_installs_follows_by_subscription_and_ends(world: ChainWorld, site: Site) -> None:
    site.configure(following=SLOW)
    agent = site.start()
    first = agent.wait_for("installed")
    assert {"revoked.krl", "login.db", "user_ca.pub", "10-dpki.conf"} <= set(first["changed"])
    agent.wait_for("state", problems=())
    serial = issue(world)
    agent.wait_for("installed", changed="login.db")
    world.writer.revoke(world.users.id, [serial])
    agent.wait_for("installed", changed="revoked.krl")
    assert is_revoked(site, world, serial)
    assert agent.end() == 0
    assert agent.wait_for("stopped")
    status, report, said = site.call("status")
    assert (status, report["mode"], report["running"]) == (0, "strict", None)
    assert report["last_run"]["accounts"] == dict.fromkeys(site.config.accounts, "strict")
    assert "running: no" in said


def test_it_follows_by_polling(world: ChainWorld, site: Site) -> None:
    site.configure(**DEAF)
    agent = site.start()
    agent.wait_for("installed")
    issue(world)
    agent.wait_for("installed", changed="login.db")


def test_what_waits_for_confirmations_is_installed_when_due(world: ChainWorld, site: Site) -> None:
    """Blocks pass, and nothing else happens: no event says that it is time."""
    site.configure(following=SLOW, chain=Finality(confirmations=3, authority_finality="latest"))
    agent = site.start()
    agent.wait_for("installed")
    issue(world)
    world.reader.call("anvil_mine", ["0x2"])
    while agent.wait_for("installed", changed="login.db")["block"] != _head(world):
        pass


def _head(world: ChainWorld) -> int:
    return int(str(world.reader.call("eth_blockNumber")), 16)


def test_a_revocation_outlasts_its_reorg(world: ChainWorld, site: Site) -> None:
    """Claim T3: removals act at once, and what a reorg takes back is not taken back here."""
    site.configure(following=SLOW)
    agent = site.start()
    agent.wait_for("installed")
    serial = issue(world)
    agent.wait_for("installed", changed="login.db")
    before = world.reader.call("evm_snapshot")
    world.writer.revoke(world.users.id, [serial])
    agent.wait_for("installed", changed="revoked.krl")
    world.reader.call("evm_revert", [before])
    assert issue(world) == serial + 1
    agent.wait_for("installed", changed="login.db")
    assert is_revoked(site, world, serial)


def test_two_at_once_and_one_that_was_killed(site: Site) -> None:
    first = site.start()
    first.wait_for("installed")
    second = site.start()
    assert second.process.wait(timeout=30) == 1
    holder = f"dpki agent run (process {first.process.pid})"
    assert f"{holder} is at work" in second.errors()
    status, document, _ = site.call("once")
    assert status == 1
    assert holder in str(document["error"])
    assert site.call("status")[1]["running"] == holder
    first.end(signal.SIGKILL)
    third = site.start()
    third.wait_for("state", problems=())
    assert third.end() == 0


class TestConfiguration:
    def test_an_error_keeps_the_old_one_and_is_told(self, world: ChainWorld, site: Site) -> None:
        agent = site.start()
        agent.wait_for("installed")
        good = (site.folder / "device.toml").read_text()
        (site.folder / "device.toml").write_text("version = 1\ntypo")
        agent.tell(signal.SIGHUP)
        assert "device.toml" in agent.wait_for("configuration refused")["reason"]
        agent.wait_for("state", problems="the earlier one is")
        serial = issue(world)
        world.writer.revoke(world.users.id, [serial])
        agent.wait_for("installed", changed="revoked.krl")
        (site.folder / "device.toml").write_text(good)
        agent.tell(signal.SIGHUP)
        agent.wait_for("configuration read")
        agent.wait_for("state", problems=())

    def test_an_account_that_is_not_there_is_told_and_holds_up_no_removal(
        self, world: ChainWorld, site: Site
    ) -> None:
        """It reads well, and sshd would let in nobody: the drop-in stays as it is."""
        right, before = site.config.sshd, site.config.sshd.drop_in
        agent = site.start()
        agent.wait_for("state", problems=())
        text = before.read_bytes()
        site.configure(sshd=replace(right, login_user="nobody-here"))
        agent.tell(signal.SIGHUP)
        told = agent.wait_for("not installed")
        assert "there is no account nobody-here on this device" in str(told["reason"])
        serial = issue(world)
        world.writer.revoke(world.users.id, [serial])
        until = time.monotonic() + PATIENCE
        while not is_revoked(site, world, serial):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert before.read_bytes() == text
        assert "no account nobody-here" in site.call("status")[2]
        site.configure(sshd=right)
        agent.tell(signal.SIGHUP)
        agent.wait_for("state", problems=())

    def test_what_is_written_is_noticed_without_a_signal(self, site: Site) -> None:
        site.configure(following=SLOW)
        agent = site.start()
        agent.wait_for("installed")
        site.configure(accounts={})
        agent.wait_for("configuration read")
        agent.wait_for("installed", changed="login.db")


class TestFaultyEndpoint:
    """Claim T4: it delays, and delay is noticed."""

    def test_one_that_went_away_comes_back(
        self, world: ChainWorld, site: Site, relay: Relay
    ) -> None:
        site.configure(rpc=(relay.url,), **DEAF)
        agent = site.start()
        agent.wait_for("state", problems=())
        relay.is_gone = True
        agent.wait_for("state", problems="out of reach")
        serial = issue(world)
        world.writer.revoke(world.users.id, [serial])
        relay.is_gone = False
        agent.wait_for("installed", changed="revoked.krl")
        agent.wait_for("state", problems=())

    def test_a_start_without_the_chain_leaves_everything_as_it_was(
        self, site: Site, relay: Relay
    ) -> None:
        site.configure(rpc=(relay.url,), **DEAF)
        agent = site.start()
        agent.wait_for("state", problems=())
        agent.end()
        before = site.files.login_index.read_bytes(), site.files.user_authorities.read_bytes()
        relay.is_gone = True
        again = site.start()
        again.wait_for("state", problems="out of reach")
        assert again.end() == 0
        assert before[1]
        assert before[1] == site.files.user_authorities.read_bytes()

    def test_and_what_the_operator_takes_away_counts_all_the_same(
        self, site: Site, relay: Relay
    ) -> None:
        site.configure(rpc=(relay.url,), **DEAF)
        agent = site.start()
        agent.wait_for("state", problems=())
        relay.is_gone = True
        agent.wait_for("state", problems="out of reach")
        site.configure(accounts={})
        agent.tell(signal.SIGHUP)
        agent.wait_for("installed", changed="login.db")

    def test_one_that_hangs_holds_up_no_end(self, site: Site, relay: Relay) -> None:
        relay.hangs = True
        site.configure(rpc=(relay.url,), **DEAF)
        agent = site.start()
        assert relay.hung.wait(30)
        # Less than the deadline of the question that it left.
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(timeout=10) == 0

    def test_an_absurd_head_is_believed_by_nobody_for_long(
        self, world: ChainWorld, site: Site, relay: Relay
    ) -> None:
        def absurd(call: Call, answer: object) -> object:
            if call.method == "eth_getBlockByNumber" and isinstance(answer, dict):
                return answer | {"number": hex(2**62), "timestamp": hex(2**33)}
            return answer

        site.configure(rpc=(relay.url,), **DEAF)
        agent = site.start()
        agent.wait_for("state", problems=())
        relay.tell = absurd
        agent.wait_for("state", problems="out of reach")
        serial = issue(world)
        world.writer.revoke(world.users.id, [serial])
        relay.tell = lambda _, answer: answer
        agent.wait_for("installed", changed="revoked.krl")
        agent.wait_for("state", problems=())


def test_a_gateway_that_hangs_holds_up_no_removal(
    world: ChainWorld, site: Site, relay: Relay
) -> None:
    """Claim T5: the device's own certificate is fetched beside all else."""
    relay.hangs = True
    site.configure(directories=(), gateways=(relay.url,))
    agent = site.start()
    assert relay.hung.wait(30)
    agent.wait_for("state", problems="it is being fetched")
    serial = issue(world)
    world.writer.revoke(world.users.id, [serial])
    while not is_revoked(site, world, serial):
        agent.wait_for("installed", changed="revoked.krl")
    site.configure(directories=(world.store_directory,))
    agent.tell(signal.SIGHUP)
    agent.wait_for("state", problems=())


class TestSeveralDomains:
    @pytest.fixture(scope="class")
    def other(self, world: ChainWorld) -> ChainWorld:
        wallet = development_wallet(1, chain_id=31337)
        id, _ = deploy_domain(
            world.reader, wallet, governor=wallet.address, registrars=[wallet.address]
        )
        domain = fetch_domain(world.reader, id)
        folder = world.directory / "other"
        folder.mkdir()
        writer = DomainWriter(world.reader, domain, wallet)
        other = ChainWorld(folder, world.reader, domain, writer, keys=world.keys)
        other.anchor_users(other.sign_user())
        return other

    def domains(self, other: ChainWorld, relay: Relay, account: str) -> dict[str, object]:
        one = DomainConfig(
            domain=other.domain.id,
            rpc=(relay.url,),
            subscribe=(),
            directories=(other.store_directory,),
            accounts={account: (Grant(other.users.id, "ops"),)},
            chain=Finality(confirmations=1, authority_finality="latest"),
        )
        return {"domains": {"other": one}}

    def test_one_that_is_down_holds_up_no_removal_and_loses_nothing(
        self, world: ChainWorld, other: ChainWorld, site: Site, relay: Relay
    ) -> None:
        (account,) = site.config.accounts
        site.configure(**self.domains(other, relay, account))
        agent = site.start()
        agent.wait_for("state", problems=())
        both = site.files.user_authorities.read_bytes()
        assert both.count(b"\n") == 2
        relay.is_gone = True
        agent.wait_for("state", problems="other: out of reach")
        serial = issue(world)
        world.writer.revoke(world.users.id, [serial])
        agent.wait_for("installed", changed="revoked.krl")
        agent.end(signal.SIGKILL)
        again = site.start()
        again.wait_for("state", problems="other: out of reach")
        assert site.files.user_authorities.read_bytes() == both
        relay.is_gone = False
        other.writer.revoke(other.users.id, [1])
        while not site.krl.is_revoked(other.users.blob, 1):
            again.wait_for("installed", changed="revoked.krl")
        assert is_revoked(site, world, serial)
        _, status, said = site.call("status")
        assert [d["name"] for d in status["last_run"]["domains"]] == ["first", "other"]
        assert "trust domain other" in said

    def test_a_device_asks_a_further_domain_to_know_its_keys(
        self, world: ChainWorld, site: Site, relay: Relay
    ) -> None:
        wallet = development_wallet(2, chain_id=31337)
        id, _ = deploy_domain(
            world.reader, wallet, governor=wallet.address, registrars=[wallet.address]
        )
        site.configure(domains={"partner": DomainConfig(domain=id, rpc=(relay.url,))})
        file = site.directory / "partner.request"
        request = make_joining(site.folder, "partner", file)
        domain = fetch_domain(world.reader, id)
        assert parse_request(file.read_bytes()) == request
        assert (request.domain, request.device, request.nonce) == (id, world.keys.address, 0)
        writer = DomainWriter(world.reader, domain, wallet)
        document = parse_key_document(request.document).digest
        writer.enroll_device(request.device, document, request.deadline, request.signature)
        assert make_joining(site.folder, "partner", file).nonce == 1
        with pytest.raises(UsageError, match="names no domain"):
            make_joining(site.folder, "stranger", file)


class TestClock:
    """Whatever the device's clock says, time is judged by the chain's where that is later."""

    @pytest.mark.parametrize(
        ("now", "said"),
        [(datetime(1970, 1, 1, tzinfo=UTC), "behind"), (datetime(2100, 1, 1, tzinfo=UTC), "ahead")],
    )
    def test_a_jump_is_said_and_forgets_nothing(
        self, world: ChainWorld, site: Site, now: datetime, said: str
    ) -> None:
        true = run_once(site.folder)
        wrong = run_once(site.folder, now=now)
        (domain,) = wrong.domains
        assert said in domain.clock
        assert any("clock: the clock is" in line for line in wrong.lines())
        again = run_once(site.folder)
        assert again.domains[0].clock == ""
        assert again.domains[0].certificates == true.domains[0].certificates
        assert again.domains[0].host_serial == true.domains[0].host_serial


def test_once_says_that_it_could_not_check(site: Site, relay: Relay) -> None:
    relay.is_gone = True
    site.configure(rpc=(relay.url,))
    with pytest.raises(CouldNotCheck):
        run_once(site.folder)


def test_it_tells_systemd_and_prometheus(site: Site) -> None:
    textfile = site.directory / "dpki.prom"
    site.configure(metrics=Metrics(listen=("127.0.0.1", 0), textfile=textfile))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0dpki-{site.directory}")
        manager.settimeout(30)
        # As systemd does; a queue that nobody empties takes ten.
        told: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_hear, args=(manager, told), daemon=True).start()
        agent = site.start(
            NOTIFY_SOCKET=f"@dpki-{site.directory}", WATCHDOG_USEC="200000", WATCHDOG_PID=""
        )
        port = str(agent.wait_for("metrics")["are"]).split()[-1]
        agent.wait_for("state", problems=())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b'dpki_agent_domain_up{domain="first"} 1.0' in answer.read()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/etc/passwd")
        assert b"dpki_agent_looks" in textfile.read_bytes()
        agent.tell(signal.SIGHUP)
        agent.wait_for("configuration read")
        assert agent.end() == 0
        wanted = {"READY=1", "WATCHDOG=1", "STOPPING=1", "RELOADING=1"}
        while wanted:
            wanted -= set(told.get(timeout=30).splitlines())


def _hear(manager: socket.socket, told: queue.SimpleQueue[str]) -> None:
    with suppress(OSError):
        while True:
            told.put(manager.recv(4096).decode())


@pytest.mark.slow
def test_ten_thousand_events_of_others_hide_nothing(world: ChainWorld, site: Site) -> None:
    """Certificates of the same host CA for other devices, and one among them for ours."""
    agent = site.start()
    agent.wait_for("state", problems=())
    stranger = Address(b"\x77" * 20)
    until = world.now + timedelta(days=1)
    for _ in range(10):
        entries = [
            Entry(Hash32(secrets.token_bytes(32)), stranger, until, Hash32.zero())
            for _ in range(1000)
        ]
        world.writer.issue(world.hosts.id, world.hosts.next_serial, entries)
        world.hosts.next_serial += 1000
    certificate = world.issue_host()
    agent.wait_for("installed", changed=f"host-{certificate.hash.hex()[:16]}")
    world.writer.revoke(world.users.id, [1])
    while not is_revoked(site, world, 1):
        agent.wait_for("installed", changed="revoked.krl")
    agent.end(signal.SIGKILL)
    report = run_once(site.folder)
    assert report.domains[0].host_serial == certificate.serial
    assert report.all_problems == ()


def test_a_log_that_takes_nothing_ends_no_agent(world: ChainWorld, site: Site) -> None:
    """As where it is a file on a full disk."""
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen(
            [dpki_command(), "agent", "run", "--dir", str(site.folder), "--json"],
            stdout=full,
            stderr=full,
        )
    try:
        serial = issue(world)
        world.writer.revoke(world.users.id, [serial])
        until = time.monotonic() + PATIENCE
        while not (site.files.krl.exists() and is_revoked(site, world, serial)):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
