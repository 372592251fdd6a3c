"""The agent, on a real chain, keeps a device's SSH client ready; a real ssh logs in by it."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dpki.agent.client_files import ClientFiles
from dpki.agent.follow import KEYS, Follower
from dpki.agent.once import run_once
from dpki.bundle.content import Bundle
from dpki.config.outbound import Outbound
from dpki.devices.keys import generate_device_keys, load_device_keys
from dpki.devices.prekeys import add_prekeys
from scripts.stage import open_stage
from tests.agents import Site, open_site
from tests.chain_world import HOST, ChainWorld, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ChainWorld]:
    with open_world(tmp_path) as world:
        world.issue_host()
        yield world


@pytest.fixture
def site(world: ChainWorld) -> Iterator[Site]:
    with open_site(world) as site:
        site.configure(outbound=Outbound(getpass.getuser(), site.directory / "client", HOST))
        yield site


def files(site: Site) -> ClientFiles:
    return ClientFiles(site.directory / "client")


def test_from_the_first_certificate_to_the_third(world: ChainWorld, site: Site) -> None:
    report = run_once(site.folder)
    assert report.clients == ()
    assert "client certificates: none" in report.lines()
    first = world.issue_client()
    report = run_once(site.folder)
    assert report.clients == (first.serial,)
    assert report.all_problems == ()
    assert "client ssh_config" in report.changed

    # Its own sshd stands for the one elsewhere: the same accounts, the same CAs.
    with open_stage() as stage:
        server = stage.start_sshd("elsewhere", [], include=site.config.sshd.drop_in)
        config = site.directory / "ssh_config"
        config.write_text(f"Include {files(site).config}\n")
        words = ["-o", "BatchMode=yes", "-o", f"HostKeyAlias={HOST}", "-p", str(server.port)]
        ssh = ["/usr/bin/ssh", "-F", config, *words, "127.0.0.1", "echo logged-in"]
        assert stage.run(ssh).stdout == "logged-in\n"
        world.writer.revoke(world.users.id, [first.serial])
        report = run_once(site.folder)
        assert report.clients == ()
        assert stage.run(ssh, expect=255).stdout == ""

    # The next two are for one-time keys; what is older than both is erased.
    own = load_device_keys(site.folder / KEYS).user_blobs
    add_prekeys(site.folder / KEYS, 2)
    world.keys = load_device_keys(site.folder / KEYS)
    prekeys = world.keys.prekeys
    second = world.issue_client(prekey=prekeys[0])
    assert run_once(site.folder).clients == (second.serial,)
    third = world.issue_client(prekey=prekeys[1])
    report = run_once(site.folder)
    assert report.clients == (third.serial, second.serial)
    keys = load_device_keys(site.folder / KEYS)
    assert keys.user_blobs == (second.subject_key, third.subject_key)
    assert own[0] not in keys.user_blobs
    assert keys.prekeys == ()
    assert run_once(site.folder).changed == (), "nothing new"
    status, said, _ = site.call("status")
    assert (status, said["last_run"]["clients"]) == (0, [third.serial, second.serial])


def test_the_daemon_takes_it_away_as_it_gives_it(world: ChainWorld, site: Site) -> None:
    agent = site.start()
    agent.wait_for("installed", changed="client ssh_config")
    certificate = world.issue_client()
    agent.wait_for("installed", changed=f"client client-{certificate.hash.hex()[:16]}")
    world.writer.revoke(world.users.id, [certificate.serial])
    agent.wait_for("installed", changed=f"client client-{certificate.hash.hex()[:16]}")
    assert not list((site.directory / "client").glob("client-*"))
    assert agent.end() == 0


def test_what_was_seen_serves_without_the_chain(world: ChainWorld, site: Site) -> None:
    """Also a private key that came in the bundle and lies nowhere but where ssh reads it."""
    made_here = generate_device_keys()

    def with_key(bundle: Bundle) -> Bundle:
        key = made_here.user_key_for(made_here.user_blobs[-1])
        return replace(bundle, key=key)

    true, world.keys = world.keys, replace(world.keys, ssh_user=made_here.ssh_user)
    certificate = world.issue_client(with_key)
    world.keys = true
    assert run_once(site.folder).clients == (certificate.serial,)

    def recalled() -> Follower:
        return Follower("first", site.config, site.folder)

    seen = recalled().recall()
    assert seen is not None
    assert seen.observation.client is not None
    assert seen.observation.client.certificate == certificate
    assert seen.at <= datetime.now(UTC)
    files(site).key(certificate.hash.hex()[:16]).unlink()
    seen = recalled().recall()
    assert seen is not None
    assert seen.observation.client is None
    site.configure(outbound=None)
    seen = recalled().recall()
    assert seen is not None
    assert seen.observation.client is None


def test_an_account_that_is_not_there_is_a_problem_and_no_more(
    world: ChainWorld, site: Site
) -> None:
    world.anchor_users(world.sign_user())
    site.configure(outbound=Outbound("no-such-account", site.directory / "client", HOST))
    report = run_once(site.folder)
    assert report.exit_status == 5
    assert any("no account no-such-account" in problem for problem in report.all_problems)
    assert "login.db" in report.changed
    assert not files(site).directory.exists()
