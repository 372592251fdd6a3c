"""The chain can't see inside a certificate; an auditor who has it can."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dpki.audit.certificates import Given
from dpki.audit.evidence import HistoryContradicted
from dpki.audit.index import Index
from dpki.audit.run import AuditReport
from dpki.certificates.ssh import SshCertificate
from dpki.errors import MalformedInput
from dpki.model import Address, AuthorityKind, Entry, Hash32, from_timestamp
from tests.fakes.chronicle import OPERATOR, START, Chronicle
from tests.world import Ca

BEGIN, END = from_timestamp(START), from_timestamp(START + 3000)


def signed(ca: Ca, **options: Any) -> SshCertificate:
    times = {"valid_after": BEGIN, "valid_before": END}
    return ca.sign(1, **(times | options))


def anchored(ca: Ca, certificate: SshCertificate, **change: Any) -> Chronicle:
    """Return a history in which the certificate was anchored, or something like it."""
    chronicle = Chronicle().create()
    chronicle.register(ca.spki)
    told = {"certificate_hash": certificate.hash, "not_after": certificate.valid_before} | change
    entry = Entry(device=Address.zero(), locator=Hash32.zero(), **told)
    with chronicle.sent(OPERATOR, "CertificateRegistry"):
        root = chronicle.announce(ca.id, [entry])
        chronicle.event("CertificateRegistry", "BatchIssued", ca.id, 1, 1, root)
    return chronicle


def audited(chronicle: Chronicle, folder: Path, *blobs: bytes) -> AuditReport:
    given = [Given(f"{number}-cert.pub", blob) for number, blob in enumerate(blobs)]
    with Index(folder / "index.sqlite", chronicle.domain.id) as index:
        return chronicle.settle(folder).audit(index, certificates=given)


def test_one_that_was_anchored_and_one_of_somebody_else(tmp_path: Path) -> None:
    ca = Ca.users()
    certificate = signed(ca)
    chronicle = anchored(ca, certificate)
    report = audited(chronicle, tmp_path, certificate.blob, signed(Ca.users()).blob)
    assert (report.certificates, report.foreign) == (1, ("1-cert.pub",))


def test_what_is_no_certificate_is_said_to_be_none(tmp_path: Path) -> None:
    ca = Ca.users()
    with pytest.raises(MalformedInput):
        audited(anchored(ca, signed(ca)), tmp_path, b"ssh-rsa nothing")


def test_two_certificates_of_one_serial(tmp_path: Path) -> None:
    ca = Ca.users()
    with pytest.raises(HistoryContradicted, match="a serial is of one certificate"):
        audited(anchored(ca, signed(ca)), tmp_path, signed(ca).blob)


def test_one_that_was_never_anchored(tmp_path: Path) -> None:
    ca = Ca.users()
    orphan = ca.sign(2, valid_after=BEGIN, valid_before=END)
    with pytest.raises(HistoryContradicted, match="what a CA's key signed was anchored"):
        audited(anchored(ca, signed(ca)), tmp_path, orphan.blob)


def test_one_that_expires_later_than_its_anchor(tmp_path: Path) -> None:
    ca = Ca.users()
    certificate = signed(ca)
    chronicle = anchored(ca, certificate, not_after=END - timedelta(minutes=10))
    with pytest.raises(HistoryContradicted, match="it expires when its anchor says"):
        audited(chronicle, tmp_path, certificate.blob)


def test_one_that_lives_longer_than_its_ca_may_issue(tmp_path: Path) -> None:
    ca = Ca.users()
    certificate = signed(ca, valid_after=BEGIN - timedelta(hours=1))
    with pytest.raises(HistoryContradicted, match="it lives at most as long"):
        audited(anchored(ca, certificate), tmp_path, certificate.blob)


def test_a_host_certificate_of_a_user_ca(tmp_path: Path) -> None:
    ca = Ca.users()
    certificate = signed(ca, kind=AuthorityKind.SSH_HOST)
    with pytest.raises(HistoryContradicted, match="a CA signs certificates of its kind"):
        audited(anchored(ca, certificate), tmp_path, certificate.blob)


def test_one_whose_signature_does_not_verify(tmp_path: Path) -> None:
    ca = Ca.users()
    certificate = signed(ca)
    spoilt = bytearray(certificate.blob)
    spoilt[-1] ^= 1
    with pytest.raises(HistoryContradicted, match="a CA's key signed it"):
        audited(anchored(ca, certificate), tmp_path, bytes(spoilt))
