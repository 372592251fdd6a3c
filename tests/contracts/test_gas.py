"""What things cost, on real receipts, with the transaction's own 21,000. Gas is deterministic."""

import pytest

from tests.contracts.conftest import ISSUER_KEY, LIFETIME, NOBODY, Kind
from tests.contracts.reference import ENROLLMENT, UPDATE, ZERO

INIT_CODE_LIMIT = 49_152  # EIP-3860
CODE_LIMIT = 24_576  # EIP-170
POOL_LIMIT = 128 * 1024
#: Newer forks cap a transaction at this (EIP-7825).
TRANSACTION_LIMIT = 2**24


@pytest.fixture
def busy(world):
    """An authority in the middle of its life, so that no word is written for the first time."""
    world.issue(world.entries(2, device=str(world.device.address)))
    return world


@pytest.mark.parametrize(
    ("count", "each"), [(1, 60_000), (100, 6_200), (1000, 6_000)], ids=["one", "100", "1000"]
)
def test_issuing(busy, count, each):
    receipt = busy.issue(busy.entries(count, device=str(busy.device.address)), 3)
    assert receipt.gas_used <= each * count
    assert receipt.gas_used < TRANSACTION_LIMIT


def test_the_largest_batch_fits_into_a_node_pool(busy):
    entries = [entry.abi for entry in busy.entries(1000, device=str(busy.device.address))]
    data = busy.certificates.issue.encode_input(busy.ca, 3, entries)
    assert len(data) + 1000 < POOL_LIMIT


@pytest.mark.parametrize("role", ["operator", "revoker", "governor"])
def test_revoking(busy, role):
    caller = getattr(busy, role)
    # The operator's own path is the goal; another role's costs a look-up or a call more.
    extra = {"operator": 0, "revoker": 2_500, "governor": 8_500}[role]
    first = busy.certificates.revoke(busy.ca, [1], sender=caller)
    second = busy.certificates.revoke(busy.ca, [2], sender=caller)
    assert first.gas_used <= 54_000 + extra
    assert second.gas_used <= 37_000 + extra


def test_revoking_everything_costs_one_write(busy):
    receipt = busy.certificates.revokeBelow(busy.ca, 3, sender=busy.operator)
    assert receipt.gas_used <= 54_000


def test_registering_an_ed25519_authority(world):
    key = bytes.fromhex("302a300506032b6570032100") + b"\x11" * 32
    receipt = world.authorities.register(
        Kind.SSH_USER, key, ISSUER_KEY, ZERO, world.operator, LIFETIME, sender=world.governor
    )
    assert receipt.gas_used <= 240_000


def test_devices(busy):
    document = b"\x11" * 32
    enrolled = busy.devices.enroll(
        *busy.signed(ENROLLMENT, busy.device, document, 0), sender=busy.registrar
    )
    updated = busy.devices.update(
        *busy.signed(UPDATE, busy.device, b"\x22" * 32, 1), sender=busy.stranger
    )
    assert enrolled.gas_used <= 110_000
    assert updated.gas_used <= 50_000


def test_deploying_a_domain(world):
    domain = world.project.TrustDomain.deploy(
        world.governor, NOBODY, [world.registrar], sender=world.governor
    )
    assert domain.creation_metadata.receipt.gas_used <= 5_200_000


def test_code_sizes(world):
    init = bytes(world.project.TrustDomain.contract_type.deployment_bytecode.to_bytes())
    assert len(init) < INIT_CODE_LIMIT
    for part in (
        world.domain,
        world.authorities,
        world.certificates,
        world.devices,
        world.watchdogs,
    ):
        code = world.chain.provider.get_code(part.address)
        assert 0 < len(code) < CODE_LIMIT


def test_watchdogs(world):
    named = world.watched_by(10, 20, 30)
    watch = world.watchdogs.setWatch(world.ca, named, 40, sender=world.governor)
    world.issue(world.entries(1))
    commitment = bytes(world.certificates.commitment(world.ca, 1))
    first = world.watchdogs.confirm(world.ca, 1, commitment, sender=world.watchdog)
    second = world.watchdogs.relay(
        [world.confirmation(1, commitment, world.third_watchdog)], sender=world.stranger
    )
    assert watch.gas_used <= 310_000
    assert first.gas_used <= 68_000
    assert second.gas_used <= 58_000
