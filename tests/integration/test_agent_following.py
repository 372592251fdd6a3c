"""Following a domain: what is wrong for long is tried again, and not by every look."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from dpki.agent.follow import SEARCH, Follower, Seen
from dpki.agent.schedule import THOROUGH
from dpki.bundle.content import Bundle
from dpki.chain.rpc import Call
from dpki.config.device import FIRST
from tests.agents import Site, open_site
from tests.chain_world import ChainWorld, open_world
from tests.relay import open_relay


class Watcher:
    """A follower as the daemon has it, and its clock."""

    def __init__(self, site: Site) -> None:
        self.now = 1000.0
        self.follower = Follower(
            FIRST, site.config, site.folder, beside=True, clock=lambda: self.now
        )

    def look(self, later: float = 0.0) -> Seen:
        self.now += later
        return self.follower.look(datetime.now(UTC))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ChainWorld]:
    with open_world(tmp_path) as opened:
        yield opened


@pytest.fixture
def site(world: ChainWorld) -> Iterator[Site]:
    with open_site(world) as site:
        yield site


@pytest.fixture
def watcher(site: Site) -> Iterator[Watcher]:
    watcher = Watcher(site)
    yield watcher
    watcher.follower.close()


def withhold(world: ChainWorld) -> Path:
    """Have the store that is asked lose its blocks; return where they are."""
    lost = world.directory / "lost"
    world.store_directory.rename(lost)
    world.store_directory.mkdir()
    return lost


def bring_back(world: ChainWorld, lost: Path) -> None:
    world.store_directory.rmdir()
    lost.rename(world.store_directory)


class TestAStandingProblem:
    def test_is_looked_into_less_and_less_often(self, world: ChainWorld, watcher: Watcher) -> None:
        world.issue_host()
        withhold(world)
        first = watcher.look().observation
        assert (first.host, first.is_reused, len(first.problems)) == (None, False, 1)
        looks = [watcher.look(0.25).observation.is_reused for _ in range(400)]
        anew = [number for number, reused in enumerate(looks) if not reused]
        pauses = [later - earlier for earlier, later in pairwise(anew)]
        assert 5 <= len(anew) <= 10
        assert pauses[-1] > pauses[0]
        assert watcher.look().observation.problems == first.problems

    def test_hides_nothing_that_happens(self, world: ChainWorld, watcher: Watcher) -> None:
        world.anchor_users(world.sign_user())
        world.issue_host()
        withhold(world)
        watcher.look()
        assert watcher.look().observation.is_reused
        world.writer.revoke(world.users.id, [1])
        seen = watcher.look().observation
        assert seen.snapshot.authorities[world.users.id].is_revoked(1)
        world.anchor_users(world.sign_user())
        known = watcher.look().observation.known
        assert {k.serial for k in known if k.authority == world.users.id} == {1, 2}

    def test_ends_with_the_bundle(self, world: ChainWorld, watcher: Watcher) -> None:
        certificate = world.issue_host()
        lost = withhold(world)
        watcher.look()
        assert not watcher.follower.fetch()
        assert watcher.look().observation.is_reused
        # What the look before found wanting still is.
        assert watcher.follower.wants
        bring_back(world, lost)
        assert watcher.follower.fetch()
        seen = watcher.look().observation
        assert seen.host is not None
        assert (seen.host.certificate.hash, seen.problems) == (certificate.hash, ())

    def test_of_a_certificate_that_begins_later(self, world: ChainWorld, watcher: Watcher) -> None:
        """It counts from its moment on, however long ago it was looked into."""
        world.now += timedelta(hours=2)
        certificate = world.issue_host()
        watcher.look()
        watcher.follower.fetch()
        assert "not yet valid" in watcher.look().observation.problems[0]
        assert watcher.look().observation.is_reused
        before = watcher.follower.look(certificate.valid_after - timedelta(seconds=1))
        assert before.observation.is_reused
        host = watcher.follower.look(certificate.valid_after).observation.host
        assert host is not None
        assert host.certificate.hash == certificate.hash

    def test_of_a_device_that_is_retired(self, world: ChainWorld, watcher: Watcher) -> None:
        world.issue_host()
        world.writer.retire_device(world.keys.address)
        first = watcher.look().observation
        watcher.follower.fetch()
        second = watcher.look().observation
        assert "is retired" in second.problems[0]
        assert first.problems != second.problems
        assert watcher.look().observation.is_reused

    def test_that_another_bundle_mends(self, world: ChainWorld, watcher: Watcher) -> None:
        """A certificate whose bundle is wrong, and then one whose bundle is right."""

        def foreign(bundle: Bundle) -> Bundle:
            return Bundle(world.sign_user().blob, bundle.key, bundle.path, bundle.context)

        world.issue_host(foreign)
        watcher.look()
        watcher.follower.fetch()
        assert "another certificate" in watcher.look().observation.problems[0]
        assert watcher.look().observation.is_reused
        good = world.issue_host()
        watcher.look()
        watcher.follower.fetch()
        host = watcher.look().observation.host
        assert host is not None
        assert host.certificate.hash == good.hash


def test_all_is_found_out_anew_now_and_then(world: ChainWorld, watcher: Watcher) -> None:
    world.issue_host()
    watcher.look()
    watcher.follower.fetch()
    assert watcher.look().observation.problems == ()
    assert watcher.look(THOROUGH - 1).observation.is_reused
    assert not watcher.look(1).observation.is_reused


def test_the_search_is_not_skipped(world: ChainWorld, watcher: Watcher) -> None:
    """It is due when the look could have been spared."""
    watcher.look()
    assert not watcher.look(SEARCH.total_seconds() - 1).observation.is_reused
    assert not watcher.look(1).observation.is_reused
    assert watcher.look(1).observation.is_reused


def test_events_are_asked_for_where_there_are_new_ones_and_else_never(
    world: ChainWorld, site: Site
) -> None:
    asked: list[str] = []

    def note(call: Call, answer: object) -> object:
        asked.append(call.method)
        return answer

    world.anchor_users(world.sign_user())
    world.issue_host()
    with open_relay(world.reader) as relay:
        relay.tell = note
        site.configure(rpc=(relay.url,))
        watcher = Watcher(site)
        watcher.look()
        watcher.follower.fetch()
        watcher.look()
        assert "eth_getLogs" in asked
        asked.clear()
        for _ in range(3):
            assert not watcher.look(THOROUGH).observation.is_reused
        assert asked
        assert "eth_getLogs" not in asked
        world.anchor_users(world.sign_user())
        assert len(watcher.look().observation.known) == 3
        assert "eth_getLogs" in asked
        watcher.follower.close()


def test_keys_that_changed_are_tried(world: ChainWorld, site: Site, watcher: Watcher) -> None:
    watcher.look()
    assert watcher.look().observation.is_reused
    (site.folder / "keys" / "touched").touch()
    assert not watcher.look().observation.is_reused
