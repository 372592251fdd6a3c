"""What was seen last, for when a chain is out of reach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dpki.agent.kept import FILE_NAME, Kept, encode_kept, load_kept, parse_kept, save_kept
from dpki.agent.observation import Unconfirmed, WatchedBatch
from dpki.bundle.codec import dumps, loads_strict
from dpki.chain.quorum import Evidence
from dpki.errors import MalformedInput
from dpki.model import Address, AuthorityState, DeviceState
from tests.world import DOMAIN, NOW, Ca, block, snapshot

DEVICE = Address(b"\xaa" * 20)
HOLDER = Address(b"\xbb" * 20)


@pytest.fixture
def kept() -> Kept:
    users, hosts = Ca.users(), Ca.hosts()
    for _ in range(20):
        users.issue()
    users.revoked |= {1, 9, 17}
    users.revoked_below = 3
    users.watched()
    hosts.parent = users.id
    hosts.state = AuthorityState.CLOSED
    seen = snapshot(users, hosts, devices={DEVICE: DeviceState.ACTIVE, HOLDER: DeviceState.RETIRED})
    seen = replace(seen, domain=replace(DOMAIN, **_registries()), commitments={}, progress={})
    waits = Unconfirmed(WatchedBatch(users.id, 21, 2, 50), "awaiting watchdogs: 20 of 40")
    return Kept(
        seen, block(90), (waits,), ("wait",), b"blob", Evidence(3, 2, proven=True), NOW, b"own"
    )


def _registries() -> dict[str, Address]:
    from dpki.chain.domain import registries_of

    names = ("authorities", "certificates", "devices", "watchdogs")
    return dict(zip(names, registries_of(DOMAIN.id.address), strict=True))


def test_it_comes_back_whole(tmp_path: Path, kept: Kept) -> None:
    save_kept(tmp_path, kept)
    found = load_kept(tmp_path, DOMAIN.id)
    assert found == kept
    save_kept(tmp_path, replace(kept, host=None))
    found = load_kept(tmp_path, DOMAIN.id)
    assert found is not None
    assert found.host is None


def test_a_file_of_before_devices_held_certificates(tmp_path: Path, kept: Kept) -> None:
    fields = loads_strict(encode_kept(kept), 1 << 20)
    del fields["holders"], fields["client"]
    found = parse_kept(dumps(fields))
    assert list(found.snapshot.devices) == [DEVICE]
    assert found.client is None
    fields["holders"] = [{"device": bytes(HOLDER)}]
    with pytest.raises(MalformedInput, match="lacks document"):
        parse_kept(dumps(fields))


def test_nothing_before_the_first_look(tmp_path: Path) -> None:
    assert load_kept(tmp_path, DOMAIN.id) is None


def test_what_another_domain_left_in_the_folder_is_nobodys(tmp_path: Path, kept: Kept) -> None:
    save_kept(tmp_path, kept)
    assert load_kept(tmp_path, replace(DOMAIN.id, chain_id=1)) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("state", 99), ("device", b"short"), ("waiting", [7]), ("at", 2**63), ("domain", "eip155")],
)
def test_what_cannot_be_is_refused(tmp_path: Path, kept: Kept, field: str, value: object) -> None:
    save_kept(tmp_path, kept)
    fields = loads_strict((tmp_path / FILE_NAME).read_bytes(), 1 << 20)
    with pytest.raises(MalformedInput):
        parse_kept(dumps({**fields, field: value}))


def test_so_is_what_cannot_be_of_a_ca(tmp_path: Path, kept: Kept) -> None:
    save_kept(tmp_path, kept)
    fields = loads_strict((tmp_path / FILE_NAME).read_bytes(), 1 << 20)
    fields["authorities"][0]["watch"] = ["1"]
    with pytest.raises(MalformedInput):
        parse_kept(dumps(fields))
