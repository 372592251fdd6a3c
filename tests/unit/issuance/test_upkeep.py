from datetime import timedelta
from pathlib import Path

import pytest

from dpki.devices.acknowledgement import AcknowledgedCertificate, Stage, Statement, opening_of
from dpki.errors import StoreFailed
from dpki.issuance.placements import Place
from dpki.issuance.publishing import Publisher
from dpki.issuance.upkeep import JournaledBundle, Upkeep, collect, load_bundles, repin, retry
from dpki.issuance.workflow import issue_batch, resume
from dpki.model import Hash32
from tests.fakes.issuing import Office
from tests.stores import MemoryStore, WindowOf
from tests.world import DOMAIN


class Shop:
    """Two nodes and a gateway onto each, and an office that wants both to have everything."""

    def __init__(self, directory: Path) -> None:
        self.office = Office.open(directory)
        self.device = self.office.enroll()
        self.one, self.two, self.three = (MemoryStore(f"node {n}") for n in (1, 2, 3))
        self.stores = (self.one, self.two, self.three)
        windows = [WindowOf(store, f"gateway {store.name}") for store in self.stores]
        self.publisher = Publisher(self.stores, windows, 2)

    def issue(self) -> None:
        issue_batch(
            self.office.bench(publisher=self.publisher), [self.office.for_device(self.device)]
        )

    def bundles(self, later: timedelta = timedelta()) -> tuple[JournaledBundle, ...]:
        journal = self.office.journal
        batches = journal.load_all()
        snapshot = self.office.chain.snapshot(
            batches=[(b.authority, b.first_serial) for b in batches]
        )
        return load_bundles(journal, batches, snapshot, self.office.now + later)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def stores_of(upkeep: Upkeep) -> list[str]:
    return [name for _, name in upkeep.done]


def test_publishing_says_where(shop: Shop) -> None:
    shop.issue()
    (bundle,) = shop.bundles()
    assert bundle.places == {"node 1": Place.KEPT, "node 2": Place.KEPT}
    assert bundle.pending == ()
    assert shop.one.blocks[bundle.digest] == bundle.data


def test_what_a_node_missed_waits_in_the_outbox(shop: Shop) -> None:
    shop.one.is_down = True
    shop.issue()
    (bundle,) = shop.bundles()
    assert bundle.pending == ("node 1",)
    still = retry(shop.office.journal, shop.bundles(), shop.stores)
    assert [(name, reason) for _, name, reason in still.failed] == [("node 1", "node 1 is down")]
    assert shop.bundles()[0].pending == ("node 1",)
    shop.one.is_down = False
    assert stores_of(retry(shop.office.journal, shop.bundles(), shop.stores)) == ["node 1"]
    assert bundle.digest in shop.one.blocks
    assert shop.bundles()[0].pending == ()
    assert retry(shop.office.journal, shop.bundles(), shop.stores) == Upkeep((), ())


def test_a_batch_that_could_not_be_published_at_all_waits_too(shop: Shop) -> None:
    """Signed when two nodes answered; then one died: nothing was anchored, and nothing is lost."""
    shop.three.is_down = True

    def die(step: object, done: int, total: int) -> None:
        shop.two.is_down = shop.two.is_down or "PUBLISH" in str(step)

    bench = shop.office.bench(die, shop.publisher)
    with pytest.raises(StoreFailed, match="only 1 of 2 copies"):
        issue_batch(bench, [shop.office.for_device(shop.device)])
    (bundle,) = shop.bundles()
    assert bundle.is_awaited
    assert bundle.places["node 1"] is Place.KEPT
    assert set(bundle.pending) == {"node 2", "node 3"}
    shop.two.is_down = shop.three.is_down = False
    assert stores_of(retry(shop.office.journal, shop.bundles(), shop.stores)) == [
        "node 2",
        "node 3",
    ]
    assert len(resume(shop.office.bench(publisher=shop.publisher)).finished) == 1


def test_repin_puts_everything_living_everywhere(shop: Shop) -> None:
    """From the journal alone, when every disk was lost."""
    shop.issue()
    shop.issue()
    shop.office.ca.revoked = {2}
    living, revoked = shop.bundles()
    for store in shop.stores:
        store.blocks.clear()
    upkeep = repin(shop.office.journal, shop.bundles(), shop.stores)
    assert stores_of(upkeep) == ["node 1", "node 2", "node 3"]
    for store in shop.stores:
        assert store.blocks == {living.digest: living.data}
    assert revoked.digest != living.digest
    assert set(shop.bundles()[0].places.values()) == {Place.KEPT}


def test_a_store_that_fails_is_left_alone_and_remembered(shop: Shop) -> None:
    shop.issue()
    shop.issue()
    shop.two.is_down = True
    upkeep = repin(shop.office.journal, shop.bundles(), shop.stores)
    assert stores_of(upkeep) == ["node 1", "node 1", "node 3", "node 3"]
    assert [b.pending for b in shop.bundles()] == [("node 2",), ("node 2",)]
    assert len(upkeep.failed) == 2


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_collects_what_nobody_needs(shop: Shop, how: str) -> None:
    shop.issue()
    later = timedelta(hours=8) if how == "expired" else timedelta()
    shop.office.ca.revoked = {1} if how == "revoked" else set()
    upkeep = collect(shop.office.journal, shop.bundles(later), shop.stores)
    assert stores_of(upkeep) == ["node 1", "node 2", "node 3"]
    assert not any(store.blocks for store in shop.stores)
    (bundle,) = shop.bundles(later)
    assert set(bundle.places.values()) == {Place.REMOVED}
    assert bundle.data, "the journal forgets nothing"
    assert collect(shop.office.journal, shop.bundles(later), shop.stores) == Upkeep((), ())
    assert repin(shop.office.journal, shop.bundles(later), shop.stores) == Upkeep((), ())


def test_collects_nothing_that_lives_or_that_the_chain_lost(shop: Shop) -> None:
    shop.issue()
    assert collect(shop.office.journal, shop.bundles(), shop.stores) == Upkeep((), ())
    shop.office.ca.commitments.clear()
    assert collect(shop.office.journal, shop.bundles(), shop.stores) == Upkeep((), ())
    assert shop.one.blocks


@pytest.mark.parametrize("stage", [None, *Stage])
def test_collects_what_its_device_has_installed(shop: Shop, stage: Stage | None) -> None:
    shop.issue()
    (batch,) = shop.office.journal.load_all()
    device = batch.certificates[0].device
    certificate = opening_of(device, batch.certificates[0].blob)
    said = [] if stage is None else [(batch.first_serial, certificate, stage)]
    # Another certificate's word under the same serial says nothing of this one.
    said.append((batch.first_serial, Hash32(b"\x01" * 32), Stage.INSTALLED))
    shop.office.journal.acknowledgements.record(
        Statement(
            DOMAIN.id,
            device,
            *(1, 7, Hash32.zero(), "strict", 0),
            tuple(AcknowledgedCertificate(batch.authority, *one) for one in said),
        ),
        shop.office.now,
    )
    upkeep = collect(shop.office.journal, shop.bundles(), shop.stores)
    gone = ["node 1", "node 2", "node 3"] if stage is Stage.INSTALLED else []
    assert stores_of(upkeep) == gone
    # Whoever needs it all the same gets it back from the journal.
    again = repin(shop.office.journal, shop.bundles(), shop.stores)
    assert stores_of(again) == ["node 1", "node 2", "node 3"]
