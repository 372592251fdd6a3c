"""T11: "no" and "could not check" never look alike, in code, exit status or words."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from dpki import errors
from dpki.certificates.ssh import SshCertificate, ssh_line
from dpki.errors import CheckedFalse, CouldNotCheck, DpkiError
from dpki.model import Address, Entry, Hash32, Path
from dpki.verification.check import verify_certificate
from dpki.verification.proof import CertificateProof, encode_proof
from dpki.verification.verdict import Finding, Verdict
from tests.fakes.chain import START, FakeChain
from tests.fakes.rpc_server import answering, serving
from tests.proving_world import ProvingWorld, with_nodes
from tests.world import DOMAIN, Ca


def every_error() -> list[type[DpkiError]]:
    found = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, DpkiError)]
    assert len(found) > 15
    return found


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__name__)
def test_no_error_is_both(error: type[DpkiError]) -> None:
    assert not (issubclass(error, CheckedFalse) and issubclass(error, CouldNotCheck))
    assert (error.exit_status == 3) == issubclass(error, CheckedFalse)
    assert (error.exit_status == 5) == issubclass(error, CouldNotCheck)


def test_no_verdict_is_both() -> None:
    statuses = {verdict: Finding(verdict, "").exit_status for verdict in Verdict}
    assert [v for v, status in statuses.items() if status == 5] == [Verdict.COULD_NOT_CHECK]
    assert [v for v, status in statuses.items() if status == 0] == [Verdict.VALID]


def certificate() -> bytes:
    return ssh_line(Ca.users().sign()).encode()


def test_an_endpoint_that_is_down_is_no_verdict() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    finding = verify_certificate(
        certificate(), domain_id=DOMAIN.id, rpc=[f"http://127.0.0.1:{port}"]
    )
    assert (finding.verdict, finding.exit_status) == (Verdict.COULD_NOT_CHECK, 5)
    assert "not anchored" not in finding.reason


@pytest.fixture
def babbler() -> Iterator[str]:
    """A server that answers every request with the same nonsense."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_an_endpoint_that_talks_nonsense_is_no_verdict(babbler: str) -> None:
    finding = verify_certificate(certificate(), domain_id=DOMAIN.id, rpc=[babbler])
    assert (finding.verdict, finding.exit_status) == (Verdict.COULD_NOT_CHECK, 5)


@dataclass
class Endpoint:
    """A chain in memory behind HTTP; one user CA, and the certificate that it anchored."""

    chain: FakeChain
    certificate: SshCertificate
    proof: bytes
    url: str

    def verify(self, proof: bytes | None = None) -> Finding:
        return verify_certificate(
            self.certificate.blob,
            domain_id=self.chain.domain.id,
            rpc=[self.url],
            proof=proof,
            now=START,
        )


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    chain, users = FakeChain(), Ca.users()
    ca = chain.register(users.spki)
    certificate = users.sign(valid_after=START, valid_before=START + timedelta(hours=1))
    chain.issue(
        ca, [Entry(certificate.hash, Address.zero(), certificate.valid_before, Hash32.zero())]
    )
    proof = encode_proof(CertificateProof(chain.domain.id, ca, 1, Path(1, 1, ())))

    def answer(question: Any) -> Any:
        if isinstance(question, list):
            return [answer(each) for each in question]
        result = chain.call(question["method"], question["params"])
        return {"jsonrpc": "2.0", "id": question["id"], "result": result}

    with serving(answering(answer)) as server:
        yield Endpoint(chain, certificate, proof, server.url)


@pytest.mark.parametrize("with_proof", [False, True])
def test_an_endpoint_that_shows_everything_gives_a_verdict(
    endpoint: Endpoint, with_proof: bool
) -> None:
    proof = endpoint.proof if with_proof else None
    assert endpoint.verify(proof).verdict is Verdict.VALID
    endpoint.chain.revoke(endpoint.certificate.authority_id, [1])
    assert endpoint.verify(proof).verdict is Verdict.REVOKED


def logs_of(params: Sequence[object]) -> str:
    """Return whose logs a question is after; nobody's where it is after something else."""
    return str(params[0].get("address", "")) if params and isinstance(params[0], dict) else ""


def test_an_endpoint_that_withholds_events_gives_none_without_a_proof(endpoint: Endpoint) -> None:
    registry = str(endpoint.chain.domain.certificates)
    endpoint.chain.lie = lambda _, params, honest: [] if registry in logs_of(params) else honest
    finding = endpoint.verify()
    assert (finding.verdict, finding.exit_status) == (Verdict.COULD_NOT_CHECK, 5)
    assert finding.serial == 1
    assert endpoint.verify(endpoint.proof).verdict is Verdict.VALID


@pytest.mark.parametrize("withheld", ["eth_getBlockByHash", "eth_getBlockByNumber", "eth_getLogs"])
def test_an_endpoint_that_withholds_the_domain_gives_no_verdict(
    endpoint: Endpoint, withheld: str
) -> None:
    nothing = [] if withheld == "eth_getLogs" else None
    endpoint.chain.lie = lambda method, _, honest: nothing if method == withheld else honest
    finding = endpoint.verify(endpoint.proof)
    assert (finding.verdict, finding.exit_status) == (Verdict.COULD_NOT_CHECK, 5)
    assert "does not show" in finding.reason


def test_what_is_no_certificate_is_refused_without_asking_anybody() -> None:
    finding = verify_certificate(b"hello", domain_id=DOMAIN.id, rpc=["http://127.0.0.1:1"])
    assert (finding.verdict, finding.exit_status) == (Verdict.REFUSED, 3)


class TestProofBundles:
    """A file that lacks something says neither yes nor no."""

    def test_what_is_missing_could_not_be_checked(self) -> None:
        world = ProvingWorld()
        bundle = world.bundle(world.issue())
        for place in range(len(bundle.nodes)):
            nodes = [*bundle.nodes[:place], *bundle.nodes[place + 1 :]]
            with pytest.raises(CouldNotCheck) as caught:
                world.check(with_nodes(bundle, nodes))
            assert not isinstance(caught.value, CheckedFalse)

    def test_an_endpoint_without_proofs_makes_no_bundle_and_no_verdict(self) -> None:
        world = ProvingWorld()
        certificate = world.issue()

        def refuse(method: str, params: Sequence[object], honest: object) -> object:
            return {} if method == "eth_getProof" else honest

        world.chain.lie = refuse
        with pytest.raises(CouldNotCheck, match="no endpoint proves"):
            world.export(certificate)
