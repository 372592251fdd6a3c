"""A witness's own folder: which blocks, and never two checkpoints for one."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from dpki.errors import ConfigError, WouldContradict
from dpki.model import Hash32
from dpki.verification.checkpoint import verify_checkpoint
from dpki.witness.publish import AT_ONCE, Publication, blocks_to_sign
from dpki.witness.source import LATEST, folder_of
from tests.witnesses import Witnessing, checkpoint
from tests.world import DOMAIN

WITNESS = Witnessing("w")


@pytest.fixture
def publication(tmp_path: Path) -> Publication:
    return Publication(tmp_path / "www", WITNESS.name, WITNESS.secret)


class TestPublishing:
    def test_puts_it_under_its_number_and_as_the_latest(self, publication: Publication) -> None:
        assert publication.newest(DOMAIN.id) is None
        path = publication.publish(checkpoint(7))
        place = publication.folder / folder_of(DOMAIN.id)
        assert path == place / "7"
        assert verify_checkpoint(path.read_bytes(), [WITNESS.key]) == checkpoint(7)
        assert (place / LATEST).read_bytes() == path.read_bytes()
        assert publication.newest(DOMAIN.id) == checkpoint(7)

    def test_lets_any_web_server_read_it(self, publication: Publication) -> None:
        path = publication.publish(checkpoint(7))
        assert path.stat().st_mode & 0o444 == 0o444
        assert path.parent.stat().st_mode & 0o555 == 0o555
        assert publication.folder.stat().st_mode & 0o555 == 0o555

    def test_again_changes_nothing(self, publication: Publication) -> None:
        before = publication.publish(checkpoint(7)).read_bytes()
        assert publication.publish(checkpoint(7)).read_bytes() == before

    def test_goes_on_where_it_was_killed(self, publication: Publication) -> None:
        publication.publish(checkpoint(7))
        path = publication.publish(checkpoint(8))
        latest = path.with_name(LATEST)
        latest.write_bytes(path.with_name("7").read_bytes())
        publication.publish(checkpoint(8))
        assert publication.newest(DOMAIN.id) == checkpoint(8)

    @pytest.mark.parametrize(
        "other", [checkpoint(7, state=1), checkpoint(7, block=Hash32(b"\1" * 32))]
    )
    def test_never_signs_two_for_one_block(self, publication: Publication, other: object) -> None:
        path = publication.publish(checkpoint(7))
        before = path.read_bytes()
        with pytest.raises(WouldContradict, match="another checkpoint for block 7"):
            publication.publish(other)  # type: ignore[arg-type]
        assert path.read_bytes() == before

    def test_only_goes_forward(self, publication: Publication) -> None:
        # what was signed for an earlier block may have been removed
        path = publication.publish(checkpoint(7))
        with pytest.raises(WouldContradict, match="not after it"):
            publication.publish(checkpoint(6))
        assert not path.with_name("6").exists()

    def test_keeps_witnesses_apart(self, publication: Publication) -> None:
        publication.publish(checkpoint(7))
        other = Witnessing("other")
        with pytest.raises(ConfigError, match="no checkpoint that other signed"):
            Publication(publication.folder, other.name, other.secret).publish(checkpoint(8))


class TestBlocksToSign:
    def test_are_multiples(self) -> None:
        assert blocks_to_sign(0, 1000, 256) == [256, 512, 768]
        assert blocks_to_sign(512, 1000, 256) == [768]
        assert blocks_to_sign(768, 1000, 256) == []
        assert blocks_to_sign(0, 255, 256) == []
        assert blocks_to_sign(3, 7, 1) == [4, 5, 6, 7]

    def test_are_few_however_long_ago_the_last_one_was(self) -> None:
        blocks = blocks_to_sign(7, 10_000_000, 256)
        assert len(blocks) <= AT_ONCE + 1
        assert {block % 524_288 for block in blocks} == {0}
        assert blocks[-1] > 9_400_000

    @pytest.mark.parametrize("everies", [(1, 1), (1, 4), (2, 2)])
    def test_two_witnesses_meet_whenever_they_come_by(self, everies: tuple[int, int]) -> None:
        # Both were here before 40, at any two blocks, and both after it, at any two.
        for first, second, third, fourth in itertools.product(
            range(33, 40), range(33, 40), range(44, 64, 3), range(44, 64, 3)
        ):
            met = []
            for every, visits in zip(everies, ((first, third), (second, fourth)), strict=True):
                signed, newest = set[int](), 0
                for visit in visits:
                    blocks = blocks_to_sign(newest, visit, every)
                    signed |= set(blocks)
                    newest = max([newest, *blocks])
                met.append(signed)
            seen_by_both = min(third, fourth)
            assert max(met[0] & met[1]) >= seen_by_both - seen_by_both % 4
