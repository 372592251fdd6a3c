"""Where a certificate stands, asked of a chain in memory that can be told to lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.bundle.codec import dumps, loads_strict
from dpki.certificates.keys import authority_id, spki_of, ssh_blob
from dpki.certificates.profile import Profile, Subject
from dpki.certificates.ssh import SshCertificate, build_ssh_certificate
from dpki.chain.domain import Domain
from dpki.chain.events import BATCH_ISSUED, batch_path, fetch_batches
from dpki.errors import CouldNotCheck, MalformedInput, WrongContext
from dpki.model import Address, AuthorityId, Entry, Hash32
from dpki.verification.check import check, verify_certificate
from dpki.verification.proof import CertificateProof, encode_proof, parse_proof
from dpki.verification.verdict import Verdict
from tests.fakes.chain import START, FakeChain, entries

HOUR = timedelta(hours=1)
NOW = START + timedelta(minutes=30)
# Addresses also read without their checksum; a proof file has one spelling.
OTHER_SPELLING = f"eip155:31337:0x{'ab' * 20}@0x{'00' * 32}"


@dataclass
class Place:
    """A CA on a chain, and its certificates."""

    chain: FakeChain
    key: Ed25519PrivateKey
    ca: AuthorityId
    whole: bool

    @classmethod
    def open(cls, whole: bool = True) -> Place:
        key = Ed25519PrivateKey.generate()
        chain = FakeChain()
        return cls(chain, key, chain.register(spki_of(key.public_key())), whole)

    @property
    def domain(self) -> Domain:
        return self.chain.domain

    def sign(self, serial: int, key: Ed25519PrivateKey | None = None) -> SshCertificate:
        return build_ssh_certificate(
            key or self.key,
            Profile.user(8 * HOUR),
            Subject(ssh_blob(self.key.public_key()), ("ops",), "alice"),
            serial=serial,
            key_id="x",
            valid_after=START,
            valid_before=START + 2 * HOUR,
        )

    def anchor(self, certificate: SshCertificate) -> None:
        """Anchor it between two others."""
        entry = Entry(certificate.hash, Address.zero(), certificate.valid_before, Hash32.zero())
        before, after = entries(2)
        self.chain.issue(self.ca, [before, entry, after])
        self.chain.mine()

    def proof(self, certificate: SshCertificate) -> CertificateProof:
        (batch,) = fetch_batches(self.chain, self.domain, 0, self.chain.head.number, ca=self.ca)
        path = batch_path(batch, self.domain, certificate.serial)
        return CertificateProof(self.domain.id, self.ca, certificate.serial, path)

    def verdict(
        self, certificate: SshCertificate, proof: CertificateProof | None = None
    ) -> Verdict:
        return check(self.chain, self.domain, certificate, proof, NOW, whole=self.whole).verdict


@pytest.fixture(params=[True, False], ids=["whole", "excerpt"])
def place(request: pytest.FixtureRequest) -> Place:
    return Place.open(request.param)


def test_found_without_a_proof(place: Place) -> None:
    certificate = place.sign(2)
    place.anchor(certificate)
    assert place.verdict(certificate) is Verdict.VALID


def test_found_before_the_time_it_names(place: Place) -> None:
    """The search begins where it is likely, and ends only where it can't be."""
    certificate = place.sign(2)
    place.anchor(certificate)
    for _ in range(2000):
        place.chain.mine()
    late = replace(certificate, valid_after=START + HOUR)
    assert place.verdict(late) is Verdict.VALID


def test_found_among_several_batches_of_its_block(place: Place) -> None:
    certificate = place.sign(3)
    place.chain.issue(place.ca, entries(2, tag=1), mine=False)
    entry = Entry(certificate.hash, Address.zero(), certificate.valid_before, Hash32.zero())
    place.chain.issue(place.ca, [entry])
    assert place.verdict(certificate) is Verdict.VALID


def test_found_by_its_proof_alone(place: Place) -> None:
    certificate = place.sign(2)
    place.anchor(certificate)
    proof = place.proof(certificate)
    place.chain.lie = lambda method, _, honest: [] if method == "eth_getLogs" else honest
    assert place.verdict(certificate, proof) is Verdict.VALID


