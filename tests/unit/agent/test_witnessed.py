"""What the newest block takes away from what witnesses let in, and witnesses out of reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dpki.agent.memory import Memory, Seen
from dpki.agent.observation import HostPair, Observation
from dpki.agent.state import open_state
from dpki.agent.witnessed import Heard, Vouching, hear, take_away, verify_agreed
from dpki.config.device import DeviceConfig
from dpki.config.witnesses import Mode, Witness, Witnesses
from dpki.errors import CouldNotCheck
from dpki.model import Address, AuthorityState
from dpki.verification.checkpoint import Checkpoint
from dpki.verification.verdict import Finding, Verdict
from tests.fakes.chain import FakeChain
from tests.witnesses import Witnessing, checkpoint
from tests.world import DOMAIN, Ca, block, snapshot

HOSTS = Ca.hosts()
CERTIFICATE, _ = HOSTS.issue()
PAIR = HostPair(CERTIFICATE, b"key", Finding(Verdict.VALID, ""))
SNAPSHOT = snapshot(HOSTS)
SEEN = Observation(SNAPSHOT, SNAPSHOT.block, (), PAIR, ())
HEAD = replace(SNAPSHOT, block=block(SNAPSHOT.block.number + 1))


class TestTheHostPair:
    def test_stays_where_nothing_takes_it_away(self) -> None:
        taken = take_away(SEEN, HEAD, Memory())
        assert taken.host == PAIR
        assert taken.snapshot.block == HEAD.block
        assert take_away(replace(SEEN, host=None), HEAD, Memory()).host is None

    def test_goes_when_its_certificate_was_revoked(self) -> None:
        memory = Memory({HOSTS.id: Seen(revoked=frozenset({CERTIFICATE.serial}))})
        assert take_away(SEEN, HEAD, memory).host is None

    def test_goes_when_its_ca_is_trusted_no_more(self) -> None:
        suspended = replace(SNAPSHOT.authorities[HOSTS.id], state=AuthorityState.SUSPENDED)
        head = replace(HEAD, authorities={HOSTS.id: suspended})
        assert take_away(SEEN, head, Memory()).host is None

    def test_stays_where_the_newest_block_does_not_know_its_ca(self) -> None:
        # the block before it did, and that was signed: nobody can take a CA's registration back
        assert take_away(SEEN, replace(HEAD, authorities={}), Memory()).host == PAIR


def test_a_disk_that_refuses_is_silence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    witness = Witnessing("a")
    named = witness.publishes(tmp_path / "a", checkpoint(7))
    heard = hear(Witnesses((named,), 1), DOMAIN.id, tmp_path / "file" / "x")
    assert heard.checkpoint is None
    assert "could not write" in heard.problems[0]


def test_witnesses_are_asked_once_a_minute(tmp_path: Path) -> None:
    clock = [100.0]
    witness = Witnessing("a")
    named: Witness = witness.publishes(tmp_path / "a", checkpoint(7))
    vouching = Vouching(
        Witnesses((named,), 1), DOMAIN.id, (), tmp_path / "seen", clock=lambda: clock[0]
    )
    assert vouching.hear() == Heard(checkpoint(7))
    witness.publishes(tmp_path / "a", checkpoint(8))
    clock[0] += 59
    assert vouching.hear() == Heard(checkpoint(7))
    clock[0] += 1
    assert vouching.hear() == Heard(checkpoint(8))
    vouching.close()


def test_a_block_that_the_endpoints_lack_is_waited_for() -> None:
    chain = FakeChain()
    seen = Checkpoint(chain.domain.id, 99, DOMAIN.block.hash, DOMAIN.block.hash)
    with pytest.raises(CouldNotCheck, match="has no block 99"):
        verify_agreed(Heard(seen), chain)


def test_a_connection_lasts_as_long_as_its_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Checkpoint] = []
    closed: list[Checkpoint] = []

    @contextmanager
    def connect_signed(
        urls: object, signed: Checkpoint, words: str
    ) -> Iterator[tuple[Checkpoint, str]]:
        made.append(signed)
        yield signed, words
        closed.append(signed)

    monkeypatch.setattr("dpki.agent.witnessed.connect_signed", connect_signed)
    named = Witness(Witnessing("a").key, "/x")
    vouching = Vouching(Witnesses((named,), 1), DOMAIN.id, ("unused",), tmp_path)
    first = vouching.connect(checkpoint(7))
    assert vouching.connect(checkpoint(7)) is first
    assert first == (checkpoint(7), "1 of 1 witnesses signed block 7")  # type: ignore[comparison-overlap]
    vouching.connect(checkpoint(8))
    assert (made, closed) == ([checkpoint(7), checkpoint(8)], [checkpoint(7)])
    vouching.close()
    assert closed == made


def test_a_standing_problem_costs_no_connection_at_each_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another endpoint may do better, once all is found out anew."""
    made: list[Checkpoint] = []

    @contextmanager
    def connect_signed(urls: object, signed: Checkpoint, words: str) -> Iterator[SimpleNamespace]:
        made.append(signed)
        yield SimpleNamespace(evidence=lambda: words)

    monkeypatch.setattr("dpki.agent.witnessed.connect_signed", connect_signed)
    witness = Witnessing("a")
    named = Witnesses((witness.publishes(tmp_path / "a", checkpoint(7)),), 1, Mode.INSTEAD)
    config = DeviceConfig(DOMAIN.id, ("unused",), witnesses=named)
    vouching = Vouching(named, DOMAIN.id, config.rpc, tmp_path / "seen")
    seen = replace(SEEN, problems=("nobody has the bundle",))
    with open_state(tmp_path) as state:

        def look(*, is_reused: bool) -> int:
            vouching.observe(
                config,
                Address(b"\xaa" * 20),
                lambda: pytest.fail("endpoints without witnesses are asked"),
                lambda *_: replace(seen, is_reused=is_reused),
                state,
                None,
                SNAPSHOT.block.time,
            )
            return len(made)

        turns = [False, True, True, False, True]
        assert [look(is_reused=turn) for turn in turns] == [1, 2, 2, 2, 3]
    vouching.close()
