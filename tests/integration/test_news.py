"""Acknowledgements and doorbells, end to end: an agent, a broker with TLS, an admin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.bundle.seal import SealingSecrets
from dpki.chain.domain import fetch_domain
from dpki.cli.app import run
from dpki.config.admin import AdminConfig, Home, create_admin_config
from dpki.config.device import DomainConfig
from dpki.config.following import Following
from dpki.config.news import Acknowledge, News, parse_reader
from dpki.devices.acknowledgement import opening_of, verify_acknowledgement
from dpki.devices.document import make_key_document
from dpki.devnet.accounts import development_wallet
from dpki.issuance.database import Database
from dpki.issuance.index import Index
from dpki.transactions.deploy import deploy_domain
from dpki.transactions.writer import DomainWriter
from dpki.transport.base import Kind
from dpki.transport.directory import DirectoryTransport
from tests.admins import Run, runner
from tests.agents import Site, open_site
from tests.brokers import Mosquitto
from tests.chain_world import ChainWorld, open_world
from tests.ssh_outbox import Host
from tests.unit.config.test_admin import CONFIG

SLOW = Following(interval=timedelta(hours=1))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainWorld]:
    with open_world(tmp_path_factory.mktemp("world")) as world:
        world.anchor_users(world.sign_user())
        world.issue_host()
        yield world


@pytest.fixture
def site(world: ChainWorld) -> Iterator[Site]:
    with open_site(world, following=SLOW, subscribe=()) as site:
        yield site


@pytest.fixture
def home(
    tmp_path: Path, world: ChainWorld, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> Home:
    home = Home(tmp_path / "home")
    monkeypatch.setenv("DPKI_HOME", str(home.directory))
    config: AdminConfig = replace(
        CONFIG,
        chain=replace(CONFIG.chain, chain_id=world.domain.id.chain_id, rpc=(world.reader.name,)),
        domain=world.domain.id,
        broker=mosquitto.under("news"),
    )
    create_admin_config(home, config)
    with Database(home.journal, world.domain.id) as database:
        Index(database).add_device("gate-1", world.keys.address, make_key_document(world.keys))
    return home


@pytest.fixture
def dpki(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_an_agent_says_what_it_installed_and_hears_the_bell(
    world: ChainWorld, site: Site, home: Home, mosquitto: Mosquitto, dpki: Run
) -> None:
    reader = parse_reader(dpki("device", "collect-key").document["key"])
    broker = mosquitto.under("news")
    site.configure(broker=broker, news=News(Acknowledge("broker", reader), doorbell=True))
    agent = site.start()
    agent.wait_for("subscription", does="listening for the doorbell")
    agent.wait_for("acknowledged")
    said: list[dict[str, object]] = []
    while not said or not said[-1]["certificates"]:
        # Its first look comes before it has fetched any bundle, and is acknowledged, too.
        said += dpki("device", "collect").document["taken"]
    taken = said[-1]
    assert (taken["name"], taken["mode"]) == ("gate-1", "strict")
    newest = world.hosts.next_serial - 1
    assert taken["certificates"] == [
        {"ca": str(world.hosts.id), "serial": newest, "stage": "installed"}
    ]
    again = dpki("device", "collect").document
    assert (again["taken"], again["known"]) == ([], 1)
    # Nothing comes of polling, and nothing of subscriptions: only of the bell.
    world.anchor_users(world.sign_user())
    assert dpki("device", "ring", "gate-1").document["devices"] == ["gate-1"]
    agent.wait_for("installed", changed="login.db")
    _, report, _ = site.call("status")
    assert report["acknowledgement"]["to"] == "broker"
    assert report["acknowledgement"]["left"] is not None
    assert agent.end() == 0
    # The password is in nobody's words, arguments and files (claim T10).
    assert mosquitto.password not in str(agent.seen) + agent.errors() + mosquitto.log.read_text()


def test_through_a_folder_that_is_looked_at_by_ssh(
    world: ChainWorld, site: Site, home: Home, ssh_host: Host, tmp_path: Path, dpki: Run
) -> None:
    reader = parse_reader(dpki("device", "collect-key").document["key"])
    outbox = tmp_path / "outbox"
    site.configure(news=News(Acknowledge(str(outbox), reader)))
    site.call("once")
    address = str(ssh_host.folder(outbox))
    known = dpki("device", "collect", address, "--ssh-config", str(ssh_host.config)).document
    assert [one["name"] for one in known["taken"]] == ["gate-1"]
    # Somebody alters it, and another place is not there: both are told, neither hides the other.
    (message,) = outbox.iterdir()
    message.write_bytes(message.read_bytes()[:-1] + b"\0")
    refused = dpki("device", "collect", str(outbox))
    assert refused.status == 3
    assert "another home, or altered" in refused.document["refused"][0]["why"]
    both = dpki("device", "collect", str(outbox), str(tmp_path / "stick"))
    assert both.status == 5
    assert len(both.document["refused"]) == len(both.document["unreachable"]) == 1


def test_each_of_two_trust_domains_is_told_what_is_its_own(
    world: ChainWorld, site: Site, tmp_path: Path
) -> None:
    wallet = development_wallet(1, chain_id=31337)
    id, _ = deploy_domain(
        world.reader, wallet, governor=wallet.address, registrars=[wallet.address]
    )
    (tmp_path / "other").mkdir()
    domain = fetch_domain(world.reader, id)
    writer = DomainWriter(world.reader, domain, wallet)
    other = ChainWorld(tmp_path / "other", world.reader, domain, writer, keys=world.keys)
    certificate = other.issue_host()
    readers = [SealingSecrets(SealingSecrets.generate().x25519, None) for _ in range(2)]
    news = [
        News(Acknowledge(str(tmp_path / f"outbox-{number}"), reader.public.x25519))
        for number, reader in enumerate(readers)
    ]
    partner = DomainConfig(
        domain=id,
        rpc=site.config.rpc,
        directories=(other.store_directory,),
        chain=site.config.chain,
        news=news[1],
    )
    site.configure(news=news[0], domains={"partner": partner})
    status, report, _ = site.call("once")
    assert status == 0, report
    said = []
    for number, (home, each) in enumerate(zip(readers, (world.domain.id, id), strict=True)):
        place = DirectoryTransport(tmp_path / f"outbox-{number}")
        (message,) = place.receive(Kind.ACKNOWLEDGEMENT, timedelta(seconds=5))
        said.append(verify_acknowledgement(message.data, home, each))
    assert [one.domain for one in said] == [world.domain.id, id]
    opening = opening_of(world.keys.address, certificate.blob)
    assert [c.opening for c in said[1].certificates] == [opening]
    assert opening not in [c.opening for c in said[0].certificates]
    _, report, words = site.call("status")
    assert sorted(report["acknowledgements"]) == ["first", "partner"]
    assert "acknowledgement to partner: number" in words


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["collect"], 2),
        (["collect", "stick", "nonsense://x"], 2),
        (["ring"], 2),
        (["ring", "nobody"], 2),
    ],
)
def test_mistakes(home: Home, words: list[str], status: int) -> None:
    assert run(["device", *words]) == status