def test_a_wrong_proof_is_no_reason_not_to_look(place: Place) -> None:
    certificate = place.sign(2)
    place.anchor(certificate)
    good = place.proof(certificate)
    siblings = tuple(Hash32(bytes(32)) for _ in good.path.siblings)
    wrong = replace(good, path=replace(good.path, siblings=siblings))
    assert place.verdict(certificate, wrong) is Verdict.VALID


def test_a_device_s(place: Place) -> None:
    device, certificate = Address(b"\xdd" * 20), place.sign(1)
    place.chain.enroll(device, Hash32(b"\7" * 32))
    entry = Entry(certificate.hash, device, certificate.valid_before, Hash32.zero())
    place.chain.issue(place.ca, [entry])
    assert place.verdict(certificate) is Verdict.VALID
    place.chain.revoke(place.ca, [1])
    assert place.verdict(certificate) is Verdict.REVOKED


def test_never_issued(place: Place) -> None:
    assert place.verdict(place.sign(1)) is Verdict.NOT_ANCHORED


def test_another_in_its_place(place: Place) -> None:
    place.anchor(place.sign(2))
    assert place.verdict(place.sign(2)) is Verdict.NOT_ANCHORED


def test_a_stranger_s(place: Place) -> None:
    assert place.verdict(place.sign(2, Ed25519PrivateKey.generate())) is Verdict.UNKNOWN


def test_withheld_events_are_no_verdict(place: Place) -> None:
    certificate = place.sign(2)
    place.anchor(certificate)
    place.chain.lie = lambda method, _, honest: [] if method == "eth_getLogs" else honest
    with pytest.raises(CouldNotCheck, match="does not show in which batch"):
        place.verdict(certificate)


def test_a_certificate_s_event_without_its_batch_s_is_no_verdict(place: Place) -> None:
    certificate = place.sign(2)
    place.anchor(certificate)

    def without_batches(method: str, params: Sequence[object], honest: object) -> object:
        asked_for_batches = method == "eth_getLogs" and str(BATCH_ISSUED) in str(params)
        return [] if asked_for_batches else honest

    place.chain.lie = without_batches
    with pytest.raises(CouldNotCheck, match="does not show in which batch"):
        place.verdict(certificate)


def test_a_missing_block_is_no_verdict(place: Place) -> None:
    certificate = place.sign(2)
    place.anchor(certificate)
    for _ in range(4):
        place.chain.mine()
    middle = hex((place.domain.block.number + place.chain.head.number) // 2)

    def without(method: str, params: object, honest: object) -> object:
        assert isinstance(params, (list, tuple))
        lacks = method == "eth_getBlockByNumber" and params[0] == middle
        return None if lacks else honest

    place.chain.lie = without
    with pytest.raises(CouldNotCheck, match="lacks block"):
        place.verdict(certificate)


@pytest.mark.parametrize("what", ["domain", "ca", "serial"])
def test_a_proof_of_something_else(place: Place, what: str) -> None:
    certificate = place.sign(2)
    place.anchor(certificate)
    proof = place.proof(certificate)
    other = {
        "domain": replace(proof, domain=replace(proof.domain, block_hash=Hash32(b"\7" * 32))),
        "ca": replace(proof, authority=authority_id(b"another")),
        "serial": replace(proof, serial=3),
    }[what]
    with pytest.raises(WrongContext, match="the proof is for another"):
        verify_certificate(
            certificate.blob,
            domain_id=place.domain.id,
            rpc=["http://127.0.0.1:1"],
            proof=encode_proof(other),
        )


class TestProof:
    def test_reads_back(self, place: Place) -> None:
        certificate = place.sign(2)
        place.anchor(certificate)
        proof = place.proof(certificate)
        assert parse_proof(encode_proof(proof)) == proof

    @pytest.mark.parametrize(
        "changes",
        [
            {"serial": 4},
            {"serial": 0},
            {"first": 0},
            {"count": 0},
            {"count": 1001},
            {"siblings": (b"short",)},
            {"siblings": ("text",)},
            {"domain": "eip155"},
            {"domain": OTHER_SPELLING},
        ],
        ids=str,
    )
    def test_what_can_t_be(self, place: Place, changes: dict[str, object]) -> None:
        certificate = place.sign(2)
        place.anchor(certificate)
        fields = loads_strict(encode_proof(place.proof(certificate)), 4096)
        if "siblings" in changes:
            changes = {"path": list(changes["siblings"])}  # type: ignore[call-overload]
        with pytest.raises(MalformedInput):
            parse_proof(dumps(fields | changes))
