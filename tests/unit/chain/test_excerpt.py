"""An excerpt says of one certificate what the whole snapshot says, and nothing of any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

import pytest

from dpki.chain import layout
from dpki.chain.authority import Authority, AuthorityExcerpt, AuthorityRecord
from dpki.chain.domain import Contracts
from dpki.chain.excerpt import Excerpt, extend_excerpt, fetch_excerpt
from dpki.chain.snapshot import Snapshot, fetch_snapshot
from dpki.errors import CouldNotCheck
from dpki.model import Address, AuthorityId, AuthorityState, Hash32
from tests.fakes.chain import FakeChain, entries

DEVICE = Address(b"\xdd" * 20)
STRANGER = AuthorityId(sha256(b"stranger").digest())


@pytest.fixture
def chain() -> FakeChain:
    return FakeChain()


KEY = b"k" * 91


def excerpt(chain: FakeChain, serial: int, key: bytes = KEY) -> Excerpt:
    return fetch_excerpt(chain, Contracts.of(chain.domain.id), chain.head, key, serial)


def authority(chain: FakeChain, ca: AuthorityId, serial: int) -> AuthorityExcerpt:
    found = excerpt(chain, serial).find(ca)
    assert found is not None
    return found


def fields(record: AuthorityRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in AuthorityRecord.__dataclass_fields__}


def test_says_what_the_snapshot_says(chain: FakeChain) -> None:
    chain.register(b"other" * 9)
    ca = chain.register()
    chain.issue(ca, entries(600))
    chain.revoke(ca, [1, 255, 256, 300, 600])
    chain.revoke_below(ca, 7)
    chain.set_state(ca, AuthorityState.CLOSED)
    whole = fetch_snapshot(chain, chain.domain).authorities[ca]
    for serial in (1, 6, 7, 254, 255, 256, 257, 300, 301, 511, 512, 600):
        found = authority(chain, ca, serial)
        assert fields(found) == fields(whole)
        assert found.is_revoked(serial) == whole.is_revoked(serial)
        assert found.is_issued(serial)


def test_says_nothing_of_serials_that_were_not_read(chain: FakeChain) -> None:
    ca = chain.register()
    chain.issue(ca, entries(600))
    chain.revoke_below(ca, 3)
    found = authority(chain, ca, 300)
    assert found.is_revoked(2)
    for serial in (3, 255, 512, 601):
        with pytest.raises(CouldNotCheck, match="was not read"):
            found.is_revoked(serial)


@pytest.mark.parametrize("serial", [0, 4, 2**32, 2**64 - 1])
def test_of_a_serial_that_was_never_issued_no_revocation_is_read(
    chain: FakeChain, serial: int
) -> None:
    ca = chain.register()
    chain.issue(ca, entries(3))
    found = authority(chain, ca, serial)
    assert not found.is_issued(serial)
    assert len(found.covered) == 0


def test_of_another_ca_it_says_nothing(chain: FakeChain) -> None:
    ca = chain.register()
    found = excerpt(chain, 1)
    assert found.find(ca) is not None
    with pytest.raises(CouldNotCheck, match="was not read"):
        found.find(STRANGER)


def test_a_ca_that_was_never_registered(chain: FakeChain) -> None:
    chain.register()
    found = excerpt(chain, 1, b"stranger")
    assert found.find(STRANGER) is None
    assert found.awaited(STRANGER, 1) == "its CA is not registered"


def test_devices_and_batches(chain: FakeChain) -> None:
    ca = chain.register()
    chain.enroll(DEVICE, Hash32(b"\7" * 32))
    chain.issue(ca, entries(3))
    chain.watch(ca)
    watched = chain.issue(ca, entries(2))
    chain.confirm(ca, watched, weight=1, confirmed=False)
    asked = {"devices": [DEVICE], "batches": [(ca, 1), (ca, watched)]}
    found = extend_excerpt(chain, excerpt(chain, watched), **asked)  # type: ignore[arg-type]
    whole = fetch_snapshot(chain, chain.domain, **asked)  # type: ignore[arg-type]
    assert found.devices == whole.devices
    assert found.commitments == whole.commitments
    assert found.progress == whole.progress
    for first in (1, watched):
        assert found.awaited(ca, first) == whole.awaited(ca, first)
    assert found.awaited(ca, watched) is not None


def test_it_is_no_snapshot() -> None:
    """Nothing that makes a list of revocations can take one for the other."""
    assert not issubclass(Excerpt, Snapshot)
    assert not hasattr(Excerpt, "authorities")
    assert not issubclass(AuthorityExcerpt, Authority)
    assert "revoked" not in AuthorityExcerpt.__dataclass_fields__


Change = Callable[[FakeChain, AuthorityId], tuple[Address, int, int]]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda chain, ca: (chain.domain.certificates, layout.revocation_slot(ca, 0), 0b110),
            "number of revocations",
        ),
        (
            lambda chain, ca: (chain.domain.certificates, layout.revocation_slot(ca, 0), 1 << 9),
            "number of revocations",
        ),
        (
            lambda chain, ca: (chain.domain.authorities, layout.authority_slots(ca)[0], 0),
            "the record of",
        ),
        (
            lambda chain, ca: (chain.domain.certificates, layout.issuer_slot(ca), 0),
            "the issuing state of",
        ),
        (
            lambda chain, ca: (
                chain.domain.authorities,
                layout.authority_slots(ca)[3],
                2 * 44 + 1,
            ),
            "the length of the public key",
        ),
    ],
    ids=["too many", "never issued", "no kind", "no state", "another key"],
)
def test_words_that_do_not_add_up_are_no_answer(
    chain: FakeChain, change: Change, match: str
) -> None:
    ca = chain.register()
    chain.issue(ca, entries(3))
    chain.revoke(ca, [2])
    chain.put(*change(chain, ca))
    chain.mine()
    with pytest.raises(CouldNotCheck, match=match):
        excerpt(chain, 1)


def test_few_words_are_asked_for(chain: FakeChain) -> None:
    """However many CAs and revocations there are."""
    for number in range(20):
        chain.register(bytes([number]) * 44)
    ca = chain.register()
    for _ in range(3):
        chain.issue(ca, entries(1000))
    chain.revoke(ca, range(1, 3001))
    chain.asked.clear()
    excerpt(chain, 2000)
    asked: Sequence[object] = [c for c in chain.asked if c.method == "eth_getStorageAt"]
    assert len(asked) == 7 + 1
