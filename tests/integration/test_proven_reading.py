"""Headers and state proofs of a real node, of Ethereum's and of OP-stack's rules, read by several.

The endpoints are one Anvil under several names, and one in between that lies.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dpki.certificates.ssh import ssh_line
from dpki.chain.connect import connect_agreed
from dpki.chain.header import verify_header
from dpki.chain.panel import Panel
from dpki.chain.proven import KEYS, ProvenReader
from dpki.chain.rpc import Call, Endpoint
from dpki.chain.snapshot import fetch_snapshot
from dpki.devnet.anvil import Anvil
from dpki.errors import EndpointUnavailable, UsageError
from dpki.model import Address, Hash32
from dpki.verification.check import verify_certificate
from dpki.verification.verdict import Verdict
from tests.admins import runner
from tests.chain_world import ChainWorld, Liar, open_world
from tests.domains import deploy, fresh_entries
from tests.fakes.rpc_server import Script, answering, response, serving

DEVICE = Address(b"\xdd" * 20)


def names(url: str, count: int = 2) -> list[str]:
    """Return URLs of one and the same node."""
    return [f"{url}/?name={number}" for number in range(count)]


@contextmanager
def lying(url: str, change: Callable[[str, Any], Any]) -> Iterator[str]:
    """Yield the URL of one that passes on changed results."""

    def one(question: dict[str, Any], truth: dict[str, Any]) -> dict[str, Any]:
        if "result" not in truth:
            return truth
        return {**truth, "result": change(question["method"], truth["result"])}

    def answer(question: Any) -> Any:
        body = json.dumps(question).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            truth = json.load(reply)
        if isinstance(question, list):
            by_id = {item["id"]: item for item in truth}
            return [one(asked, by_id[asked["id"]]) for asked in question]
        return one(question, truth)

    with serving(answering(answer)) as server:
        yield server.url


@pytest.mark.parametrize("optimism", [False, True], ids=["ethereum", "optimism"])
def test_every_header_and_every_word_of_a_real_node(tmp_path: Path, optimism: bool) -> None:
    with Anvil(tmp_path, optimism=optimism) as anvil, Endpoint(anvil.url) as endpoint:
        deployed = deploy(anvil, endpoint)
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
        with connect_agreed(names(anvil.url, 3), deployed.domain.id) as chain:
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


LIES: dict[str, Callable[[str, Any], Any]] = {
    "words": lambda method, result: f"0x{0:064x}" if method == "eth_getStorageAt" else result,
    "proofs": lambda method, result: (
        {**result, "accountProof": result["accountProof"][:-1]}
        if method == "eth_getProof"
        else result
    ),
    "headers": lambda method, result: (
        {**result, "stateRoot": f"0x{'66' * 32}"}
        if method == "eth_getBlockByHash" and result
        else result
    ),
    "heads": lambda method, result: (
        {**result, "hash": f"0x{'66' * 32}"} if method == "eth_getBlockByNumber" else result
    ),
    "events": lambda method, result: [] if method == "eth_getLogs" else result,
    "chain": lambda method, result: "0x1" if method == "eth_chainId" else result,
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_verify_is_not_deceived_by_one_of_three(
    world: ChainWorld, lie: Callable[[str, Any], Any]
) -> None:
    good, bad = (
        world.sign_user(world.users.next_serial),
        world.sign_user(world.users.next_serial + 1),
    )
    world.anchor_users(good, bad)
    world.writer.revoke(world.users.id, [bad.serial])
    with lying(url_of(world), lie) as liar:
        rpc = [liar, *names(url_of(world))]
        for certificate, verdict in ((good, Verdict.VALID), (bad, Verdict.REVOKED)):
            found = verify_certificate(certificate.blob, domain_id=world.domain.id, rpc=rpc)
            assert found.verdict is verdict
            assert found.evidence is not None
            assert found.evidence.level == "proven"


def test_the_agent_is_not_deceived_by_one_of_three(world: ChainWorld) -> None:
    world.anchor_users(world.sign_user(world.users.next_serial))
    host = world.issue_host()
    for lie in LIES.values():
        with (
            lying(url_of(world), lie) as liar,
            connect_agreed([liar, *names(url_of(world))], world.domain.id) as chain,
        ):
            seen = world.observe(chain.reader)
            assert chain.evidence().level == "proven"
        assert seen.problems == ()
        assert seen.host is not None
        assert seen.host.certificate == host
        users = [k for k in seen.known if k.authority == world.users.id]
        assert len(users) == world.users.next_serial - 1


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


def stalling(_question: Any, _send: Callable[[bytes], None], over: threading.Event) -> None:
    over.wait()


def storming(_question: Any, send: Callable[[bytes], None], _over: threading.Event) -> None:
    send(response(b"{}", "429 Too Many Requests"))


def flooding(_question: Any, send: Callable[[bytes], None], over: threading.Event) -> None:
    send(b"HTTP/1.1 200 OK\r\n\r\n")
    while not over.is_set():
        send(b" " * 65536)


@pytest.mark.parametrize("script", [stalling, storming, flooding])
def test_one_that_holds_up_holds_up_nobody(world: ChainWorld, script: Script) -> None:
    with (
        serving(script) as server,
        connect_agreed([server.url, *names(url_of(world))], world.domain.id) as chain,
    ):
        snapshot = fetch_snapshot(chain.reader, chain.domain)
        assert chain.evidence().level == "proven"
        (aside,) = chain.evidence().aside
        assert aside.startswith(server.url)
    assert snapshot == fetch_snapshot(world.reader, world.domain)


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


@pytest.mark.parametrize("proofs", [True, False])
def test_the_command_says_what_stands_behind_its_verdict(
    world: ChainWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str], proofs: bool
) -> None:
    certificate = world.sign_user(world.users.next_serial)
    world.anchor_users(certificate)
    path = tmp_path / "alice-cert.pub"
    path.write_text(ssh_line(certificate, "alice"))
    dpki = runner(capsys)

    def refuse(method: str, result: Any) -> Any:
        return {} if method == "eth_getProof" and not proofs else result

    with lying(url_of(world), refuse) as one, lying(url_of(world), refuse) as two:
        verify = ["verify", path, "--domain", str(world.domain.id), "--rpc", one, "--rpc", two]
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
