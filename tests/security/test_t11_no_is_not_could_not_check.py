"""T11: "no" and "could not check" never look alike, in code, exit status or words."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from dpki import errors
from dpki.certificates.ssh import ssh_line
from dpki.errors import CheckedFalse, CouldNotCheck, DpkiError
from dpki.verification.check import verify_certificate
from dpki.verification.verdict import Finding, Verdict
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


def test_what_is_no_certificate_is_refused_without_asking_anybody() -> None:
    finding = verify_certificate(b"hello", domain_id=DOMAIN.id, rpc=["http://127.0.0.1:1"])
    assert (finding.verdict, finding.exit_status) == (Verdict.REFUSED, 3)
