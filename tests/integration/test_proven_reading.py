"""Headers and state proofs of a real node, of Ethereum's and of OP-stack's rules, read by several.

The endpoints are one node under several names. What comes of lies: tests/security/test_t4_*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dpki.certificates.ssh import ssh_line
from dpki.chain.connect import connect_agreed
from dpki.chain.header import verify_header
from dpki.chain.panel import Panel
from dpki.chain.proven import KEYS, ProvenReader
from dpki.chain.rpc import Call, Endpoint, fetch_block
from dpki.chain.snapshot import fetch_snapshot
from dpki.devnet.anvil import Anvil
from dpki.errors import EndpointUnavailable, UsageError
from dpki.model import Address, Hash32
from dpki.verification.check import verify_certificate
from dpki.verification.verdict import Verdict
from tests.admins import runner
from tests.chain_world import ChainWorld, Liar, open_world
from tests.domains import Node, deploy, fresh_entries
from tests.geth import Geth
from tests.lying import lying_endpoint

DEVICE = Address(b"\xdd" * 20)


def names(url: str, count: int = 2) -> list[str]:
    """Return URLs of one and the same node."""
    return [f"{url}/?name={number}" for number in range(count)]


@pytest.fixture(params=["anvil", "anvil-optimism", "geth"])
def node(request: pytest.FixtureRequest, tmp_path: Path, geth: Geth) -> Iterator[Node]:
    if request.param == "geth":
        yield geth
        return
    with Anvil(tmp_path, optimism=request.param == "anvil-optimism") as anvil:
        yield anvil


def test_every_header_and_every_word_of_a_real_node(node: Node) -> None:
    with Endpoint(node.url) as endpoint:
        deployed = deploy(node, endpoint)
        ca = deployed.register()
        operator = deployed.writer(deployed.operator)
        operator.issue(ca, 1, fresh_entries(300, DEVICE))
        operator.revoke(ca, [1, 255, 256, 300])
        head = fetch_snapshot(endpoint, deployed.domain).block.number
        for number in range(head + 1):
            shown: Any = endpoint.call("eth_getBlockByNumber", [hex(number), False])
            header = verify_header(shown, Hash32.parse(shown["hash"]))
            assert header.block.number == number
            assert str(header.state_root) == shown["stateRoot"]
        asked = {"devices": [DEVICE], "batches": [(ca, 1), (ca, 2)]}
        with connect_agreed(names(node.url, 3), deployed.domain.id) as chain:
            assert chain.domain == deployed.domain
            proven = fetch_snapshot(chain.reader, chain.domain, **asked)  # type: ignore[arg-type]
            assert chain.evidence().level == "proven"
        assert proven == fetch_snapshot(endpoint, deployed.domain, **asked)  # type: ignore[arg-type]
        assert proven.commitments[ca, 2] == Hash32.zero()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainWorld]:
    with open_world(tmp_path_factory.mktemp("world")) as opened:
        yield opened


def url_of(world: ChainWorld) -> str:
    assert isinstance(world.reader, Endpoint)
    return world.reader._url


def test_the_agent_has_nothing_proven_of_old_blocks(world: ChainWorld) -> None:
    """Nodes forget states: what waits to be final waits with us, as it was read at the head."""
    proven: list[Call] = []

    def note(call: Call, answer: object) -> object:
        proven.extend([call] if call.method == "eth_getProof" else [])
        return answer

    sources = [Liar(world.reader, note) for _ in range(3)]
    reader = ProvenReader(Panel(sources, 2, world.domain.id.chain_id))
    for _ in range(3):
        world.anchor_users(world.sign_user(world.users.next_serial))
        proven.clear()
        head = world.observe(reader).snapshot.block
        assert {str(call.params[2]) for call in proven} == {str({"blockHash": str(head.hash)})}
        assert all(len(call.params[1]) <= KEYS for call in proven)  # type: ignore[arg-type]
    assert reader.evidence().level == "proven"


def test_a_real_fork_is_set_aside_by_name(world: ChainWorld, tmp_path: Path) -> None:
    """Another Anvil with the same domain and a chain of its own from there."""
    with Anvil(tmp_path) as other, Endpoint(other.url) as fork:
        for _ in range(3):
            fork.call("evm_mine")
        rpc = [other.url, *names(url_of(world))]
        with connect_agreed(rpc, world.domain.id, 2) as chain:
            assert fetch_snapshot(chain.reader, chain.domain) == fetch_snapshot(
                world.reader, world.domain
            )
            (aside,) = chain.evidence().aside
            assert aside.startswith(other.url)
        with pytest.raises(EndpointUnavailable), connect_agreed(rpc, world.domain.id, 3) as chain:
            fetch_snapshot(chain.reader, chain.domain)


def test_one_endpoint_is_trusted_and_said_to_be(world: ChainWorld) -> None:
    certificate = world.sign_user(world.users.next_serial)
    world.anchor_users(certificate)
    for rpc, quorum in (
        ([url_of(world)], None),
        (names(url_of(world)), None),
        (
            names(url_of(world)),
            1,
        ),
    ):
        found = verify_certificate(
            certificate.blob, domain_id=world.domain.id, rpc=rpc, quorum=quorum
        )
        assert found.verdict is Verdict.VALID
        assert str(found.evidence) == "trusting one endpoint"


def without_proofs(call: Call, answer: Callable[[], object]) -> object:
    if call.method == "eth_getProof":
        return {}
    return answer()


@pytest.mark.parametrize("proofs", [True, False])
def test_the_command_says_what_stands_behind_its_verdict(
    world: ChainWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str], proofs: bool
) -> None:
    certificate = world.sign_user(world.users.next_serial)
    world.anchor_users(certificate)
    path = tmp_path / "alice-cert.pub"
    path.write_text(ssh_line(certificate, "alice"))
    dpki = runner(capsys)

    with lying_endpoint(url_of(world)) as one, lying_endpoint(url_of(world)) as two:
        if not proofs:
            one.tell = two.tell = without_proofs
        verify = [
            "verify",
            path,
            "--domain",
            str(world.domain.id),
            "--rpc",
            one.url,
            "--rpc",
            two.url,
        ]
        found = dpki(*verify, "--quorum", "2")
    assert found.status == 0
    evidence = found.document["evidence"]
    assert evidence["level"] == ("proven" if proofs else "reduced")
    assert (evidence["endpoints"], evidence["quorum"]) == (2, 2)
    assert (evidence["why_reduced"] is None) == proofs
    assert evidence["said"] in found.err
    assert dpki(*verify, "--quorum", "3").status == 2


def test_more_must_agree_than_there_are(world: ChainWorld) -> None:
    with (
        pytest.raises(UsageError, match="only 1"),
        connect_agreed([url_of(world)], world.domain.id, 2),
    ):
        pass


@pytest.mark.parametrize("optimism", [False, True], ids=["ethereum", "optimism"])
def test_how_new_a_block_is_in_the_node_s_own_words(tmp_path: Path, optimism: bool) -> None:
    """`latest`, `safe` and `finalized` are agreed on each by itself, and never overtake."""
    with Anvil(tmp_path, optimism=optimism) as anvil, Endpoint(anvil.url) as endpoint:
        deployed = deploy(anvil, endpoint)
        endpoint.call("anvil_mine", ["0x50"])
        with connect_agreed(names(anvil.url, 3), deployed.domain.id) as chain:
            asked = [fetch_block(chain.reader, tag) for tag in ("finalized", "safe", "latest")]
            alone = [fetch_block(endpoint, tag) for tag in ("finalized", "safe", "latest")]
        assert asked == alone
        numbers = [block.number for block in asked if block is not None]
        assert len(numbers) == 3
        assert numbers[0] < numbers[1] < numbers[2]
